"""Comments and docstrings as Markdown: they are prose in which only `code` is marked."""

from __future__ import annotations

import re
from collections.abc import Sequence

CODE = re.compile(r"(`[^`]*`)")
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
        part if part.startswith("`") else MARKS.sub(r"\\\1", part) for part in CODE.split(text)
    )


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
