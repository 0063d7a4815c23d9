#!/usr/bin/env python3
"""Exports a decoder-only transformer to ONNX with a key/value cache; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

from kvcache_export.cli import ANY, main

if __name__ == "__main__":
    sys.exit(main(command=ANY))
