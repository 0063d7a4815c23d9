"""scripts/site that is stopped leaves nothing half built behind."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from paths import ROOT

# As the command, but for what takes a minute: a program that would go on for ten.
COMMAND = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import build_site, steps
build_site.check_all = lambda *_: None
build_site.provide = lambda: False
def build(folder, *_):
    (folder / "pages").mkdir()
    print("half built", flush=True)
    steps.run([sys.executable, "-c", "import time; time.sleep(600)"])
build_site._build = build
steps.main(build_site._command)
"""


@pytest.mark.parametrize(("which", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.usefixtures("heeded_signals")
def test_what_was_half_built_goes(tmp_path: Path, which: signal.Signals, status: int) -> None:
    output = tmp_path / "build-site"
    words = [sys.executable, "-c", COMMAND, ROOT / "scripts" / "lib", "--output", output]
    with subprocess.Popen(words, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while "half built" not in process.stdout.readline():
            assert process.poll() is None
        assert [path.name.startswith("build-site-") for path in tmp_path.iterdir()] == [True]
        process.send_signal(which)
        assert process.wait(timeout=60) == status
    assert list(tmp_path.iterdir()) == []
