"""The probing of a template in a process of its own, with a limit on time and memory.

A template is a program of a stranger's. Jinja2's sandbox keeps it from files and the interpreter,
but not from running for ever or asking for all memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import ExportError
from .pieces import unexpressed

SECONDS = 60  # of the processor; the slowest of 70 known templates takes 5
MEMORY_BYTES = 1 << 30  # of addresses
PACKAGE_ROOT = Path(__file__).resolve().parents[2]


def express(source: str, tokens: Mapping[str, str]) -> dict[str, Any]:
    """The fields of chat_template.json, as `probe.express` gives them; ExportError without Jinja2.

    A template that goes beyond the limits is one that has no pieces.
    """
    if importlib.util.find_spec("jinja2") is None:
        raise ExportError(
            "the model has a chat template, which needs the Python package jinja2; run: python -m"
            " pip install -r requirements.txt"
        )
    done = subprocess.run(
        [sys.executable, "-m", __name__],
        input=json.dumps(
            {"source": source, "tokens": dict(tokens), "seconds": SECONDS, "bytes": MEMORY_BYTES}
        ).encode(),
        env={**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), "PYTHONHASHSEED": "0"},
        capture_output=True,
        check=False,
    )
    if done.returncode == 0:
        return json.loads(done.stdout)
    *_, last = ("", *done.stderr.decode("utf-8", "replace").strip().splitlines())
    how = f"ended by signal {-done.returncode}" if done.returncode < 0 else last
    if done.returncode > 0 and not last.startswith("MemoryError"):
        raise ExportError(f"the chat template was not tried: its process ended with: {how}")
    return unexpressed(f"trying it takes more than {SECONDS} s or {MEMORY_BYTES >> 30} GiB ({how})")


def _main() -> None:
    asked = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (asked["seconds"],) * 2)
    resource.setrlimit(resource.RLIMIT_AS, (asked["bytes"],) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from .probe import express as probed

    json.dump(probed(asked["source"], asked["tokens"]), sys.stdout)


if __name__ == "__main__":
    _main()
