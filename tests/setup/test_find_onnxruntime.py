"""cmake/FindONNXRuntime.cmake on every layout that ONNX Runtime comes in."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import toolchain
from cmake_projects import architecture
from paths import ONNXRUNTIME_ROOT, ROOT

PROJECT = f"""\
cmake_minimum_required(VERSION 3.21)
project(probe LANGUAGES CXX)
list(APPEND CMAKE_MODULE_PATH "{ROOT}/cmake")
find_package(ONNXRuntime 1.21 REQUIRED)
get_target_property(include_dir ONNXRuntime::ONNXRuntime INTERFACE_INCLUDE_DIRECTORIES)
file(REAL_PATH "${{include_dir}}" include_dir)
get_target_property(library ONNXRuntime::ONNXRuntime IMPORTED_LOCATION)
message(STATUS "probe: ${{include_dir}} ${{library}} ${{ONNXRuntime_VERSION}}")
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    (folder / "CMakeLists.txt").write_text(PROJECT)
    return folder


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ONNXRUNTIME_ROOT_DIR", raising=False)
    monkeypatch.delenv("CMAKE_PREFIX_PATH", raising=False)


def find(project: Path, *options: str) -> str:
    """Configure the project, each time in the same build directory: nothing may stick."""
    words = [toolchain.cmake(), "-S", project, "-B", project / "build", "-G", "Ninja"]
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    unset = ["-UONNXRUNTIME_ROOT_DIR", "-UCMAKE_PREFIX_PATH"]
    process = subprocess.run(
        [*words, ninja, *unset, *options], capture_output=True, text=True, check=False
    )
    return process.stdout + process.stderr


def make_root(
    root: Path,
    *,
    include: str = "include",
    lib: str = "lib",
    api: int = 21,
    library: str = "1.31.1",
) -> Path:
    """An ONNX Runtime root with empty files where the real ones have content."""
    (root / include).mkdir(parents=True)
    (root / include / "onnxruntime_cxx_api.h").touch()
    (root / include / "onnxruntime_c_api.h").write_text(f"#define ORT_API_VERSION {api}\n")
    (root / lib).mkdir(parents=True)
    (root / lib / f"libonnxruntime.so.{library}").touch()
    (root / lib / "libonnxruntime.so").symlink_to(f"libonnxruntime.so.{library}")
    return root


@pytest.mark.parametrize(
    ("include", "lib"),
    [
        pytest.param("include", "lib", id="release archive, scripts/setup"),
        pytest.param("include/onnxruntime/core/session", "lib", id="older archive"),
        pytest.param("include/onnxruntime", "lib", id="installed"),
        pytest.param("include/onnxruntime", "lib64", id="installed to lib64"),
    ],
)
def test_layout(project: Path, tmp_path: Path, include: str, lib: str) -> None:
    root = make_root(tmp_path, include=include, lib=lib)
    output = find(project, f"-DONNXRUNTIME_ROOT_DIR={root}")
    assert f"probe: {root / include} {root / lib}/libonnxruntime.so 1.31.1" in output
    assert f"ONNX Runtime: {root} (library 1.31.1, headers 1.21)" in output


def test_package_of_a_distribution(project: Path, tmp_path: Path) -> None:
    root = make_root(tmp_path, include="include/onnxruntime", lib=f"lib/{architecture()}")
    output = find(project, f"-DCMAKE_PREFIX_PATH={root}")
    assert f"probe: {root}/include/onnxruntime {root}/lib" in output


def test_version_of_an_archive_whose_library_has_none_in_its_name(
    project: Path, tmp_path: Path
) -> None:
    root = make_root(tmp_path)
    (root / "lib" / "libonnxruntime.so").unlink()
    (root / "lib" / "libonnxruntime.so").touch()
    (root / "VERSION_NUMBER").write_text("1.30.2\n")
    assert f"ONNX Runtime: {root} (library 1.30.2" in find(
        project, f"-DONNXRUNTIME_ROOT_DIR={root}"
    )
    (root / "VERSION_NUMBER").unlink()
    assert f"ONNX Runtime: {root} (library 1.21" in find(project, f"-DONNXRUNTIME_ROOT_DIR={root}")


PROGRAM = """\
#include <onnxruntime_cxx_api.h>
#include <iostream>

int main() {
  const Ort::Env environment;
  std::cout << Ort::GetVersionString();
}
"""


@pytest.mark.parametrize("layout", ["release archive", "distribution's package"])
def test_a_program_builds_and_runs(tmp_path: Path, project: Path, layout: str) -> None:
    """The real headers and library, laid out in another place as each of them lays them out."""
    ours = ONNXRUNTIME_ROOT
    if not (ours / "lib" / "libonnxruntime.so").exists():
        pytest.skip("the library is not in .deps/onnxruntime here")
    archive = layout == "release archive"
    root = tmp_path / "onnxruntime-linux-x64"
    include = root / ("include" if archive else "include/onnxruntime")
    lib = root / "lib" if archive else root / "lib" / architecture()
    shutil.copytree(ours / "include", include)
    lib.mkdir(parents=True)
    for library in (ours / "lib").iterdir():  # with its links
        shutil.copy2(library, lib, follow_symlinks=False)
    config = lib / "cmake" / "onnxruntime" / "onnxruntimeConfig.cmake"
    config.parent.mkdir(parents=True)
    config.write_text("message(FATAL_ERROR [[that of some releases names lib64 for lib]])\n")
    if archive:
        shutil.copy2(ours / "VERSION_NUMBER", root)

    source = tmp_path / "source"
    source.mkdir()
    (source / "probe.cpp").write_text(PROGRAM)
    lists = (project / "CMakeLists.txt").read_text() + (
        "add_executable(probe probe.cpp)\n"
        "target_link_libraries(probe PRIVATE ONNXRuntime::ONNXRuntime)\n"
    )
    (source / "CMakeLists.txt").write_text(lists)
    output = find(source, f"-DONNXRUNTIME_ROOT_DIR={root}")
    version = (ours / "VERSION_NUMBER").read_text().strip()
    assert f"ONNX Runtime: {root} (library {version}" in output
    build = [toolchain.cmake(), "--build", source / "build"]
    subprocess.run(build, capture_output=True, text=True, check=True)
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    program = subprocess.run(
        [source / "build" / "probe"], env=environment, capture_output=True, text=True, check=True
    )
    assert program.stdout == version


def test_environment_variables(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = make_root(tmp_path / "chosen")
    prefix = make_root(tmp_path / "prefix")
    option = make_root(tmp_path / "option")
    monkeypatch.setenv("CMAKE_PREFIX_PATH", str(prefix))
    assert f"probe: {prefix}" in find(project)
    monkeypatch.setenv("ONNXRUNTIME_ROOT_DIR", str(chosen))
    assert f"probe: {chosen}" in find(project)
    assert f"probe: {option}" in find(project, f"-DONNXRUNTIME_ROOT_DIR={option}")


def test_a_version_that_is_too_old_is_passed_over(project: Path, tmp_path: Path) -> None:
    old = make_root(tmp_path / "old", api=17, library="1.17.0")
    new = make_root(tmp_path / "new")
    assert f"probe: {new}" in find(project, f"-DCMAKE_PREFIX_PATH={old};{new}")


def test_nothing_else_is_taken_than_the_root_that_was_named(project: Path, tmp_path: Path) -> None:
    good = make_root(tmp_path / "good")
    nowhere = tmp_path / "nowhere"
    output = find(project, f"-DCMAKE_PREFIX_PATH={good}", f"-DONNXRUNTIME_ROOT_DIR={nowhere}")
    assert f"{nowhere}: no such directory" in output
    assert "probe:" not in output


def test_the_message_lists_what_was_tried_and_what_to_set(project: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    headers = make_root(tmp_path / "headers")
    (headers / "lib" / "libonnxruntime.so").unlink()
    library = make_root(tmp_path / "library")
    (library / "include" / "onnxruntime_cxx_api.h").unlink()
    old = make_root(tmp_path / "old", api=17, library="1.17.0")
    mixed = make_root(tmp_path / "mixed", api=25, library="1.22.0")
    roots = [empty, headers, library, old, mixed]
    for root, problem in {
        empty: "neither headers nor library",
        headers: "headers but no library onnxruntime",
        library: "library but no onnxruntime_cxx_api.h",
        old: "version 1.17.0, 1.21 or newer is needed",
        mixed: "headers of 1.25 but a library of 1.22.0",
    }.items():
        output = find(project, f"-DONNXRUNTIME_ROOT_DIR={root}")
        assert f"{root}: {problem}" in output, output
        assert "scripts/setup" in output
        assert "-DONNXRUNTIME_ROOT_DIR=DIR" in output

    output = find(project, f"-DCMAKE_PREFIX_PATH={';'.join(map(str, roots))}")
    if "probe:" not in output:  # nothing on this machine either
        assert [root for root in roots if f"{root}: " not in output] == []
