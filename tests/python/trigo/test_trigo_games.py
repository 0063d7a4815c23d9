"""Recorded games: read or refused by line, and laid out so that each node sees its own text."""

from __future__ import annotations

import copy
import json
import math
import random
import re
from pathlib import Path

import made_up_searches
import numpy as np
import pytest
import rules
import trigo_text
from trigo_games import DataError, LaidOut, RecordedGame, Search, lay_out, read_games

SEED = 11
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


def test_files_without_games(tmp_path: Path):
    (tmp_path / "a.jsonl").write_text("")
    with pytest.raises(DataError, match="there is no game in"):
        read_games([tmp_path / "a.jsonl"])
    with pytest.raises(DataError, match=r"cannot read .*nowhere"):
        read_games([tmp_path / "nowhere"])


def seen_by(laid_out: LaidOut, row: int) -> list[int]:
    """The tokens that a row sees, itself last, in the order of their positions."""
    of_text = range(min(laid_out.limits[row] + 1, laid_out.text_size))
    rows = sorted({*of_text, *laid_out.ancestors[row].tolist(), row}, key=positions_of(laid_out))
    assert [laid_out.positions[each] for each in rows] == list(range(len(rows)))
    return [int(laid_out.tokens[each]) for each in rows]


def positions_of(laid_out: LaidOut):
    return lambda row: laid_out.positions[row]


@pytest.mark.parametrize("board", [(5, 5, 1), (3, 3, 3), (2, 1, 1)], ids=str)
def test_each_row_sees_the_text_that_a_search_would_give_the_model(board: rules.Board):
    choice = random.Random(SEED)
    images = trigo_text.symmetries(board)
    for line in (made_up_searches.made_up_game(choice, board) for _ in range(5)):
        image = choice.choice(images)
        searches = tuple(
            Search(each["ply"], tuple(each["moves"]), tuple(each["visits"]), each["value"])
            for each in line["searches"]
        )
        game = RecordedGame(board, tuple(line["moves"]), line["score"], searches)
        laid_out = lay_out(game, image, 0.25)
        moves = [image[move] for move in game.moves]

        def told(ply: int, moves=moves) -> list[int]:
            text = trigo_text.game_text(board, moves[:ply])
            return [trigo_text.START, *trigo_text.tokens(text)]

        # The value: the text and VALUE, for each position before a move.
        rows, targets = laid_out.value
        assert [seen_by(laid_out, row) for row in rows] == [
            [*told(ply), trigo_text.VALUE] for ply in range(len(moves))
        ]
        expected = [0.25 * game.outcome + 0.75 * search.value for search in searches]
        np.testing.assert_allclose(targets, expected, atol=1e-6)

        # The policy: the text, the number and a move's first characters, and what comes then.
        shares: dict[tuple[tuple[int, ...], int], float] = {}
        for search in searches:
            before = [*told(search.ply), *trigo_text.tokens(trigo_text.number(search.ply))]
            for move, visits in zip(search.moves, search.visits, strict=True):
                name = trigo_text.tokens(image[move])
                for depth, token in enumerate(name):
                    step = ((*before, *name[:depth]), token)
                    shares[step] = shares.get(step, 0) + visits / sum(search.visits)
        found = {
            (tuple(seen_by(laid_out, row)), int(token)): share
            for row, token, share in zip(*laid_out.policy, strict=True)
        }
        assert found == pytest.approx({step: share for step, share in shares.items() if share})
        assert laid_out.searches == len(searches)


def test_a_search_of_the_last_position_and_positions_without_one():
    last = Search(2, ("a0", "Pass"), (1, 1), 1.0)
    game = RecordedGame((3, 3, 1), ("00", "aa"), 9, (last,))
    laid_out = lay_out(game, trigo_text.symmetries((3, 3, 1))[0], 0.5)
    rows, targets = laid_out.value
    assert targets.tolist() == [1, 1, 1]  # the outcome alone twice; half of it and half of 1
    assert seen_by(laid_out, rows[2])[-2:] == [ord("\n"), trigo_text.VALUE]
    root = laid_out.policy[0][0]
    assert bytes(seen_by(laid_out, root)[1:]) == b"[Board 3x3]\n\n1. 00 aa\n2. "


def test_a_game_without_searches_and_moves():
    same = trigo_text.symmetries((3, 3, 1))[0]
    laid_out = lay_out(RecordedGame((3, 3, 1), (), 0, ()), same, 0.5)
    assert bytes(laid_out.tokens[1:].astype(np.uint8)) == b"[Board 3x3]\n\n"
    assert [len(part) for part in (*laid_out.policy, *laid_out.value)] == [0] * 5
