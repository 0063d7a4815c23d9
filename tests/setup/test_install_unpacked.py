"""Installing after a set-up without root: libraries that lie in .deps/debian go along.

A small project in place of this repository, with its cmake/ and with small libraries that have the
names of the real ones.
"""

import shutil
from pathlib import Path

import pytest
from cmake_projects import architecture, build, cmake, run
from paths import ROOT

PROJECT = """\
cmake_minimum_required(VERSION 3.21)
project(kvcache VERSION 0.1.0 LANGUAGES CXX)
set(KVCACHE_BUILD_CLI ON)
set(KVCACHE_ONNXRUNTIME_VERSION 1.21)
list(APPEND CMAKE_MODULE_PATH "${PROJECT_SOURCE_DIR}/cmake")
include(KVCacheProject)
list(APPEND CMAKE_PREFIX_PATH "${PROJECT_SOURCE_DIR}/.deps/debian/usr")
find_package(ONNXRuntime REQUIRED)
find_package(fmt REQUIRED)
add_library(kvcache kvcache.cpp)
set(libraries fmt::fmt ONNXRuntime::ONNXRuntime)
if(BUILD_SHARED_LIBS)
  set(libraries "$<BUILD_INTERFACE:${libraries}>")
  kvcache_find_unpacked(kvcache PRIVATE)
else()
  kvcache_find_unpacked(kvcache PUBLIC)
endif()
target_link_libraries(kvcache PRIVATE ${libraries})
add_library(kvcache_inner STATIC kvcache.cpp)
target_link_libraries(kvcache_inner PRIVATE fmt::fmt ONNXRuntime::ONNXRuntime)
kvcache_find_unpacked(kvcache_inner PUBLIC)
add_executable(kvcache_cli main.cpp)
target_link_libraries(kvcache_cli PRIVATE kvcache_inner)
include(KVCacheInstall)
"""
SOURCES = {
    "kvcache.cpp": "int fmt(); int ort(); int kvcache() { return fmt() + ort(); }\n",
    "main.cpp": "int kvcache(); int main() { return kvcache() - 42; }\n",
    "include/kvcache/kvcache.hpp": "int kvcache();\n",
}
FMT_CONFIG = """\
add_library(fmt::fmt SHARED IMPORTED)
set_target_properties(
  fmt::fmt PROPERTIES IMPORTED_LOCATION "${CMAKE_CURRENT_LIST_DIR}/../../libfmt.so")
"""
CONSUMER = """\
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES CXX)
set(before "${CMAKE_PREFIX_PATH}")
find_package(kvcache 0.1 REQUIRED)
if(NOT "${before}" STREQUAL "${CMAKE_PREFIX_PATH}")
  message(FATAL_ERROR "CMAKE_PREFIX_PATH was changed: ${CMAKE_PREFIX_PATH}")
endif()
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE kvcache::kvcache)
"""
LIBRARIES = """\
cmake_minimum_required(VERSION 3.21)
project(libraries LANGUAGES CXX)
set(CMAKE_SKIP_RPATH ON) # as Debian's
foreach(name IN ITEMS fmt icuuc onnxruntime pcre2-8 xxhash)
  add_library(${name} SHARED ${name}.cpp)
  set_target_properties(${name} PROPERTIES SOVERSION 77) # this machine has none of that name
endforeach()
target_link_libraries(fmt PRIVATE xxhash) # an unpacked one asks for another
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    libraries = tmp_path / "libraries"
    libraries.mkdir()
    (libraries / "CMakeLists.txt").write_text(LIBRARIES)
    (libraries / "fmt.cpp").write_text("int xxh(); int fmt() { return 40 + xxh(); }\n")
    (libraries / "onnxruntime.cpp").write_text("int ort() { return 2; }\n")
    for name in ("icuuc", "pcre2-8"):
        (libraries / f"{name}.cpp").touch()
    (libraries / "xxhash.cpp").write_text("int xxh() { return 0; }\n")
    build(libraries, libraries)

    root = tmp_path / "source"
    for name, text in {"CMakeLists.txt": PROJECT, **SOURCES}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    shutil.copytree(ROOT / "cmake", root / "cmake")

    lib = root / ".deps" / "debian" / "usr" / "lib" / architecture()
    for name in ("fmt", "hwy"):
        (lib / "cmake" / name).mkdir(parents=True)
    (lib / "cmake" / "fmt" / "fmt-config.cmake").write_text(FMT_CONFIG)
    (lib / "cmake" / "hwy" / "hwy-config.cmake").touch()
    for name in ("fmt", "icuuc", "pcre2-8", "xxhash"):
        for library in libraries.glob(f"lib{name}.so*"):
            shutil.copy2(library, lib, follow_symlinks=False)
    include = root / ".deps" / "debian" / "usr" / "include"
    for name in ("xxhash.h", "gtest/gtest.h", "pcre2.h", "unicode/utypes.h"):
        (include / name).parent.mkdir(parents=True, exist_ok=True)
        (include / name).touch()

    runtime = root / ".deps" / "onnxruntime"
    for name in ("include", "lib"):
        (runtime / name).mkdir(parents=True)
    (runtime / "include" / "onnxruntime_cxx_api.h").touch()
    (runtime / "include" / "onnxruntime_c_api.h").write_text("#define ORT_API_VERSION 17\n")
    (runtime / "VERSION_NUMBER").write_text("1.31.1\n")
    for library in libraries.glob("libonnxruntime.so*"):
        shutil.copy2(library, runtime / "lib", follow_symlinks=False)
    shutil.rmtree(libraries)
    return root


@pytest.mark.parametrize("shared", ["OFF", "ON"])
@pytest.mark.parametrize("libdir", ["lib", "lib/of-an-architecture"])
def test_what_was_unpacked_goes_along(
    project: Path, tmp_path: Path, libdir: str, shared: str
) -> None:
    options = [f"-DBUILD_SHARED_LIBS={shared}", f"-DCMAKE_INSTALL_LIBDIR={libdir}"]
    build(project, project / "build", *options)
    installed = tmp_path / "installed"
    cmake("--install", project / "build", "--prefix", installed)
    shutil.rmtree(project)
    prefix = installed.rename(tmp_path / "moved")

    run(prefix / "bin" / "kvcache_cli")  # fails where a library is not found
    assert not (prefix / libdir / "kvcache" / "debian" / "include" / "gtest").exists()
    consumer = tmp_path / "consumer"
    consumer.mkdir()
    (consumer / "CMakeLists.txt").write_text(CONSUMER)
    (consumer / "main.cpp").write_text(SOURCES["main.cpp"])
    package = prefix / libdir / "cmake" / "kvcache"
    build(consumer, consumer / "build", f"-Dkvcache_DIR={package}")
    run(consumer / "build" / "consumer")
