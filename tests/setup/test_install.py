"""A project outside the repository uses the library: installed, and as a subdirectory."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import toolchain
from cmake_projects import (
    C_CONSUMER,
    CONSUMER,
    CONSUMER_SAYS,
    build,
    cmake,
    compile_with_pkg_config,
    run,
)
from paths import BUILD, ROOT

NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where build/ is installed."""
    if not (BUILD / "libkvcache.a").exists():
        pytest.skip("build/ holds no library yet")
    prefix = tmp_path_factory.mktemp("installed")
    cmake("--install", BUILD, "--prefix", prefix)
    return prefix


def test_nothing_installed_names_the_source_tree(prefix: Path) -> None:
    """A list of libraries (RUNPATH), a CMake package or a link into it would break when it goes."""
    assert (prefix / "bin" / "kvcache").exists()
    tree = os.fsencode(ROOT)
    for path in prefix.rglob("*"):
        if path.is_symlink():
            assert not path.resolve().is_relative_to(ROOT), path
        elif path.is_file():
            assert tree not in path.read_bytes(), path


def test_installed_program(prefix: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(prefix, moved, symlinks=True)
    assert "kvcache" in run(moved / "bin" / "kvcache", "--help")
    assert "gpt2, plain" in run(moved / "bin" / "kvcache", "info", BUILD / "goldens" / "plain")


def test_installed(prefix: Path, tmp_path: Path) -> None:
    """The consumer names the prefix alone."""
    build(CONSUMER, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert run(tmp_path / "consumer") == CONSUMER_SAYS


@pytest.mark.parametrize("source", [C_CONSUMER / "consumer.c", CONSUMER / "consumer.cpp"])
def test_installed_without_cmake(prefix: Path, tmp_path: Path, source: Path) -> None:
    """By pkg-config, from another place than it was installed to."""
    if shutil.which("pkg-config") is None:
        pytest.skip("pkg-config is not installed (Debian's package of that name)")
    moved = tmp_path / "moved"
    shutil.copytree(prefix, moved, symlinks=True)
    says = compile_with_pkg_config(moved, source, tmp_path / "consumer")
    assert says == CONSUMER_SAYS


def test_installed_without_the_source_tree(prefix: Path, tmp_path: Path) -> None:
    """In a namespace in which the folders that the build came from are empty."""
    if subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine lets nobody make a mount namespace")
    source = shutil.copytree(CONSUMER, tmp_path / "source")
    ninja = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"]
    hidden = [BUILD, ROOT / ".deps", ROOT / "src", ROOT / "include", ROOT / "cmake"]
    commands = [
        *(["mount", "-t", "tmpfs", "none", path.resolve()] for path in hidden),
        [toolchain.cmake(), "-S", source, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}", *ninja],
        [toolchain.cmake(), "--build", tmp_path],
        [tmp_path / "consumer"],
        [prefix / "bin" / "kvcache", "--help"],
    ]
    script = " && ".join(shlex.join(map(str, command)) for command in commands)
    output = run(*NAMESPACE, "sh", "-c", script)
    assert f"{CONSUMER_SAYS}" in output
    assert "eval-tree" in output


# Those that are projects of their own: examples/trigo is built with the library.
PROJECTS = sorted(
    path.parent.name
    for path in (ROOT / "examples").glob("*/CMakeLists.txt")
    if "project(" in path.read_text()
)


@pytest.mark.parametrize(
    "example",
    [pytest.param(name, marks=() if name == "fork" else pytest.mark.full) for name in PROJECTS],
)
def test_examples_build_against_what_is_installed(
    prefix: Path, tmp_path: Path, example: str
) -> None:
    source = ROOT / "examples" / example
    build(source, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    run(tmp_path / f"example_{example}", BUILD / "goldens" / "plain")


@pytest.mark.full
def test_subdirectory(tmp_path: Path) -> None:
    build(CONSUMER, tmp_path, f"-DKVCACHE_SOURCE_DIR={ROOT}")
    assert run(tmp_path / "consumer") == CONSUMER_SAYS
