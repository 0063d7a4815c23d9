"""tests/fuzz/exporter_fuzzer.py runs, here for a moment, and notices a reader that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZER = Path(__file__).parents[1] / "fuzz" / "exporter_fuzzer.py"


def test_no_reader_fails(tmp_path):
    result = subprocess.run(
        [sys.executable, FUZZER, "--seconds", "3", "--keep", tmp_path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("none found (seed") == 7


def test_a_reader_that_fails_is_a_finding(tmp_path):
    program = (
        f"import sys; sys.path.insert(0, {str(FUZZER.parent)!r}); import exporter_fuzzer as fuzzer;"
        "fuzzer.atheris = None; fuzzer.shards.fields.is_file_name = lambda name: True;"
        "sys.argv = ['fuzzer', 'index', '--seconds', '60', '--seed', '1', '--keep',"
        f" {str(tmp_path)!r}]; fuzzer.main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert result.returncode == 1
    assert "index: finding b" in result.stderr
    (finding,) = (tmp_path / "index").iterdir()
    assert f"--repeat {finding} index" in result.stderr
    good = subprocess.run(  # by a reader that does not fail
        [sys.executable, FUZZER, "--repeat", finding, "index"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert good.stdout == "index: read or refused as it should be\n", good.stderr
