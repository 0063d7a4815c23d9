"""Recorded games: read, or refused by line."""

from __future__ import annotations

import copy
import json
import math
import re
from pathlib import Path

import made_up_searches
import pytest
import rules
from trigo_games import DataError, RecordedGame, Search, read_games

GAME = {
    "board": [3, 3, 1],
    "moves": ["00", "aa"],
    "score": -7,
    "searches": [
        {"ply": 0, "moves": ["aa", "00", "Pass"], "visits": [1, 6, 1], "value": -0.25},
        {"ply": 1, "moves": ["aa", "a0", "Pass"], "visits": [3, 1, 0], "value": 0.5},
    ],
    "seed": 1,
}


def test_games_are_read(tmp_path: Path):
    path = made_up_searches.write(tmp_path / "a.jsonl", [GAME, GAME])
    first = (0, ("aa", "00", "Pass"), (1, 6, 1), -0.25)
    second = (1, ("aa", "a0", "Pass"), (3, 1, 0), 0.5)
    expected = RecordedGame((3, 3, 1), ("00", "aa"), -7, (Search(*first), Search(*second)))
    assert read_games([path, path]) == [expected] * 4


@pytest.mark.parametrize(
    ("score", "board", "outcome"),
    [
        (0, (5, 5, 1), 0.0),
        (1, (5, 5, 1), 1 / (1 + math.log(25))),
        (-4, (5, 5, 1), -(1 + math.log(4)) / (1 + math.log(25))),
        (25, (5, 5, 1), 1.0),
        (-27, (3, 3, 3), -1.0),
        (-1, (1, 1, 1), -1.0),
        (30, (5, 5, 1), 1.0),  # no board has it; cut off
    ],
)
def test_outcomes(score: int, board: rules.Board, outcome: float):
    assert RecordedGame(board, (), score, ()).outcome == pytest.approx(outcome)


def changed(*path: str | int, to: object) -> str:
    """GAME's line with the field at `path` changed."""
    game = copy.deepcopy(GAME)
    place = game
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return json.dumps(game)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2 is no recorded game: Expecting property name"),
        ("[]", "line 2 is no recorded game"),
        ("{}", "line 2 is no recorded game: it lacks 'board'"),
        (changed("board", to=[3, 3]), "not enough values"),
        (changed("board", to=[3, 0, 1]), "the board is [3, 0, 1], each axis must have a point"),
        (changed("moves", 1, to="ac"), "'ac' is no move on a board of [3, 3, 1]"),
        (changed("searches", 1, "ply", to=3), "a search at ply 3 of 2"),
        (changed("searches", 1, "ply", to=0), "two searches are of the same ply"),
        (changed("searches", 0, "visits", to=[1, 2]), "moves and visits of ply 0 do not belong"),
        (changed("searches", 0, "moves", 0, to="bb"), "moves and visits of ply 0 do not belong"),
        (changed("searches", 0, "moves", 0, to="00"), "moves and visits of ply 0 do not belong"),
        (changed("searches", 0, "visits", to=[0, 0, 0]), "the visits of ply 0 must be positive"),
        (changed("searches", 0, "visits", to=[-1, 9, 0]), "the visits of ply 0 must be positive"),
        (changed("searches", 0, "value", to=1.5), "the value of ply 0 is 1.5, must be within"),
        (changed("searches", 0, "value", to=math.nan), "the value of ply 0 is nan"),
        (changed("searches", 0, "value", to=None), "line 2 is no recorded game"),
    ],
)
def test_other_lines_are_refused(tmp_path: Path, line: str, message: str):
    path = tmp_path / "a.jsonl"
    path.write_text(f"{json.dumps(GAME)}\n{line}\n")
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_games([path])
    assert f"{path}, line 2" in str(error.value)


def test_a_file_that_is_not_there(tmp_path: Path):
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        read_games([tmp_path / "nowhere"])
