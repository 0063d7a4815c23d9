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


def build_and_run(build: Path, *options: str) -> None:
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    cmake("-S", CONSUMER, "-B", build, "-G", "Ninja", ninja, "-DCMAKE_BUILD_TYPE=Release", *options)
    cmake("--build", build, "--parallel", str(os.cpu_count()))
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    output = subprocess.run(
        [build / "consumer"], capture_output=True, text=True, check=True, env=environment
    )
    assert output.stdout == "cache_full\n"


@pytest.mark.skipif(not (BUILD / "libkvcache.a").exists(), reason="build/ holds no library yet")
def test_installed(tmp_path: Path) -> None:
    cmake("--install", BUILD, "--prefix", tmp_path / "prefix")
    build_and_run(
        tmp_path / "build", f"-DCMAKE_PREFIX_PATH={tmp_path / 'prefix'};{DEBIAN_ROOT / 'usr'}"
    )


@pytest.mark.full
def test_subdirectory(tmp_path: Path) -> None:
    build_and_run(tmp_path / "build", f"-DKVCACHE_SOURCE_DIR={ROOT}")
