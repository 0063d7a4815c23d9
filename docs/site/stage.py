"""Lays out what Sphinx reads: the repository's pages under their own paths, and the reference.

Pages have the folders of the repository around them, so that a link from one to another is right
here where it is right there. They are copied, for MyST takes a link's target for the page's.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import sys
from pathlib import Path

import header_pages
import header_reader
import program_pages
import python_pages

SITE = Path(__file__).resolve().parent
ROOT = SITE.parents[1]
PAGES = (
    "*.md",
    "docs/*.md",
    "docs/*/*.svg",
    "bench/*/README.md",
    "examples/*/README.md",
    "tests/*/README.md",
)


def lay(stage: Path, program: Path, compiler: list[str]) -> None:
    """Fill an empty folder with all pages."""
    for pattern in PAGES:
        for path in ROOT.glob(pattern):
            copy = stage / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    shutil.copyfile(SITE / "index.md", stage / "index.md")
    reference = stage / "reference"
    (reference / "cpp").mkdir(parents=True)
    include = ROOT / "include"
    for name, text in cpp_pages(include, compiler).items():
        (reference / "cpp" / f"{name}.md").write_text(text, encoding="utf-8")
    header = header_reader.read_c(include / "kvcache.h", compiler)
    _write(reference / "c.md", header_pages.c_page(header))
    _write(reference / "python.md", python_pages.package_page(ROOT / "python" / "kvcache"))
    _write(reference / "program.md", program_pages.program_page(program))
    exporter = ROOT / "export_kvcache.py"
    _write(reference / "exporter.md", program_pages.exporter_page(exporter))


def cpp_pages(include: Path, compiler: list[str]) -> dict[str, str]:
    """The pages of the C++ headers by name, and one that lists them, "index"."""
    # Headers without a declaration of their own include others or mark what is shown.
    paths = [*sorted(include.glob("kvcache/*.hpp")), include / "kvcache_inferencer.hpp"]
    headers = [one for one in header_reader.read_cpp(include, paths, compiler) if one.declarations]
    pages = {header.path.stem: header_pages.cpp_page(header, include) for header in headers}
    pages["index"] = header_pages.index_page(headers, include)
    return pages


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def main() -> int:
    """The command that scripts/site runs in .venv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stage", type=Path, help="an empty folder")
    parser.add_argument("--program", type=Path, required=True, help="the built kvcache")
    parser.add_argument("--compiler", required=True, help="whose standard library is read")
    arguments = parser.parse_args()
    try:
        lay(arguments.stage, arguments.program, shlex.split(arguments.compiler))
    except header_reader.HeaderError as error:
        print(f"the public headers cannot be read: {error}", file=sys.stderr)
        return 1
    except program_pages.ProgramError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
