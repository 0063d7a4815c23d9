"""Comments and docstrings as Markdown: they are prose in which only `code` is marked.

What they name becomes code, too, so that code_links.py finds it, and a page's path a link.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

CODE = re.compile(r"(`[^`]*`)")
PAGE_OR_NAME = re.compile(
    r"(?<![\w/.])(?:"
    r"(?P<page>(?:docs/[A-Z_]+|SECURITY)\.md)"
    r"|(?P<name>(?:kvcache::)?[A-Z]\w*(?:::\w+)+(?:\(\))?"  # Sequence::fork()
    r"|[A-Z]\w*\.(?!md\b|hpp\b|json\b)[a-z]\w+(?:\(\))?"  # Sequence.fork()
    r"|kvcache\.(?!h\b)\w+(?:\(\))?"
    r"|kvcache_\w+(?:\(\))?|KVCACHE_\w+))"
    r"(?![\w/])"
)
MARKS = re.compile(r"([\\*\[\]<>_|#])")
OUTERMOST = 9  # colons of a directive; each within it has one fewer


def directive(
    name: str, argument: str, body: str, depth: int = 0, options: Sequence[str] = ()
) -> str:
    """A directive of Sphinx.

    Args:
        depth: how many others it is within.
        options: such as ":type: int".
    """
    fence = ":" * (OUTERMOST - depth)
    head = "\n".join([f"{fence}{{{name}}} {argument}", *options])
    return f"{head}\n\n{body}\n{fence}" if body else f"{head}\n{fence}"


def prose(text: str) -> str:
    """Text in which no character but that of `code` has a meaning; paragraphs and lists stay."""
    return "".join(
        part if part.startswith("`") else _linked(part) for part in CODE.split(text) if part
    )


def _linked(words: str) -> str:
    """Words without code: paths of pages become links, names code, and the rest has no marks."""
    shown, end = [], 0
    for found in PAGE_OR_NAME.finditer(words):
        shown.append(MARKS.sub(r"\\\1", words[end : found.start()]))
        page, name = found["page"], found["name"]
        shown.append(f"[{page}](/{page})" if page else f"`{name}`")
        end = found.end()
    return "".join([*shown, MARKS.sub(r"\\\1", words[end:])])


def fields_apart(comment: str) -> tuple[str, list[str]]:
    """A comment without its `@throws Error …` and `@param name …`, and these as fields."""
    text, *rest = re.split(r"(?m)^\s*@", comment)
    fields = []
    for part in rest:
        words = " ".join(part.split())
        named = re.fullmatch(r"(throws|param) (\S+) ?(.*)", words)
        if named is None:
            raise ValueError(f"neither @throws Type … nor @param name …: @{words}")
        fields.append(f":{named[1]} {named[2]}: {prose(named[3])}")
    return text.strip(), ["\n".join(fields)] if fields else []
