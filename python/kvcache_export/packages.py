"""Whether the packages that are installed are those that requirements.txt asks for.

An older one lacks what the exporter uses, and would end in an error that names neither.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

from .errors import ExportError

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
INSTALL = "python -m pip install -r requirements.txt"
PYTHON = (3, 11)


def check(requirements: Path = REQUIREMENTS) -> None:
    """Raises ExportError for the first package that is older; newer ones are given a chance.

    What is missing is noticed when it is imported, if it is.
    """
    if sys.version_info < PYTHON:
        found = ".".join(map(str, sys.version_info[:3]))
        raise ExportError(f"Python is {found}, must be {'.'.join(map(str, PYTHON))} or newer")
    for name, wanted in _pinned(requirements).items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        if _numbers(found) < _numbers(wanted):
            raise ExportError(
                f"Python package {name} is {found}, must be {wanted} or newer; run: {INSTALL}"
            )


def _pinned(requirements: Path) -> dict[str, str]:
    try:
        lines = requirements.read_text(encoding="utf-8").splitlines()
    except OSError:  # the package was installed without the repository around it
        return {}
    found = (re.fullmatch(r"([\w.-]+)==([\w.]+)", line.partition("#")[0].strip()) for line in lines)
    return {match[1]: match[2] for match in found if match}


def _numbers(version: str) -> tuple[int, ...]:
    """The release's numbers: 1.2.0rc1 counts as 1.2.0, and 1.2 as 1.2.0."""
    release = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in release[0].split(".")] if release else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
