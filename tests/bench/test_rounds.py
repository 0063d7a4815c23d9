"""Figures that outlive a run that is cut off, the order of measurements, and the time left."""

import json
from pathlib import Path

import pytest
import rounds

GUESS_S = 120
NAMES = ("bandwidth", "kvcache int8", "llama.cpp Q8_0")


def test_every_other_round_goes_backwards() -> None:
    first, second = (1, 2)
    steps = rounds.Rounds(Path(), NAMES, 3, GUESS_S).steps()
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

    run = rounds.Rounds(tmp_path, NAMES, 2, GUESS_S)
    with pytest.raises(KeyboardInterrupt):
        run.make(measure)
    stopped = made.pop()
    found = rounds.Rounds(tmp_path, NAMES, 2, GUESS_S).make(measure)
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

    run = rounds.Rounds(tmp_path, NAMES[:1], 1, GUESS_S)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", cut_off)
        with pytest.raises(KeyboardInterrupt):
            run.make(lambda *_: {"first": True})
    (found,) = run.make(lambda *_: {"second": True})
    assert "second" in found[NAMES[0]]


def test_progress_says_what_is_measured_how_much_is_left_and_how_long_it_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = rounds.Rounds(tmp_path, NAMES, 2, GUESS_S)
    run.make(lambda *_: {})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "1 of 6: round 1 of 2, bandwidth; 6 left, about 12 min"  # all by the guess
    assert lines[2] == "3 of 6: round 1 of 2, llama.cpp Q8_0; 4 left, about 4 min"
    took = {"bandwidth": [30, None], "kvcache int8": [500, 700], "llama.cpp Q8_0": [240, None]}
    for place, seconds in enumerate(map(took.get, NAMES)):
        for number, each in enumerate(seconds, 1):
            (path,) = (tmp_path / f"round-{number}").glob(f"{place:02}-*.json")
            if each is None:
                path.unlink()
            else:
                path.write_text(json.dumps({rounds.SECONDS: each}))
    run.make(lambda *_: {})
    assert capsys.readouterr().err.splitlines() == [
        "4 of 6: round 2 of 2, llama.cpp Q8_0; 2 left, about 4 min",  # 240 and 30 s
        "6 of 6: round 2 of 2, bandwidth; 1 left, about 1 min",
    ]
