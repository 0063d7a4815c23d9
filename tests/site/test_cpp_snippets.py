"""Every C++ block of every page is compiled and run, against what is installed."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
from pathlib import Path

import cmake_projects
import cpp_program
import pytest
import snippets
from paths import DEBIAN_ROOT
from snippets import BUILT

SNIPPETS = snippets.of("cpp")
HEAD = "cmake_minimum_required(VERSION 3.21)\nproject(snippets LANGUAGES CXX)\n"


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    cmake_projects.cmake("--install", BUILT, "--prefix", folder)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, prefix: Path) -> Path:
    """All snippets, by the lines of CMake that README.md shows."""
    folder = tmp_path_factory.mktemp("snippets")
    lines = snippets.one("README.md", "cmake").text
    executable = "add_executable(my_program snippets.cpp)\n"
    # Some print with fmt, which set-up without root has unpacked where nobody else looks.
    unpacked = f'include_directories(SYSTEM "{DEBIAN_ROOT}/usr/include")\n'
    (folder / "CMakeLists.txt").write_text(HEAD + unpacked + executable + lines)
    (folder / "snippets.cpp").write_text(cpp_program.source(SNIPPETS), encoding="utf-8")
    cmake_projects.build(folder, folder / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    return folder / "build" / "my_program"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.name)
def test_runs(program: Path, world: Path, snippet: snippets.Snippet) -> None:
    ran = subprocess.run(
        [program, snippet.name], cwd=world, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr


def test_nothing_is_said_of_snippets_that_are_not_there() -> None:
    names = {snippet.name for snippet in SNIPPETS}
    for table in (cpp_program.BEFORE, cpp_program.AFTER, cpp_program.DECLARATIONS):
        assert set(table) <= names


def test_the_tour_prints_the_same_in_python(program: Path, world: Path) -> None:
    ran = subprocess.run(
        [program, snippets.one("docs/TOUR.md", "cpp").name],
        cwd=world,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = io.StringIO()
    lines = snippets.one("docs/TOUR.md", "python").text
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        patch.chdir(world)
        exec(compile(lines, "docs/TOUR.md", "exec"), {})
    numbers = re.compile(r"\d+")
    assert numbers.findall(ran.stdout) == numbers.findall(printed.getvalue()) != []
