"""Projects that the tests configure, build and run."""

import os
import subprocess
from pathlib import Path

import toolchain
from paths import ROOT

CONSUMER = ROOT / "tests" / "install"
CONSUMER_SAYS = "model_not_found\n"


def cmake(*words: str | Path) -> None:
    process = subprocess.run(
        [toolchain.cmake(), *words], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stdout + process.stderr


def build(source: Path, build: Path, *options: str) -> None:
    """Without optimisation, which would take most of the time."""
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    release = ("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CXX_FLAGS_RELEASE=-O0")
    cmake("-S", source, "-B", build, "-G", "Ninja", ninja, *release, *options)
    cmake("--build", build, "--parallel", str(os.cpu_count()))


def run(*command: str | Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name != "LD_LIBRARY_PATH"}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env=environment
    ).stdout


def architecture() -> str:
    """The name of the folder in which a distribution keeps libraries of this architecture."""
    return subprocess.run(
        [*toolchain.compiler(), "-print-multiarch"], capture_output=True, text=True, check=True
    ).stdout.strip()
