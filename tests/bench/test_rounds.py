"""Figures that outlive a run that is cut off, the order of measurements, and the time left."""

import json
from pathlib import Path

import pytest
import rounds

NAMES = ("bandwidth", "kvcache int8", "llama.cpp Q8_0")


def test_every_other_round_goes_backwards() -> None:
    first, second = (1, 2)
    steps = rounds.Rounds(Path(), NAMES, 3).steps()
    assert [name for number, name in steps if number == first] == list(NAMES)
    assert [name for number, name in steps if number == second] == list(reversed(NAMES))
    assert [number for number, _ in steps] == sorted(number for number, _ in steps)


@pytest.mark.parametrize("stop_at", range(1, 7))
def test_no_measurement_is_lost_or_made_twice(tmp_path: Path, stop_at: int) -> None:
    made: list[tuple[int, str]] = []
    stops = iter([True])  # once

    def measure(number: int, name: str) -> rounds.Figures:
        made.append((number, name))
        if len(made) == stop_at and next(stops, False):
            raise KeyboardInterrupt
        return {"of": f"{number} {name}"}

    run = rounds.Rounds(tmp_path, NAMES, 2)
    with pytest.raises(KeyboardInterrupt):
        run.make(measure)
    stopped = made.pop()
    found = rounds.Rounds(tmp_path, NAMES, 2).make(measure)
    assert made == run.steps()
    assert made[stop_at - 1] == stopped
    for number, figures in enumerate(found, 1):
        assert list(figures) == list(NAMES)
        assert {name: one["of"] for name, one in figures.items()} == {
            name: f"{number} {name}" for name in NAMES
        }


def test_a_file_cut_off_while_written_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(_path: Path, _target: Path) -> None:
        raise KeyboardInterrupt

    run = rounds.Rounds(tmp_path, NAMES[:1], 1)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run.make(lambda *_: {"first": True})
    (found,) = run.make(lambda *_: {"second": True})
    assert "second" in found[NAMES[0]]


def test_progress_says_what_is_measured_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = rounds.Rounds(tmp_path, NAMES, 2)
    run.make(lambda *_: {})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 6: round 1 of 2, bandwidth"
    assert lines[4] == "5 of 6: round 2 of 2, kvcache int8; about 1 min left"
    for path in tmp_path.rglob("*kvcache*.json"):
        path.write_text(json.dumps({rounds.SECONDS: 600}))
    (tmp_path / "round-2" / "02-llama-cpp-q8-0.json").unlink()
    run.make(lambda *_: {})
    assert capsys.readouterr().err == "4 of 6: round 2 of 2, llama.cpp Q8_0; about 1 min left\n"


def test_time_left_is_that_of_the_same_measurement_or_of_all() -> None:
    assert rounds.time_left({}, [(1, "a")]) == ""
    seconds = {"a": [100.0, 140.0], "b": [60.0]}
    # 120 s of a, 60 s of b, and of c, which was not measured yet, the mean of all: 100 s.
    assert rounds.time_left(seconds, [(2, "a"), (2, "b"), (2, "c")]) == "; about 5 min left"
    assert rounds.time_left(seconds, [(2, "a")]) == "; about 2 min left"
