"""The built programs, and tiny models to run them on."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
GOLDENS = ROOT / "tests" / "goldens"
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))
TIMEOUT_S = 120

Program = Callable[..., subprocess.CompletedProcess[str]]


def runner(name: str) -> Program:
    program = BUILD / name
    if not program.exists():
        pytest.fail(f"{program} does not exist: scripts/test builds it")

    def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
        command = [str(program), *map(str, arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.run(command, text=True, check=False, timeout=TIMEOUT_S, **options)

    return run


def assert_error(finished: subprocess.CompletedProcess[str], status: int, *parts: str) -> None:
    """One line on standard error that holds all `parts`, and nothing on standard output."""
    assert finished.returncode == status, finished.stderr
    lines = finished.stderr.splitlines()
    assert len(lines) == 1, finished.stderr
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in lines[0]
    assert not finished.stdout
