"""The model of lm-evaluation-harness, with the real package where it is installed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import kvcache

ROOT = Path(__file__).parents[3]
PROGRAM = ROOT / "bench" / "python" / "harness.py"


@pytest.mark.full
def test_scores_are_those_of_hugging_face() -> None:
    """On our committed task; KVCACHE_HARNESS names a Python with lm_eval, torch and transformers,
    KVCACHE_HARNESS_MODEL a model directory and KVCACHE_HARNESS_CHECKPOINT what it was made of."""
    names = ("KVCACHE_HARNESS", "KVCACHE_HARNESS_MODEL", "KVCACHE_HARNESS_CHECKPOINT")
    missing = [name for name in names if name not in os.environ]
    if missing:
        pytest.skip(f"{', '.join(missing)} not set: lm_eval and torch are not installed for tests")
    python, *models = (os.environ[name] for name in names)
    path = str(Path(kvcache.__file__).parents[1])
    ended = subprocess.run(
        [python, PROGRAM, *models],
        env={**os.environ, "PYTHONPATH": path, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_without_the_package_it_says_so() -> None:
    program = "import kvcache.lm_eval_adapter"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(Path(kvcache.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "No module named 'lm_eval'" in ended.stderr
