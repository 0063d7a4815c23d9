"""The command with Ray's workers: stopped in mid-run, and with no cluster to join."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_selfplay"
ORDER = ("--player", "rollouts", "--board", "3x3x1", "--simulations", "30", "--games", "2000")


def command(store: Path, *arguments: str) -> list[str]:
    ours = [sys.executable, str(ROOT / "examples" / "self_play_ray"), "--selfplay", str(PROGRAM)]
    how = ("--workers", "ray", "--quiet", "--lease-games", "1", "--part-games", "5")
    return [*ours, "--store", str(store), *ORDER, *how, *arguments]


def parts(store: Path) -> list[Path]:
    return list(store.glob("part-*.parquet"))


@pytest.mark.parametrize(("which", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("heeded_signals")
def test_a_stopped_run_loses_nothing(tmp_path: Path, which: signal.Signals, status: int) -> None:
    store = tmp_path / "store"
    # As a terminal does, which tells all processes of the command.
    process = subprocess.Popen(
        command(store), text=True, stderr=subprocess.PIPE, start_new_session=True
    )
    while not parts(store):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    if which == signal.SIGINT:
        os.killpg(process.pid, which)
    else:
        process.send_signal(which)
    _, error = process.communicate(timeout=60)
    assert (process.returncode, "the same command goes on" in error) == (status, True), error
    assert "Traceback" not in error
    from self_play_ray.store import games_of

    kept = len(list(games_of(store)))
    assert 5 <= kept < 2000
    more = [word for word in command(store) if word not in {"ray", "--workers"}]
    finished = subprocess.run(
        [*more, "--lease-games", "200"], text=True, capture_output=True, check=False
    )
    assert finished.stdout == f"2000 games are in {store}, {kept} of them from before\n"
    assert sorted(game["number"] for game in games_of(store)) == list(range(2000))


def test_a_head_that_does_not_answer_is_told_in_time(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        words = command(tmp_path / "store", "--address", address)
        ended = subprocess.run(words, text=True, capture_output=True, timeout=60, check=False)
    assert time.monotonic() - began < 20
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"error: no Ray cluster answers at {address}: nothing has")
    assert "Is its head running" in ended.stderr
