"""The command in one process, with the real program; and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: requirements-ray.txt")

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
PROGRAM = BUILD / "trigo_selfplay"
ROLLOUTS = ("--player", "rollouts", "--board", "3x3x1", "--simulations", 30)


def command(*arguments: object) -> list[str]:
    ours = [sys.executable, str(ROOT / "examples" / "self_play_ray"), "--selfplay", str(PROGRAM)]
    return [*ours, *map(str, arguments)]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), text=True, capture_output=True, check=False)


def games_of_program(path: Path, games: int) -> list[dict]:
    words = [*ROLLOUTS, "--max-moves", 100, "--games", games, "--data", path, "--quiet"]
    subprocess.run([PROGRAM, *map(str, words)], check=True, capture_output=True)
    return list(map(json.loads, path.read_text().splitlines()))


def exported(store: Path) -> list[dict]:
    finished = run("--store", store, "--export", store / "games.jsonl")
    assert finished.returncode == 0, finished.stderr
    return list(map(json.loads, (store / "games.jsonl").read_text().splitlines()))


def test_the_games_are_those_of_the_program(tmp_path: Path) -> None:
    store = tmp_path / "store"
    how = ("--actors", 3, "--lease-games", 2)
    finished = run("--store", store, *ROLLOUTS, "--games", 11, *how)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == f"11 games are in {store}, 0 of them from before\n"
    assert finished.stderr == ""
    assert exported(store) == games_of_program(tmp_path / "games.jsonl", 11)
    again = run("--store", store, *ROLLOUTS, "--games", 11)
    assert again.stdout == f"11 games are in {store}, 11 of them from before\n"


@pytest.mark.parametrize(("which", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("heeded_signals")
def test_a_stopped_run_goes_on(tmp_path: Path, which: signal.Signals, status: int) -> None:
    store = tmp_path / "store"
    order = ("--store", store, *ROLLOUTS, "--games", 600, "--lease-games", 1, "--part-games", 5)
    process = subprocess.Popen(command(*order), text=True, stderr=subprocess.PIPE)
    while not list(store.glob("part-*.parquet")):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(which)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, "the same command goes on" in error) == (status, True)
    kept = len(exported(store))
    assert 5 <= kept < 600
    finished = run(*order, "--lease-games", 50)
    assert finished.stdout == f"600 games are in {store}, {kept} of them from before\n"
    whole = games_of_program(tmp_path / "games.jsonl", 600)
    assert sorted(exported(store), key=str) == sorted(whole, key=str)


def test_bad_input_is_told(tmp_path: Path) -> None:
    bad = run("--store", tmp_path / "a", "--player", "rollouts", "--board", "1xx")
    assert bad.returncode == 2
    assert "trigo_selfplay ended with 2" in bad.stderr
    missing = run("--store", tmp_path / "b", "--model", tmp_path / "none")
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"error: {tmp_path / 'none'} is no model directory")
    program = run("--store", tmp_path / "c", *ROLLOUTS, "--selfplay", tmp_path / "none")
    assert program.returncode == 2
    assert "is no program on this machine" in program.stderr
    assert run("--store", tmp_path / "d", "--games", "1.5").returncode == 2
    nothing = run("--store", tmp_path / "e", "--export", tmp_path / "f")
    assert (nothing.returncode, "holds no store" in nothing.stderr) == (1, True)
