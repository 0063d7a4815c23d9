"""What long work shows on a terminal, and that it shows nothing elsewhere."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
from pathlib import Path

import pytest
from programs import BUILD, Program
from pseudo_terminal import CLEAR, lines_shown, run_at_terminal

ROUNDS = ["--prompt", 8, "--tokens", 12, "--depth", 2, "--repeat", 4]
BAR = re.compile(r"\[#*\.*\] +\d+ %")


def bench(model: Path, *words: object) -> list[object]:
    return [BUILD / "kvcache", "bench", model, *ROUNDS, *words]


def test_a_bench_shows_its_rounds_and_takes_the_line_away(model: Path) -> None:
    status, output, shown = run_at_terminal(bench(model))
    assert status == 0, shown
    lines = lines_shown(shown)
    assert "sequence: warming up, comparing with forward_without_cache" in lines
    assert any(re.match(r"sequence: round 1 of 4  \[\.{20}\] +0 %$", line) for line in lines)
    assert shown.endswith(CLEAR)
    assert "decode at depth 2" in output


def test_the_time_left_is_told(model: Path) -> None:
    """Of rounds that are longer than what is too short to be drawn anew."""
    words = ["--mode", "start", "--repeat", 3]
    status, _, shown = run_at_terminal([BUILD / "kvcache", "bench", model, *words])
    assert status == 0, shown
    lines = lines_shown(shown)
    assert any(re.search(r"round 2 of 3  \[#{6}\.{14}\]  33 %, \d+ s left$", x) for x in lines)
    assert any(re.search(r"round 3 of 3  \[#{13}\.{7}\]  67 %, \d+ s left$", x) for x in lines)


@pytest.mark.parametrize(("words", "terminal"), [(["--quiet"], "xterm"), ([], "dumb")])
def test_nothing_is_shown_to_who_does_not_want_it(
    model: Path, words: list[str], terminal: str
) -> None:
    status, output, shown = run_at_terminal(bench(model, *words), terminal=terminal)
    assert (status, shown) == (0, "")
    assert "decode at depth 2" in output


def test_nothing_is_shown_in_a_pipe(kvcache: Program, model: Path) -> None:
    finished = kvcache("bench", model, *ROUNDS)
    assert finished.returncode == 0
    assert finished.stderr == ""


def test_errors_stand_on_a_line_of_their_own(model: Path, tmp_path: Path) -> None:
    """The bar is taken away before, and JSON on standard output is JSON alone."""
    status, output, shown = run_at_terminal(bench(model, "--json", "-"))
    assert status == 0
    assert json.loads(output)["mode"] == "sequence"
    full = bench(model, "--html", "/dev/full")
    status, _, shown = run_at_terminal(full)
    assert status == 1
    assert BAR.search(shown)
    assert lines_shown(shown)[-1].startswith("error: ")


def test_a_narrow_terminal_is_kept_to(model: Path) -> None:
    _, _, shown = run_at_terminal(bench(model), columns=40)
    assert all(len(line) < 40 for line in lines_shown(shown))


@pytest.mark.parametrize("words", [[], ["--quiet"]])
def test_a_load_above_a_second_says_since_when(
    model: Path, tmp_path: Path, words: list[str]
) -> None:
    """Its config.json is a pipe, into which somebody writes after two and a half seconds."""
    slow = tmp_path / "slow"
    shutil.copytree(model, slow)
    config = slow / "config.json"
    text = config.read_text()
    config.unlink()
    os.mkfifo(config)
    writer = threading.Timer(2.5, config.write_text, [text])
    writer.start()
    status, output, shown = run_at_terminal([BUILD / "kvcache", "info", slow, *words])
    writer.join()
    assert status == 0, shown
    assert "Layers" in output
    expected = [] if words else [f"loading {slow}, {n} s"[:79] for n in (1, 2)]
    assert [line[:79] for line in lines_shown(shown)] == expected
    assert shown.endswith("" if words else CLEAR)


def test_quiet_and_verbose_exclude_each_other(kvcache: Program, model: Path) -> None:
    finished = kvcache("bench", model, "--quiet", "--verbose")
    assert finished.returncode == 2
    assert "--verbose excludes --quiet" in finished.stderr


def test_self_play_shows_its_games(tmp_path: Path) -> None:
    play = [BUILD / "trigo_selfplay", "--player", "rollouts", "--simulations", 200]
    play += ["--games", 6, "--max-moves", 8, "--board", "3x3x1"]
    status, output, shown = run_at_terminal(play)
    assert status == 0, shown
    assert lines_shown(shown)[0].startswith("self-play, 0 of 6 games  [....................]   0 %")
    assert shown.endswith(CLEAR)
    assert "6 games" in output
    assert run_at_terminal([*play, "--quiet"])[2] == ""
