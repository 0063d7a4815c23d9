"""The binary interface of kvcache.h, as text: what a program that was compiled earlier relies on.

kvcache.abi holds what it is; `python tests/c/abi.py` writes it anew. Names and types are read from
the header, and sizes, places and numbers are the compiler's. libabigail's abidw writes such a dump,
too, but of the debug information of a build that was made for it, with all of C++'s types and with
numbers of its own that change between two of its versions: nobody could read what a change changed.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import c_header
import toolchain
from paths import ROOT

DUMP = Path(__file__).with_name("kvcache.abi")
HEAD = "# kvcache.h on Linux with 64-bit pointers. `python tests/c/abi.py` writes it.\n"


def dump() -> str:
    """The interface: a line for each constant, type, field and function."""
    header = c_header.read(c_header.HEADER.read_text())
    lines = [f"constant {name} {value}" for name, value in header.defines.items()]
    lines += [f"type {name} is {of}" for name, of in header.aliases.items()]
    lines += [f"type {name} is a handle" for name in header.handles]
    lines += [f"type {name} is a pointer to {of}" for name, of in header.callbacks.items()]
    found = _ask_the_compiler(header)
    lines += [f"number {name} {found[name]}" for name in header.numbers]
    for struct, fields in header.structs.items():
        lines.append(f"struct {struct}: {found[struct]} bytes")
        lines += [f"  of {struct} at {found[f'{struct}.{of.name}']}: {of}" for of in fields]
    lines += [f"function {function}" for function in header.functions]
    return HEAD + "\n".join(lines) + "\n"


def differences(was: str, now: str) -> tuple[list[str], list[str]]:
    """The lines that went, and those that came."""
    before, after = was.splitlines(), now.splitlines()
    return [x for x in before if x not in after], [x for x in after if x not in before]


def _ask_the_compiler(header: c_header.Header) -> dict[str, str]:
    """Numbers, sizes of structures, and the place and size of each field."""
    prints = [f'printf("{name} %d\\n", (int)({name}));' for name in header.numbers]
    for struct, fields in header.structs.items():
        prints.append(f'printf("{struct} %zu\\n", sizeof({struct}));')
        prints += [
            f'printf("{struct}.{of.name} %zu, %zu bytes\\n", offsetof({struct}, {of.name}), '
            f"sizeof((({struct} *)0)->{of.name}));"
            for of in fields
        ]
    program = '#include <stdio.h>\n#include "kvcache.h"\nint main(void) {\n%s\nreturn 0;\n}\n'
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "abi.cpp"
        source.write_text(program % "\n".join(prints))
        compiled = source.with_suffix("")
        words = [*toolchain.compiler(), "-I", ROOT / "include", source, "-o", compiled]
        subprocess.run(words, check=True)
        printed = subprocess.run([compiled], check=True, capture_output=True, text=True).stdout
    return dict(line.split(" ", 1) for line in printed.splitlines())


if __name__ == "__main__":
    DUMP.write_text(dump())
