"""JSON from outside, which may hold anything: the only place that reads it.

Every error is an ExportError that names the file.
"""

from __future__ import annotations

import json
import os
import reprlib
import stat
from pathlib import Path
from typing import Any

from .errors import ExportError

# What any config, index or list of tokens stays far below.
MAX_BYTES = 256 << 20

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxlong = _SHORT.maxother = 80
_SHORT.maxlevel = 3


def shown(value: object) -> str:
    """A value as an error message shows it, whatever its size."""
    return _SHORT.repr(value)


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object of a regular file."""
    value = read_json(path, pipe=False)
    if not isinstance(value, dict):
        raise ExportError(f"{path} is not a JSON object")
    return value


def read_json(path: Path, *, pipe: bool) -> Any:
    """The JSON value of a file, or of a `pipe` where a user may name one."""
    try:
        if not pipe and stat.S_ISFIFO(path.stat().st_mode):  # opening one may wait for ever
            raise ExportError(f"cannot read {path}: it is not a regular file")
        with path.open("rb") as file:
            if not pipe and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ExportError(f"cannot read {path}: it is not a regular file")
            text = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        raise ExportError(f"cannot read {path}: {_reason(error)}") from error
    if len(text) > MAX_BYTES:
        raise ExportError(f"cannot read {path}: it is larger than {MAX_BYTES >> 20} MiB")
    return parse(text, str(path))


def parse(text: bytes, name: str) -> Any:
    """The JSON value of UTF-8 `text`; `name` is what an error calls it."""
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except RecursionError as error:
        raise ExportError(f"{name} is not valid JSON: it is nested too deeply") from error
    except ValueError as error:
        raise ExportError(f"{name} is not valid JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuses a name that stands for two things; readers differ in which of them they take."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found and found[name] != value:
            raise ValueError(f"it has {shown(name)} twice, with different values")
        found[name] = value
    return found


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
