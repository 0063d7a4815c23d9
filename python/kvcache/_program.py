"""The command kvcache: the C++ program that the package has in bin/."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from . import _onnxruntime

PROGRAM = Path(__file__).parent / "bin" / "kvcache"


def main() -> int:
    """Become the program, which finds ONNX Runtime where the package does."""
    try:
        library = _onnxruntime.find()
        environment = {**os.environ, "KVCACHE_ONNXRUNTIME": str(library)}
        os.execve(PROGRAM, ["kvcache", *sys.argv[1:]], environment)
    except (ImportError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
