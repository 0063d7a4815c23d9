"""Pages of the C++ and C reference, in Markdown with Sphinx's directives for these languages."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from header_reader import Declaration, Header
from markdown_text import directive, fields_apart, prose

DOMAINS = {
    "class": "class",
    "struct": "struct",
    "enum": "enum",
    "enumerator": "enumerator",
    "function": "function",
    "field": "member",
    "variable": "member",
    "alias": "type",
    "macro": "macro",
}


def cpp_page(header: Header, include: Path) -> str:
    """The page of one C++ header."""
    name = header.path.relative_to(include)
    scope = header.namespace or "NULL"
    begin = [
        f"# {name.name}",
        prose(header.comment),
        f"```cpp\n#include <{name}>\n```",
        directive("cpp:namespace", scope, ""),
    ]
    return "\n\n".join([*begin, *(_shown(one, "cpp") for one in header.declarations)]) + "\n"


def c_page(header: Header) -> str:
    """The page of kvcache.h, in its sections."""
    parts = ["# kvcache.h", prose(header.comment), f"```c\n#include <{header.path.name}>\n```"]
    for one in header.declarations:
        if one.kind == "section":
            parts += [f"## {one.signature}", prose(one.comment)]
        else:
            parts.append(_shown(one, "c"))
    return "\n\n".join(filter(None, parts)) + "\n"


def _shown(declaration: Declaration, language: str, depth: int = 0) -> str:
    kind = DOMAINS[declaration.kind]
    argument = declaration.signature
    if language == "c":
        argument = re.sub(r"^typedef ", "", argument)
    if declaration.kind == "enum":
        argument = argument.removeprefix("class ") or f"@{declaration.line}"
        kind = "enum-class" if declaration.signature.startswith("class ") else kind
    elif declaration.kind == "macro":
        argument, _, value = declaration.signature.partition(" ")
        body = f"`{value}`"
        return directive(f"{language}:macro", argument, f"{body}\n\n{prose(declaration.comment)}")
    text, fields = fields_apart(declaration.comment)
    members = [_shown(member, language, depth + 1) for member in declaration.members]
    body = "\n\n".join(filter(None, [prose(text), *fields, *members]))
    return directive(f"{language}:{kind}", argument, body, depth)


def index_page(headers: Iterable[Header], include: Path) -> str:
    """The page that lists the C++ headers."""
    entries = "\n".join(
        f"* [{header.path.relative_to(include)}]({header.path.stem}.md): "
        f"{prose(first_sentence(header.comment))}"
        for header in headers
    )
    listed = "\n".join(header.path.stem for header in headers)
    tree = f"```{{toctree}}\n:hidden:\n\n{listed}\n```"
    return (
        f"# C++\n\n`#include <kvcache/kvcache.hpp>` has all but the last.\n\n{entries}\n\n{tree}\n"
    )


def first_sentence(text: str) -> str:
    """What a header's comment says of it in one line."""
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())
