"""A project outside the repository uses the library: installed, and as a subdirectory."""

import os
import subprocess
from pathlib import Path

import pytest
import toolchain
from paths import BUILD, DEBIAN_ROOT, ROOT

CONSUMER = ROOT / "tests" / "install"


def cmake(*words: str | Path) -> None:
    process = subprocess.run(
        [toolchain.cmake(), *words], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr


def build(source: Path, build: Path, *options: str) -> None:
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    cmake("-S", source, "-B", build, "-G", "Ninja", ninja, "-DCMAKE_BUILD_TYPE=Release", *options)
    cmake("--build", build, "--parallel", str(os.cpu_count()))


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where build/ is installed."""
    if not (BUILD / "libkvcache.a").exists():
        pytest.fail("build/ holds no library: scripts/test builds it")
    prefix = tmp_path_factory.mktemp("installed")
    cmake("--install", BUILD, "--prefix", prefix)
    return prefix


def test_installed(prefix: Path, tmp_path: Path) -> None:
    build(CONSUMER, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix};{DEBIAN_ROOT / 'usr'}")
    assert run(tmp_path / "consumer") == "model_not_found\n"


@pytest.mark.parametrize("example", sorted(path.name for path in (ROOT / "examples").iterdir()))
def test_examples_build_against_what_is_installed(
    prefix: Path, tmp_path: Path, example: str
) -> None:
    source = ROOT / "examples" / example
    build(source, tmp_path, f"-DCMAKE_PREFIX_PATH={prefix};{DEBIAN_ROOT / 'usr'}")
    run(tmp_path / f"example_{example}", BUILD / "goldens" / "plain")


@pytest.mark.full
def test_subdirectory(tmp_path: Path) -> None:
    build(CONSUMER, tmp_path, f"-DKVCACHE_SOURCE_DIR={ROOT}")
    assert run(tmp_path / "consumer") == "model_not_found\n"
