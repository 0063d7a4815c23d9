"""What long work of the exporter shows on a terminal, and that it shows nothing elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pseudo_terminal import CLEAR, lines_shown, run_at_terminal

from kvcache_export import console

ROOT = Path(__file__).resolve().parents[2]
EXPORT = [sys.executable, ROOT / "export_gpt2_kvcache.py", "--model"]
GOLDEN = ROOT / "tests" / "goldens" / "plain"


def test_an_export_shows_a_bar_with_the_time_left_and_takes_it_away(tmp_path: Path) -> None:
    command = [*EXPORT, GOLDEN, "--output-dir", tmp_path / "model"]
    status, output, shown = run_at_terminal(command)
    assert status == 0, shown
    lines = lines_shown(shown)
    assert any(re.fullmatch(r"writing weights, .*\[#+\.+\] +\d+ %, \d+ s left", x) for x in lines)
    assert any("comparing cached with uncached logits, run 2 of 6   17 %" in x for x in lines)
    assert shown.endswith(CLEAR)
    assert "✓ Model exported successfully" in output
    assert all(len(line) < 80 for line in lines)


@pytest.mark.parametrize(("words", "terminal"), [(["--quiet"], "xterm"), ([], "dumb")])
def test_nothing_is_shown_to_who_does_not_want_it(
    tmp_path: Path, words: list[str], terminal: str
) -> None:
    command = [*EXPORT, GOLDEN, "--output-dir", tmp_path / "model", *words]
    status, output, shown = run_at_terminal(command, terminal=terminal)
    assert (status, shown) == (0, "")
    assert "✓ Model exported successfully" in output


def test_nothing_is_shown_in_a_pipe(tmp_path: Path) -> None:
    command = [*map(str, EXPORT), str(GOLDEN), "--output-dir", str(tmp_path / "model")]
    finished = subprocess.run(command, text=True, capture_output=True, check=True, timeout=120)
    assert finished.stderr == ""


def test_lines_fit_the_terminal() -> None:
    line = console.progress_line("writing weights, 3 of 10", 3, 10, 12.4, 100)
    assert line == "writing weights, 3 of 10  [######..............]  30 %, 12 s left"
    assert console.progress_line("weights", 3, 10, 12.4, 30) == "weights   30 %, 12 s left"
    assert len(console.progress_line("writing weights", 3, 10, 12.4, 20)) == 20
    assert console.progress_line("checking the graph", 0, 0, None, 80) == "checking the graph"
    assert console.progress_line("x", 10, 10, 0, 80) == "x  [####################] 100 %"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (98.7, "99 s"), (150, "3 min"), (3900, "65 min"), (7500, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert console.written_duration(seconds) == text
