"""trigo_sets.py: files of games as arrays, by board."""

from __future__ import annotations

import random
import re
from pathlib import Path

import made_up_searches
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import numpy as np  # noqa: E402
import trigo_sets  # noqa: E402
import trigo_text  # noqa: E402
from trigo_games import DataError, RecordedGame, read_games  # noqa: E402
from trigo_sets import NO_SEARCH, Moves  # noqa: E402

SEED = 17
BOARDS = [(3, 3, 1), (2, 2, 2)]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two, of more lines than are read at once in the test, both boards in each."""
    choice = random.Random(SEED)
    lines = [made_up_searches.made_up_game(choice, BOARDS[at % 2], 2 + at) for at in range(14)]
    for line in lines[::3]:
        del line["searches"][::2]
    files = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    return [made_up_searches.write(file, lines[at::2][::-1]) for at, file in enumerate(files)]


def told_by(games: Moves) -> list[tuple]:
    """Each game's moves, outcome, and by ply the shares of visits and the value of its search."""
    names = [*trigo_text.point_names(games.board), trigo_text.PASS]
    found = []
    for moves, outcome, rows in zip(games.moves, games.outcomes, games.searches, strict=True):
        searches = {
            ply: (games.shares[row].tolist(), float(games.values[row]))
            for ply, row in enumerate(rows)
            if row != NO_SEARCH
        }
        found.append(([names[move] for move in moves if move >= 0], float(outcome), searches))
    return found


def expected(games: list[RecordedGame], board: trigo_text.Board) -> list[tuple]:
    names = [*trigo_text.point_names(board), trigo_text.PASS]
    found = []
    for game in games:
        searches = {}
        for search in game.searches:
            shares = dict.fromkeys(names, 0.0)
            for move, visits in zip(search.moves, search.visits, strict=True):
                shares[move] = float(np.float16(visits / sum(search.visits)))
            value = float(np.float32(search.value))
            searches[search.ply] = (pytest.approx(list(shares.values()), abs=1e-3), value)
        found.append((list(game.moves), float(np.float32(game.outcome)), searches))
    return found


@pytest.mark.parametrize("workers", [0, 2])
def test_files_are_read_in_order_by_board(
    files: list[Path], workers: int, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(trigo_sets, "LINES", 3)
    found = trigo_sets.read_sets(files, workers)
    games = read_games(files)
    assert [one.board for one in found] == sorted(BOARDS)
    for one in found:
        of_board = [game for game in games if game.board == one.board]
        assert told_by(one) == expected(of_board, one.board)
        some = np.array([1, 4, 5])
        assert told_by(one.of(some)) == expected([of_board[at] for at in some], one.board)
        assert len(one.of(some).values) == sum(len(of_board[at].searches) for at in some)
        assert told_by(one) == expected(of_board, one.board)  # untouched


def test_what_cannot_be_read(files: list[Path], tmp_path: Path):
    (tmp_path / "none.jsonl").write_text("")
    with pytest.raises(DataError, match="there is no game in"):
        trigo_sets.read_sets([tmp_path / "none.jsonl"], 0)
    with files[1].open("a") as file:
        file.write("{}\n")
    message = f"{files[1]}, line 8 is no recorded game: it lacks 'board'"
    for workers in (0, 1):
        with pytest.raises(DataError, match=re.escape(message)):
            trigo_sets.read_sets(files, workers)
