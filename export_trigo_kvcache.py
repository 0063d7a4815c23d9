#!/usr/bin/env python3
"""Exports a policy and value model of Trigo to ONNX with a key/value cache; see --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

from kvcache_export.trigo import main

if __name__ == "__main__":
    sys.exit(main())
