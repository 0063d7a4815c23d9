"""The measurements, with the real program; what they say is the machine's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: requirements-ray.txt")

from self_play_ray.scaling import rows_of

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples" / "self_play_ray"
PROGRAM = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_selfplay"
ROLLOUTS = ("--player", "rollouts", "--board", "3x3x1", "--simulations", "30")


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, EXAMPLE / script, *arguments]
    return subprocess.run(list(map(str, words)), text=True, capture_output=True, check=False)


def test_a_share_is_that_of_the_same_round() -> None:
    one = [{"games": 2.0, "moves": 20.0, "leases": 1}, {"games": 4.0, "moves": 40.0, "leases": 1}]
    four = [{"games": 8.0, "moves": 60.0, "leases": 4}, {"games": 8.0, "moves": 80.0, "leases": 5}]
    first, second = rows_of({1: one, 4: four})
    assert first["moves_per_s"] == {"median": 30, "least": 20, "most": 40, "samples": [20, 40]}
    assert first["moves_share_of_n_times_one"]["samples"] == [1, 1]
    assert second["games_share_of_n_times_one"]["samples"] == [1, 0.5]
    assert second["moves_share_of_n_times_one"]["median"] == (0.75 + 0.5) / 2
    assert second["leases"] == [4, 5]


@pytest.mark.parametrize("workers", ["local", pytest.param("ray", marks=pytest.mark.full)])
def test_scaling_is_measured(tmp_path: Path, workers: str) -> None:
    if workers == "ray":
        pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")
    path = tmp_path / "scaling.json"
    how = ("--actors", 2, 1, "--seconds", 0.3, "--rounds", 2, "--json", path)
    others = ("--workers", workers, "--selfplay", PROGRAM, *ROLLOUTS)
    ended = run("scaling.py", *how, "--", *others)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    numbers = [line.split(" actors: ")[0] for line in ended.stderr.splitlines()]
    assert numbers == ["2", "1", "1", "2"]  # forwards and backwards
    found = json.loads(path.read_text())
    assert [row["actors"] for row in found["rows"]] == [2, 1]
    for row in found["rows"]:
        assert all(count >= row["actors"] for count in row["leases"])
        for what in ("games_per_s", "moves_per_s"):
            assert len(row[what]["samples"]) == 2
            assert 0 < row[what]["least"] <= row[what]["median"] <= row[what]["most"]
    assert found["rows"][0]["moves_share_of_n_times_one"]["median"] == 1
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert len(found["nodes"]) == (1 if workers == "ray" else 0)


def test_a_measurement_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    missing = run("scaling.py", "--", "--model", tmp_path / "none")
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"error: {tmp_path / 'none'} is no model directory")
    assert run("scaling.py", "--actors", 0).returncode == 2


@pytest.mark.full
def test_messages_are_measured() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")
    ended = run("messages.py", "--seconds", 0)  # as many calls as it takes at least
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["evaluation"] is None
    assert [(one["rows"], one["under_way"]) for one in found["calls"]] == [
        (1, 1), (1, 64), (64, 1), (64, 64)]  # fmt: skip
    for one in found["calls"]:
        assert one["calls"] == 20
        assert 0 < one["call_ms_p10"] <= one["call_ms"] <= one["call_ms_p90"]
        assert one["processor_ms"] > 0
