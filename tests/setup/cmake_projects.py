"""Projects that the tests configure, build and run."""

import os
import shlex
import subprocess
from pathlib import Path

import toolchain
from paths import ROOT

CONSUMER = ROOT / "tests" / "install" / "cpp"
C_CONSUMER = ROOT / "tests" / "install" / "c"
STANDARD = "-std=c++20"
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


def compile_with_pkg_config(prefix: Path, source: Path, program: Path) -> str:
    """What a consumer says that was compiled without CMake; its language follows from its name."""
    (folder,) = {path.parent for path in prefix.rglob("kvcache.pc")}
    words = ["pkg-config", "--cflags", "--libs", "kvcache"]
    environment = {**os.environ, "PKG_CONFIG_PATH": str(folder)}
    flags = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)
    of_language = ["cc", "-std=c99"] if source.suffix == ".c" else [*toolchain.compiler(), STANDARD]
    # As anyone does whose prefix is none that the dynamic linker looks into.
    found_there = f"-Wl,-rpath,{folder.parent}"
    run(*of_language, source, "-o", program, *shlex.split(flags.stdout), found_there)
    return run(program)


def architecture() -> str:
    """The name of the folder in which a distribution keeps libraries of this architecture."""
    return subprocess.run(
        [*toolchain.compiler(), "-print-multiarch"], capture_output=True, text=True, check=True
    ).stdout.strip()
