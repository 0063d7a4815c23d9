"""The program whose pages are looked at."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from chromium import BUILD

MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))


def run(*arguments: object) -> str:
    command = [str(BUILD / "kvcache"), *map(str, arguments)]
    finished = subprocess.run(command, text=True, capture_output=True, check=False, timeout=120)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def read(document: Path) -> Any:
    return json.loads(document.read_text())
