"""The binary interface of kvcache.h is the one that kvcache.abi has, and the library shows it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import abi
import c_header
import c_library
import pytest

ADVICE = """\
What went breaks programs that were compiled before: give kvcache.h another KVCACHE_ABI_VERSION and
the library another SOVERSION, or leave it. What came is written by: python tests/c/abi.py"""


def test_is_the_one_that_is_kept() -> None:
    went, came = abi.differences(abi.DUMP.read_text(), abi.dump())
    assert (went, came) == ([], []), ADVICE


def test_differences_are_found() -> None:
    was = abi.DUMP.read_text()
    assert "function const char *kvcache_version(void)" in was.splitlines()
    now = was.replace("number KVCACHE_ERROR_QUEUE_FULL 25", "number KVCACHE_ERROR_QUEUE_FULL 26")
    assert abi.differences(was, now) == (
        ["number KVCACHE_ERROR_QUEUE_FULL 25"],
        ["number KVCACHE_ERROR_QUEUE_FULL 26"],
    )


def test_the_library_shows_what_the_header_declares_and_nothing_else() -> None:
    command = ["nm", "--dynamic", "--defined-only", c_library.LIBRARY]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    shown = {line.split()[2] for line in printed.splitlines()}
    assert shown == {function.name for function in c_library.HEADER.functions}


def test_structures_have_no_gaps() -> None:
    """A later version's field would lie in one, where an older program has left anything."""
    for name, struct in c_library.STRUCTS.items():
        end = 0
        for field, _ in struct._fields_:
            place = getattr(struct, field)
            assert place.offset == end, f"{name}.{field}"
            end += place.size
        size = c_library.ctypes.sizeof(struct)
        assert size == end and size % 8 == 0, name


@pytest.mark.parametrize(
    "declaration",
    ["int x;", "typedef struct a { int x; } a;", "KVCACHE_EXPORT void f(int);", "void f(void)"],
)
def test_what_is_in_no_known_form_is_told(declaration: str) -> None:
    with pytest.raises(AssertionError):
        c_header.read(declaration)


def test_the_header_stands_by_itself(tmp_path: Path) -> None:
    """In C99 and later, and in C++11 and later; included twice."""
    source = tmp_path / "header.c"
    source.write_text('#include "kvcache.h"\n#include "kvcache.h"\nint kvcache_here;\n')
    strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"]
    compilers = [("cc", "c", "c99"), ("cc", "c", "c11"), ("c++", "c++", "c++11")]
    compilers.append(("c++", "c++", "c++20"))
    for compiler, language, standard in compilers:
        words = [compiler, "-x", language, f"-std={standard}", *strict]
        subprocess.run([*words, "-I", c_header.HEADER.parent, source], check=True)


def test_no_line_of_the_header_is_in_two_languages() -> None:
    """C++'s comments are none in C90, whose users see the header's warnings otherwise."""
    assert "//" not in c_header.HEADER.read_text()
