"""Libraries that were unpacked come along in a wheel, and find there what they ask for."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from cmake_projects import architecture, build, cmake, run
from paths import ROOT
from toolchain import compiler

PROJECT = f"""\
cmake_minimum_required(VERSION 3.21)
project(wheel LANGUAGES CXX)
include("{ROOT}/cmake/KVCachePython.cmake")
add_library(extension MODULE extension.cpp)
target_link_libraries(extension PRIVATE "${{CMAKE_SOURCE_DIR}}/libouter.so")
kvcache_in_wheel(extension "kvcache")
"""


def library(folder: Path, name: str, source: str, *with_: Path) -> Path:
    """A library as a distribution has it: a file with its version, and a link by its soname."""
    file = folder / f"lib{name}.so.1.2"
    code = folder / f"{name}.cpp"
    code.write_text(source)
    named = f"-Wl,-soname,lib{name}.so.1"
    run(*compiler(), "-shared", "-fPIC", named, code, *with_, "-o", file)
    code.unlink()
    (folder / f"lib{name}.so.1").symlink_to(file.name)
    return file


def test_a_library_s_own_library_is_found(tmp_path: Path) -> None:
    unpacked = tmp_path / ".deps" / "debian" / "usr" / "lib" / architecture()
    unpacked.mkdir(parents=True)
    inner = library(unpacked, "inner", "int inner() { return 7; }")
    outer = library(unpacked, "outer", "int inner(); int outer() { return inner(); }", inner)
    (tmp_path / "libouter.so").symlink_to(outer)
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)
    (tmp_path / "extension.cpp").write_text('int outer(); extern "C" int f() { return outer(); }')
    build(tmp_path, tmp_path / "build")
    cmake("--install", tmp_path / "build", "--prefix", tmp_path / "wheel")
    shutil.rmtree(tmp_path / ".deps")
    there = {path.name: path.is_symlink() for path in (tmp_path / "wheel/kvcache/lib").iterdir()}
    assert there == {"libinner.so.1": False, "libouter.so.1": False}
    extension = tmp_path / "wheel" / "kvcache" / "libextension.so"
    program = f"import ctypes; print(ctypes.CDLL({str(extension)!r}).f())"
    assert run(sys.executable, "-c", program) == "7\n"
