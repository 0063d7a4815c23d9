"""The C++ rules (trigo_rules) against the plain ones: every position of random games."""

from __future__ import annotations

import json
import os
import random
import subprocess
from pathlib import Path

import pytest
import random_games
from rules import PASS, Game, read
from test_rules import COUNTS

ROOT = Path(__file__).parents[3]
PROGRAM = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_rules"
SEED = int(os.environ.get("TRIGO_SEED", "20251127"))

pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason=f"{PROGRAM} is not built")


def answers(games: list[dict]) -> list[dict]:
    """What the program says of each."""
    lines = "".join(json.dumps(game) + "\n" for game in games)
    result = subprocess.run(
        [PROGRAM], input=lines, capture_output=True, text=True, check=True, timeout=300
    )
    return [json.loads(line) for line in result.stdout.splitlines()]


def asked(game: Game) -> dict:
    return {"board": list(game.board), "moves": game.moves}


def positions(game: Game) -> tuple[list[list[str]], list[str], list[bool]]:
    """Legal moves, stones and ends before each move and after the last, by the plain rules."""
    again = Game(game.board)
    found = ([again.legal()], [again.picture()], [again.ended()])
    for move in game.moves:
        again.play(move)
        for each, value in zip(found, (again.legal(), again.picture(), again.ended()), strict=True):
            each.append(value)
    return found


@pytest.mark.parametrize(
    "games", [25, pytest.param(1000, marks=pytest.mark.full)], ids="{} games".format
)
def test_random_games(games: int):
    print(f"seed {SEED} (TRIGO_SEED)")
    choice = random.Random(SEED)
    played = [random_games.random_game(choice) for _ in range(games)]
    assert len({game.board for game in played}) > games // 10
    for game, answer in zip(played, answers([asked(game) for game in played]), strict=True):
        legal, stones, ended = positions(game)
        where = (SEED, game.board, game.moves)
        assert answer["legal"] == legal, where
        assert answer["stones"] == stones, where
        assert answer["ended"] == ended, where
        assert answer["score"] == game.score(), where
        assert answer["tgn"] == game.text(finished=game.ended()), where
        again, score = read(answer["tgn"])
        assert (again.board, again.moves) == (game.board, game.moves), where
        assert score == (game.score() if game.ended() else None), where


ILLEGAL = [
    ((5, 5, 1), "aa aa"),  # a stone is there
    ((4, 3, 1), "a0 z0 0a ya 0z yz y0 00 y0"),  # ko
    ((2, 1, 1), "0 z 0 0"),
    ((5, 5, 1), "aa ab ba - bb - - - aa"),  # after the end
    ((5, 5, 1), "aaa"),
    ((5, 5, 1), "a"),
    ((5, 5, 1), "ac"),
    ((5, 5, 5), "aa"),
    ((5, 5, 1), "pass"),
    ((5, 5, 1), ""),
]


@pytest.mark.parametrize(("board", "moves"), ILLEGAL, ids=str)
def test_illegal_moves_are_errors(board: tuple[int, int, int], moves: str):
    """Each error is that of its line; the next game is answered all the same."""
    names = [PASS if move == "-" else move for move in moves.split()] or [""]
    good = asked(random_games.random_game(random.Random(1), most=8))
    wrong, right = answers([{"board": list(board), "moves": names}, good])
    assert set(wrong) == {"error"}
    assert wrong["error"]
    assert "error" not in right


@pytest.mark.parametrize("board", COUNTS, ids=str)
def test_numbers_of_sequences(board: tuple[int, int, int]):
    depth = len(COUNTS[board]) - 1
    shape = "x".join(map(str, board))
    arguments = [PROGRAM, "perft", "--board", shape, "--depth", str(depth)]
    result = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == {"board": list(board), "sequences": COUNTS[board][1:]}


@pytest.mark.parametrize("finished", [True, False])
def test_texts_of_the_plain_rules_are_read(tmp_path: Path, finished: bool):
    print(f"seed {SEED} (TRIGO_SEED)")
    choice = random.Random(SEED)
    for _ in range(20):
        game = random_games.random_game(choice)
        (tmp_path / "game.tgn").write_text(game.text(finished=finished))
        arguments = [PROGRAM, "tgn", tmp_path / "game.tgn"]
        result = subprocess.run(arguments, capture_output=True, text=True, check=True)
        assert json.loads(result.stdout) == answers([asked(game)])[0]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[Board 5x5]\n\n1. aa aa\n",
        "[Board 5x5]\n\n2. aa\n",
        "[Board 5x5]\n\n1. aa\n; +25\n",  # Black's
        "[Board 0x5]\n\n",
        "[Board 5x5x1x1]\n\n",
        "[Board 5x5]\n\n1. ac\n",
    ],
    ids=repr,
)
def test_texts_that_are_no_game_are_refused(tmp_path: Path, text: str):
    (tmp_path / "game.tgn").write_text(text)
    arguments = [PROGRAM, "tgn", tmp_path / "game.tgn"]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ")
    assert result.stdout == ""
