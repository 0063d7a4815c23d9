"""What include/kvcache.h declares.

The header is written in few forms, and whatever is in none of them is an error, so that nothing of
it goes unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from paths import ROOT

HEADER = ROOT / "include" / "kvcache.h"
COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*\n", re.MULTILINE)
EXTERN_C = re.compile(r'extern "C" \{|^\}\n(?=\s*\Z)', re.MULTILINE)
DEFINE = re.compile(r"^#define (KVCACHE_\w+) +(\S.*)$", re.MULTILINE)
NOT_OF_THE_ABI = ("KVCACHE_EXPORT", "KVCACHE_NOEXCEPT", "KVCACHE_VERSION_")

FUNCTION = re.compile(
    r"KVCACHE_EXPORT (?P<result>.+?)(?P<name>\w+)\((?P<arguments>.*)\) ?\w*", re.S
)
STRUCT = re.compile(r"typedef struct (\w+) \{(.*)\} \1", re.S)
HANDLE = re.compile(r"typedef struct (\w+) \1")
ALIAS = re.compile(r"typedef (\w+) (\w+)")
CALLBACK = re.compile(r"typedef (\w+) \(\*(\w+)\)\((.*)\)", re.S)
ENUM = re.compile(r"enum \{(.*)\}", re.S)
DECLARATION = re.compile(r"(?P<type>.*?)(?P<name>\w+)")


@dataclass(frozen=True)
class Declaration:
    """A type and a name: a field or an argument."""

    type: str  # "const char *"
    name: str

    def __str__(self) -> str:
        return f"{self.type}{'' if self.type.endswith('*') else ' '}{self.name}"


@dataclass(frozen=True)
class Function:
    result: str
    name: str
    arguments: tuple[Declaration, ...]

    def __str__(self) -> str:
        arguments = ", ".join(map(str, self.arguments)) or "void"
        return f"{Declaration(self.result, self.name)}({arguments})"


@dataclass
class Header:
    defines: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    handles: list[str] = field(default_factory=list)
    callbacks: dict[str, str] = field(default_factory=dict)  # their signatures
    numbers: list[str] = field(default_factory=list)  # enumerators
    structs: dict[str, list[Declaration]] = field(default_factory=dict)
    functions: list[Function] = field(default_factory=list)


def read(text: str) -> Header:
    """Read a header's text."""
    header = Header()
    text = COMMENT.sub(" ", text)
    for name, value in DEFINE.findall(text):
        if not name.startswith(NOT_OF_THE_ABI):
            header.defines[name] = value.strip()
    for statement in _statements(EXTERN_C.sub("", DIRECTIVE.sub("", text))):
        _add(header, statement)
    return header


def _statements(text: str) -> list[str]:
    """Split at semicolons that are in no braces."""
    found, begin, depth = [], 0, 0
    for i, character in enumerate(text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        if character == ";" and depth == 0:
            found.append(" ".join(text[begin:i].split()))
            begin = i + 1
    rest = text[begin:].strip()
    assert not rest, f"behind the last declaration: {rest}"
    return found


def _add(header: Header, statement: str) -> None:
    if match := FUNCTION.fullmatch(statement):
        words = match["arguments"]
        arguments = () if words == "void" else tuple(map(_declaration, words.split(",")))
        header.functions.append(Function(match["result"].strip(), match["name"], arguments))
    elif match := STRUCT.fullmatch(statement):
        fields = [_declaration(words) for words in match[2].split(";") if words.strip()]
        assert fields[0] == Declaration("size_t", "struct_size"), match[1]
        header.structs[match[1]] = fields
    elif match := HANDLE.fullmatch(statement):
        header.handles.append(match[1])
    elif match := CALLBACK.fullmatch(statement):
        header.callbacks[match[2]] = f"{match[1]} ({match[3]})"
    elif match := ALIAS.fullmatch(statement):
        header.aliases[match[2]] = match[1]
    elif match := ENUM.fullmatch(statement):
        header.numbers += [words.split("=")[0].strip() for words in match[1].split(",")]
    else:
        raise AssertionError(f"{HEADER.name} has a declaration in no known form: {statement}")


def _declaration(words: str) -> Declaration:
    match = DECLARATION.fullmatch(words.strip())
    assert match and match["type"].strip(), f"neither a type nor a name: {words}"
    return Declaration(match["type"].strip(), match["name"])
