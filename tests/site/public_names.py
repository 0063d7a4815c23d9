"""What callers can name, and what is said of it, found by looking at words.

A listing that knows nothing of how the site reads headers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from paths import ROOT

COMMENTS = re.compile(r"//[^\n]*")
NOT_PUBLIC = re.compile(r"^ +(?:private|protected):.*?(?=^ +public:|^ *\};)", re.M | re.S)
INNER = re.compile(r"^namespace (?:inference|evaluator) \{.*?^\}", re.M | re.S)
TYPE = re.compile(r"^ *(?:enum class|class|struct) (?:KVCACHE_EXPORT )?(\w+)(?= [:{])", re.M)
ALIAS = re.compile(r"^ *using (\w+) =", re.M)
FUNCTION = re.compile(
    r"^ *[\w:<>,&*\[\] ]*[\w>&*\]] (?<!return )[&*]?(\w+)\((?!\))|(?<=[ &*])(\w+)\(\)", re.M
)
FIELD = re.compile(r"^  (?!struct )[\w:<>,&* ]+ ([a-zA-Z_]\w*)(?: = [^;]*|\{[^;]*\})?;", re.M)
ENUMERATION = re.compile(r"^ *enum class \w+ \{(.*?)\}", re.M | re.S)


def of_cpp() -> dict[str, set[str]]:
    """For each public header, names without their scopes."""
    include = ROOT / "include"
    headers = [*sorted(include.glob("kvcache/*.hpp")), include / "kvcache_inferencer.hpp"]
    return {path.name: set(_names(path.read_text(encoding="utf-8"))) for path in headers}


def comments(header: str) -> Iterator[str]:
    """How each comment begins that a header has above or behind what callers can use."""
    text = NOT_PUBLIC.sub("", INNER.sub("", (ROOT / "include" / header).read_text("utf-8")))
    before = ""
    for line in map(str.strip, text.splitlines()):
        above = re.match(r"///<? *(?![@ ])(.+)", line)
        behind = re.match(r"[^/}].*[;,)0-9a-z{]  +//[/<]* (?!NOLINT)(.+)", line)
        if above and not before.startswith("///"):
            yield _beginning(above[1])
        elif behind:
            yield _beginning(behind[1])
        before = line


def _beginning(comment: str) -> str:
    return " ".join(comment.replace("`", "").split()[:6])


def _names(text: str) -> Iterator[str]:
    text = INNER.sub("", COMMENTS.sub("", text))
    text = NOT_PUBLIC.sub("", text)
    for kind in (TYPE, ALIAS, FIELD):
        yield from kind.findall(text)
    for enumerators in ENUMERATION.findall(text):
        yield from re.findall(r"\w+", enumerators)
    for found in FUNCTION.findall(text):
        yield from filter(None, found)
