"""ONNX Runtime's library, from the package onnxruntime that is installed."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from pathlib import Path

OLDEST = (1, 31, 1)  # as pyproject.toml
BEFORE = (1, 32)
LIBRARY = re.compile(r"libonnxruntime\.so\.(\d+)\.(\d+)\.(\d+)$")
INSTALL = 'python -m pip install "onnxruntime>=1.31.1,<1.32"'


def find() -> Path:
    """The library of the package onnxruntime (or onnxruntime-gpu, which has the same modules).

    The environment variable KVCACHE_ONNXRUNTIME names another file. Nothing of the package is run.

    Raises:
        ImportError: the package is not installed, or of another version.
    """
    chosen = os.environ.get("KVCACHE_ONNXRUNTIME")
    if chosen:
        if not Path(chosen).is_file():
            raise ImportError(f"KVCACHE_ONNXRUNTIME names {chosen}, which is no file")
        return Path(chosen)
    spec = importlib.util.find_spec("onnxruntime")
    if spec is None or spec.origin is None:
        raise ImportError(f"kvcache needs the package onnxruntime; run: {INSTALL}")
    folder = Path(spec.origin).parent / "capi"
    found = [(match, path) for path in folder.iterdir() if (match := LIBRARY.match(path.name))]
    if not found:
        raise ImportError(f"{folder} holds no libonnxruntime.so; run: {INSTALL}")
    match, library = found[0]
    version = tuple(map(int, match.groups()))
    if not OLDEST <= version < BEFORE:
        is_there = ".".join(match.groups())
        raise ImportError(
            f"onnxruntime is {is_there}, must be 1.31.1 or newer, below 1.32: {INSTALL}"
        )
    return library


def load() -> None:
    """Load the library, so that the extension finds it; a second time it is the same."""
    ctypes.CDLL(str(find()))
