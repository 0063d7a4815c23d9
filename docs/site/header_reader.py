"""What the public headers declare, with the comments beside it, as libclang reads them.

libclang rather than Doxygen: with -fparse-all-comments it reads ordinary comments, too,
such as those behind fields and those of kvcache.h.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from clang.cindex import (
    AccessSpecifier,
    Cursor,
    CursorKind,
    Diagnostic,
    Index,
    TranslationUnit,
)

INCLUDES = re.compile(
    r"#include <\.\.\.> search starts here:\n(.*?)\nEnd of search list", re.DOTALL
)
ATTRIBUTES = re.compile(r"\b(?:KVCACHE_EXPORT|KVCACHE_NOEXCEPT|extern|inline)\b|\[\[\w+\]\]")
COMMENTS = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
BEHIND = re.compile(r"[;,]?[ \t]*//[ /<]*(.*)(?:\n[ \t]*//(?!/)(.*))*")
KINDS = {
    CursorKind.CLASS_DECL: "class",
    CursorKind.CLASS_TEMPLATE: "class",
    CursorKind.STRUCT_DECL: "struct",
    CursorKind.ENUM_DECL: "enum",
    CursorKind.ENUM_CONSTANT_DECL: "enumerator",
    CursorKind.FUNCTION_DECL: "function",
    CursorKind.FUNCTION_TEMPLATE: "function",
    CursorKind.CXX_METHOD: "function",
    CursorKind.CONSTRUCTOR: "function",
    CursorKind.DESTRUCTOR: "function",
    CursorKind.CONVERSION_FUNCTION: "function",
    CursorKind.FIELD_DECL: "field",
    CursorKind.VAR_DECL: "variable",
    CursorKind.TYPE_ALIAS_DECL: "alias",
    CursorKind.TYPE_ALIAS_TEMPLATE_DECL: "alias",
    CursorKind.TYPEDEF_DECL: "alias",
}
NESTED = {"class", "struct", "enum"}
SECTION = re.compile(r"/\* ---- (.*?) ----\s(.*?)\*/", re.DOTALL)


@dataclass
class Declaration:
    """One name that a header declares."""

    kind: str  # a value of KINDS, "macro" or, of kvcache.h, "section"
    name: str  # without its scope; "" of an enumeration that has none
    signature: str  # as the header has it, on one line, without attributes and body
    comment: str  # without its marks; "" where there is none
    line: int
    members: list[Declaration] = field(default_factory=list)


@dataclass
class Header:
    """A public header."""

    path: Path
    comment: str  # that it begins with
    namespace: str  # of what it declares; "" for the global one
    declarations: list[Declaration]


class HeaderError(Exception):
    """A header that the compiler does not understand."""


def read_cpp(include: Path, headers: list[Path], compiler: list[str]) -> list[Header]:
    """Read C++ headers.

    Args:
        include: the folder that programs have on their path.
        compiler: whose standard library is read, with its flags.
    """
    flags = ["-x", "c++", "-std=c++20", *_system_includes([*compiler, "-std=c++20"], "c++")]
    everything = "".join(f'#include "{path.relative_to(include)}"\n' for path in headers)
    unit = _parse("all.cpp", everything, [*flags, f"-I{include}"])
    found: dict[Path, list[tuple[str, Declaration]]] = {path: [] for path in headers}
    for cursor in unit.cursor.get_children():
        path = _path(cursor)
        if path not in found:
            continue
        namespace = cursor.kind == CursorKind.NAMESPACE
        for inner in cursor.get_children() if namespace else [cursor]:
            declaration = _declaration(inner)
            if declaration:
                found[path].append((cursor.spelling if namespace else "", declaration))
    return [_header(path, declarations) for path, declarations in found.items()]


def read_c(path: Path, compiler: list[str]) -> Header:
    """Read a C header: its functions, types and macros that a caller may use, and its sections."""
    flags = ["-x", "c", "-std=c99", *_system_includes(compiler, "c")]
    unit = _parse("all.c", f'#include "{path.name}"\n', [*flags, f"-I{path.parent}"])
    declarations = list(_sections(path.read_text(encoding="utf-8")))
    for cursor in unit.cursor.get_children():
        if _path(cursor) != path:
            continue
        is_macro = cursor.kind == CursorKind.MACRO_DEFINITION
        declaration = _macro(cursor) if is_macro else _declaration(cursor)
        if declaration:
            declarations.append(declaration)
    declarations.sort(key=lambda declaration: declaration.line)
    return Header(path, _first_comment(path), "", declarations)


def _sections(text: str) -> Iterator[Declaration]:
    for found in SECTION.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Declaration("section", "", found[1], _plain(f"/*{found[2]}*/"), line)


def _system_includes(compiler: list[str], language: str) -> list[str]:
    """Options for the folders in which a compiler finds its own headers."""
    words = [*compiler, "-E", "-v", "-x", language, "/dev/null"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stderr
    found = INCLUDES.search(said)
    if found is None:
        raise HeaderError(f"{compiler[0]} -v does not say where its headers are")
    return ["-nostdinc", *(f"-isystem{folder.strip()}" for folder in found[1].splitlines())]


def _parse(name: str, text: str, flags: list[str]) -> TranslationUnit:
    unit = Index.create().parse(
        name,
        [*flags, "-fparse-all-comments"],
        unsaved_files=[(name, text)],
        options=TranslationUnit.PARSE_SKIP_FUNCTION_BODIES
        | TranslationUnit.PARSE_DETAILED_PROCESSING_RECORD,
    )
    errors = [said for said in unit.diagnostics if said.severity >= Diagnostic.Error]
    if errors:
        raise HeaderError("\n".join(map(str, errors)))
    return unit


def _path(cursor: Cursor) -> Path | None:
    return Path(cursor.location.file.name).resolve() if cursor.location.file else None


def _header(path: Path, found: list[tuple[str, Declaration]]) -> Header:
    namespaces = {namespace for namespace, _ in found}
    if len(namespaces) > 1:
        raise HeaderError(f"{path} declares names in several namespaces: {sorted(namespaces)}")
    declarations = [declaration for _, declaration in found]
    return Header(path, _first_comment(path), "".join(namespaces), declarations)


def _declaration(cursor: Cursor) -> Declaration | None:
    """None for what callers cannot use: forward declarations, private and inner names."""
    kind = KINDS.get(cursor.kind)
    if kind is None or cursor.access_specifier in (
        AccessSpecifier.PRIVATE,
        AccessSpecifier.PROTECTED,
    ):
        return None
    # libclang makes a name of its own for what has none: "(unnamed enum at …)".
    name = "" if "(unnamed" in cursor.spelling else cursor.spelling
    if kind in NESTED and not cursor.is_definition():
        return None
    if cursor.kind == CursorKind.CLASS_DECL and "<" in cursor.displayname:
        return None  # `extern template class`: the template has an entry
    text = COMMENTS.sub(" ", _source(cursor))
    if kind == "alias" and "{" in text:  # `typedef struct {…} name`: the structure was there before
        return None
    comment = _comment(cursor)
    if kind == "function" and (_is_inner(text) or (not comment and _is_special(cursor))):
        return None
    members = list(filter(None, map(_declaration, cursor.get_children()))) if kind in NESTED else []
    signature = _signature(cursor, kind, name, text)
    return Declaration(kind, name, signature, comment, cursor.location.line, members)


def _is_inner(text: str) -> bool:
    """Whether a function is given what only the library has."""
    return re.search(r"\b(?:inference|evaluator)::", text) is not None


def _is_special(cursor: Cursor) -> bool:
    """Whether it is a copy, a move or a default constructor, an assignment or a destructor."""
    return bool(
        cursor.spelling == "operator="
        or cursor.kind == CursorKind.DESTRUCTOR
        or cursor.is_copy_constructor()
        or cursor.is_move_constructor()
        or cursor.is_default_constructor()
        or cursor.is_deleted_method()
    )


def _source(cursor: Cursor) -> str:
    data = Path(cursor.extent.start.file.name).read_bytes()
    return data[cursor.extent.start.offset : cursor.extent.end.offset].decode()


def _signature(cursor: Cursor, kind: str, name: str, text: str) -> str:
    if kind == "enumerator":
        return " ".join(text.split())
    if kind == "enum":
        return f"class {name}" if cursor.is_scoped_enum() else name
    if kind in NESTED:
        bases = [
            " ".join(COMMENTS.sub(" ", _source(child)).split())
            for child in cursor.get_children()
            if child.kind == CursorKind.CXX_BASE_SPECIFIER
        ]
        template = re.match(r"template <[^>]*>", text)
        head = f"{template[0]} {name}" if template else name
        return f"{head} : {', '.join(bases)}" if bases else head
    if kind == "function":
        text = _without_body(text)
    return " ".join(ATTRIBUTES.sub(" ", text).replace("using ", "").split())


def _without_body(text: str) -> str:
    """A function up to what follows its arguments and their qualifiers."""
    depth, end = 0, 0
    for end in range(text.index("("), len(text)):
        depth += {"(": 1, ")": -1}.get(text[end], 0)
        if depth == 0:
            break
    rest = re.match(r"[^:{;]*", text[end + 1 :])
    return text[: end + 1] + (rest[0] if rest else "")


def _comment(cursor: Cursor) -> str:
    """The comment above a declaration, or behind it on its line."""
    if cursor.raw_comment and not SECTION.match(cursor.raw_comment):
        return _plain(cursor.raw_comment)
    # libclang knows it only behind a variable that is on one line.
    data = Path(cursor.extent.end.file.name).read_bytes()
    behind = BEHIND.match(data[cursor.extent.end.offset :].decode())
    return _plain(behind[0].lstrip(";, ")) if behind else ""


def _plain(comment: str) -> str:
    """A comment without its marks and without what is said to linters."""
    comment = comment.strip()
    if comment.startswith("/*"):
        lines = comment.removeprefix("/*").removesuffix("*/").splitlines()
        lines = [re.sub(r"^\s*\* ?", "", line) for line in lines]
    else:
        lines = [re.sub(r"^\s*//[/<!]* ?", "", line) for line in comment.splitlines()]
    kept = [line.rstrip() for line in lines if not line.strip().startswith("NOLINT")]
    return "\n".join(kept).strip()


def _first_comment(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    found = re.match(r"/\*.*?\*/|(?://[^\n]*\n)+", text, re.DOTALL)
    if not found:
        raise HeaderError(f"{path} does not begin with a comment that says what it is")
    return _plain(found[0])


def _macro(cursor: Cursor) -> Declaration | None:
    """A macro that has a value; the guard and what marks functions have none for callers."""
    text = " ".join(_source(cursor).split())
    name, _, value = text.partition(" ")
    if not value or name in ("KVCACHE_EXPORT", "KVCACHE_NOEXCEPT"):
        return None
    path = Path(cursor.extent.start.file.name)
    above = "\n".join(path.read_text(encoding="utf-8").splitlines()[: cursor.location.line - 1])
    comment = re.search(r"/\*(?:(?!\*/).)*\*/\Z", above, re.DOTALL)
    line = cursor.location.line
    said = _plain(comment[0]) if comment else ""
    return Declaration("macro", name, f"{name} {value}", said, line)
