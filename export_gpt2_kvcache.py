#!/usr/bin/env python3
"""Exports GPT-2 to ONNX with a key/value cache; see --help and python/kvcache_export/."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "python"))

from kvcache_export.cli import main

if __name__ == "__main__":
    sys.exit(main())
