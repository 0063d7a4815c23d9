"""ONNX Runtime's telemetry stays off in programs that load a model."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

STRACE = shutil.which("strace")
SECONDS = 4


def traced(kvcache: Path, model: Path, home: Path, **environment: str) -> tuple[list[Path], str]:
    """The files under a fresh home directory, and the network calls, of some seconds' decoding."""
    home.mkdir()
    trace = home.parent / f"{home.name}.trace"
    kept = {
        name: value
        for name, value in os.environ.items()
        if name != "ORT_DISABLE_TELEMETRY" and not name.startswith("XDG_")
    }
    generate = ["generate", model, "--ids", "1", "--window", "5", "--max-new-tokens", "1" + "0" * 8]
    with subprocess.Popen(
        [STRACE, "-f", "-e", "trace=network", "-o", trace, kvcache, *generate],
        env={**kept, "HOME": str(home), **environment},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 15)
    files = [path for path in home.rglob("*") if path.is_file()]
    return files, "".join(
        re.findall(r"^\d+ +(?:socket|connect|sendto)\(.*\n", trace.read_text(), re.M)
    )


@pytest.mark.skipif(STRACE is None, reason="strace is not installed: apt-get install strace")
def test_no_file_and_no_look_up(kvcache_path: Path, model: Path, tmp_path: Path) -> None:
    files, calls = traced(kvcache_path, model, tmp_path / "home")
    assert not files
    assert not calls
    # What the test would see: the host's own word for it stays.
    if not traced(kvcache_path, model, tmp_path / "with", ORT_DISABLE_TELEMETRY="0")[0]:
        pytest.skip("this ONNX Runtime has no telemetry")
