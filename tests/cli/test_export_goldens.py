"""The library gives Hugging Face's logits of what other tools have exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from export_goldens import ids_of, logits_of, unpacked
from plain_ort import relative_difference
from programs import Program

from kvcache_export.cli import ANY, main

TOLERANCE = 1e-4  # of docs/EXACTNESS.md


@pytest.mark.parametrize(
    "which", ["gpt2/optimum", "qwen2/optimum", "qwen2/genai-float32", "qwen2/mobius"]
)
def test_logits(which: str, kvcache: Program, tmp_path: Path):
    theirs, ours = unpacked(tmp_path / "theirs", which), tmp_path / "ours"
    assert main(["--model", str(theirs), "--output-dir", str(ours)], ANY) == 0
    ids, npy = ",".join(map(str, ids_of(which)[0])), tmp_path / "x.npy"
    finished = kvcache("logits", ours, "--ids", ids, "--npy", npy, "--device", "cpu")
    assert finished.returncode == 0, finished.stderr
    assert relative_difference(np.load(npy), logits_of(which)) < TOLERANCE
