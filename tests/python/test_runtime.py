"""ONNX Runtime sends nothing and writes nothing but what it is asked to."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "export_gpt2_kvcache.py"


def test_it_is_imported_nowhere_else():
    """Before telemetry is switched off; programs of ours do so themselves."""
    own = re.compile(r"^\s*(import|from) onnxruntime\b", re.MULTILINE)
    off = re.compile(r'environ\.setdefault\("ORT_DISABLE_TELEMETRY", "1"\)')
    files = [
        path
        for name in ("python", "tests", "bench", "scripts", "examples")
        for path in (ROOT / name).rglob("*.py")
    ]
    importing = [path for path in files if own.search(path.read_text())]
    assert ROOT / "python/kvcache_export/runtime.py" in importing
    for path in importing:
        text = path.read_text()
        if path.is_relative_to(ROOT / "tests"):  # conftest.py is there before them
            text = (ROOT / "tests/python/conftest.py").read_text()
        switched, imported = off.search(text), own.search(text)
        assert switched, path
        assert imported is None or switched.start() < imported.start(), path


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_an_export_contacts_nobody_and_writes_nothing_elsewhere(
    small_checkpoint: Path, tmp_path: Path
):
    home, trace = tmp_path / "home", tmp_path / "trace"
    home.mkdir()
    surroundings = {
        name: value for name, value in os.environ.items() if not name.startswith("ORT_")
    }
    subprocess.run(
        [
            *("strace", "-f", "-qq", "-e", "trace=%network,openat,open,creat,mkdir,mkdirat,rename"),
            *("-o", trace, sys.executable, "-B", SCRIPT, "--model", small_checkpoint),
            *("--output-dir", tmp_path / "out"),
        ],
        env={**surroundings, "HOME": str(home), "TMPDIR": str(tmp_path)},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert list(home.iterdir()) == []
    calls = trace.read_text()
    assert str(tmp_path / "out") in calls
    assert not re.findall(r"^.*\b(?:socket|connect|sendto|sendmsg)\(.*$", calls, re.MULTILINE)
    written = re.findall(
        r'"([^"]*)", [^\n]*O_(?:WRONLY|RDWR|CREAT)|mkdir(?:at)?\([^"]*"([^"]*)"', calls
    )
    for path in map("".join, written):
        assert path.startswith((f"{tmp_path}/out", "/dev/")), path
