"""build-peers/: the peers, their packages and the programs that run them."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "scripts" / "lib")]

import python_environment  # noqa: E402
import toolchain  # noqa: E402
from build import jobs  # noqa: E402
from paths import DEBIAN_ROOT  # noqa: E402
from processes import ProcessError  # noqa: E402

WORK = ROOT / "build-peers"
VENV = WORK / "venv"
PYTHON = VENV / "bin" / "python"
PROGRAMS = WORK / "programs"
HERE = Path(__file__).parent
REQUIREMENTS = [ROOT / "requirements.txt", HERE / "requirements.txt"]
HUGGING_FACE = HERE / "requirements-hugging-face.txt"


def run(*command: str | Path) -> str:
    """Run a command; its output, or a ProcessError with the end of it."""
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ProcessError(f"{command[0]} cannot be run: {error.strerror}") from error
    if process.returncode:
        lines = (process.stdout + process.stderr).strip().splitlines() or ["it said nothing"]
        shown = " ".join(str(word) for word in command)[:200]
        raise ProcessError(f"`{shown}` ended with status {process.returncode}: {lines[-1]}")
    return process.stdout


def cmake(source: Path, build: Path, definitions: dict[str, str], *targets: str) -> None:
    """Configure and build targets, or everything."""
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    run(toolchain.cmake(), "-S", source, "-B", build, "-G", "Ninja", ninja, *options)
    chosen = ["--target", *targets] if targets else []
    run(toolchain.cmake(), "--build", build, "--parallel", str(jobs()), *chosen)


def pip(*arguments: str | Path) -> None:
    """pip of the peers' environment."""
    if not PYTHON.exists() or not python_environment.is_in_its_place(VENV):
        run(sys.executable, "-m", "venv", "--clear", VENV)
    command, *rest = arguments
    run(PYTHON, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *rest)


def install(requirements: list[Path]) -> bool:
    """Install pinned packages into the peers' environment; False where that was done before."""
    text = "\0".join([sys.version, *(path.read_text() for path in requirements)])
    wanted = hashlib.sha256(text.encode()).hexdigest()
    stamp = VENV / f".{requirements[-1].stem}-installed"
    in_place = python_environment.is_in_its_place(VENV)
    if in_place and stamp.exists() and stamp.read_text() == wanted:
        return False
    pip("install", *(word for path in requirements for word in ("-r", path)))
    stamp.write_text(wanted)
    return True


def build_programs(kvcache_build: Path, llama_sources: Path, llama_libraries: Path) -> None:
    """Build the programs of CMakeLists.txt against an installed kvcache and llama.cpp."""
    run(toolchain.cmake(), "--install", kvcache_build, "--prefix", WORK / "installed")
    definitions = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_PREFIX_PATH": f"{WORK / 'installed'};{DEBIAN_ROOT / 'usr'}",
        "LLAMA_SOURCE_DIR": str(llama_sources),
        "LLAMA_LIBRARY_DIR": str(llama_libraries),
    }
    cmake(HERE, PROGRAMS, definitions)
