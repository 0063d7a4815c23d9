"""The plain rules themselves, by positions whose answers are known."""

from __future__ import annotations

import random

import pytest
import random_games
from rules import PASS, Game, character, count, name, points, read

SEED = 20251127


def played(board: tuple[int, int, int], moves: str) -> Game:
    game = Game(board)
    for move in moves.split():
        game.play(PASS if move == "-" else move)
    return game


@pytest.mark.parametrize(
    ("size", "characters"),
    [(1, "0"), (2, "0z"), (3, "a0z"), (4, "a0yz"), (5, "ab0yz"), (9, "abcd0wxyz")],
)
def test_characters_of_an_axis(size: int, characters: str):
    assert "".join(character(index, size) for index in range(size)) == characters


def test_names_leave_out_axes_of_one_point_at_the_end():
    assert [name((1, 3, 0), (5, 5, 1)), name((2, 0, 4), (5, 5, 5))] == ["by", "0az"]
    assert [name((0, 0, 0), (1, 1, 1)), name((0, 2, 0), (1, 3, 1))] == ["0", "0z"]
    assert [name((0, 0, 1), (1, 1, 2)), name((4, 0, 0), (5, 1, 1))] == ["00z", "z"]


def test_order_of_legal_moves():
    assert Game((2, 2, 2)).legal() == [
        *("000", "00z", "0z0", "0zz", "z00", "z0z", "zz0", "zzz", "Pass")
    ]
    assert len(points((5, 4, 3))) == 60
    assert [len(set(Game((5, 5, 5)).neighbours(p))) for p in [(2, 2, 2), (0, 0, 0)]] == [6, 3]


def test_a_stone_in_the_corner_is_captured():
    game = played((5, 5, 1), "ab aa ba")
    assert game.picture() == ".X..." + "X" + "." * 19
    assert game.captured[-1] == {(0, 0, 0)}
    assert "aa" not in game.legal()  # White's suicide


def test_in_a_box_a_stone_has_six_liberties():
    game = played((3, 3, 3), "a00 000 z00 - 0a0 - 0z0 - 00a -")
    assert game.stones[(1, 1, 1)] == "O"
    game.play("00z")
    assert (1, 1, 1) not in game.stones
    assert not game.is_legal("000")


def test_a_capture_is_no_suicide():
    """A stone on 00 has no empty neighbour, but it takes White's z0, which gives it one."""
    game = played((4, 3, 1), "a0 z0 0a ya 0z yz y0")
    assert game.picture() == ".X." + "X.X" + "OXO" + ".O."
    assert all(point in game.stones for point in game.neighbours((1, 1, 0)))
    assert game.colour() == "O"
    assert game.is_legal("00")
    game.play("00")
    assert game.captured[-1] == {(2, 1, 0)}
    assert game.picture() == ".X." + "XOX" + "O.O" + ".O."


# Black's stone on y0 is taken by White's on 00, which Black's on y0 would take again.
KO = "a0 z0 0a ya 0z yz y0 00"


def test_ko_a_single_stone_may_not_be_taken_back_at_once():
    game = played((4, 3, 1), KO)
    assert game.captured[-1] == {(2, 1, 0)}
    assert game.picture() == ".X." + "XOX" + "O.O" + ".O."
    assert game.legal() == ["aa", "az", "Pass"]  # neither y0 nor, in White's corners, suicide


@pytest.mark.parametrize("between", ["- za", "aa zz"])
def test_ko_is_over_after_a_move_elsewhere(between: str):
    game = played((4, 3, 1), f"{KO} {between}")
    game.play("y0")
    assert game.captured[-1] == {(1, 1, 0)}
    assert not game.is_legal("00")


def test_two_stones_may_be_taken_back():
    """White's y takes the single stone on 0; a stone there takes two: no ko."""
    game = played((5, 1, 1), "0 b y z 0 y")
    assert game.picture() == ".O.OO"
    assert game.captured[-1] == {(2, 0, 0)}
    game.play("0")
    assert game.captured[-1] == {(3, 0, 0), (4, 0, 0)}
    assert game.picture() == ".OX.."


def test_two_passes_end_the_game():
    game = played((3, 3, 1), "00 - aa - -")
    assert game.ended()
    assert game.legal() == []
    assert not played((3, 3, 1), "- 00 -").ended()


@pytest.mark.parametrize(
    ("board", "moves", "owners", "score"),
    [
        ((5, 1, 1), "", ".....", 0),
        ((5, 1, 1), "0", "XXXXX", -5),
        ((5, 1, 1), "b y", "XX.OO", 0),
        ((5, 1, 1), "- b", "OOOOO", 5),
        ((3, 3, 1), "a0 0a 00 za 0z aa", "OXX" + "OXX" + "O..", -1),
        ((2, 2, 2), "000 zzz", "X......O", 0),
    ],
)
def test_scores(board: tuple[int, int, int], moves: str, owners: str, score: int):
    game = played(board, moves)
    assert game.owners() == owners
    assert game.score() == score


def test_text():
    game = played((5, 5, 1), "00 aa - yy")
    assert game.text(finished=False) == "[Board 5x5]\n\n1. 00 aa\n2. Pass yy\n"
    game.play("ab")
    assert game.text(finished=False) == "[Board 5x5]\n\n1. 00 aa\n2. Pass yy\n3. ab "
    assert game.text(finished=True) == "[Board 5x5]\n\n1. 00 aa\n2. Pass yy\n3. ab\n; 0\n"
    assert played((3, 3, 3), "000").text(finished=True) == "[Board 3x3x3]\n\n1. 000\n; -27\n"
    assert played((2, 1, 1), "- 0").text(finished=True) == "[Board 2x1]\n\n1. Pass 0\n; +2\n"


def test_texts_of_random_games_are_read_back():
    choice = random.Random(SEED)
    for _ in range(30):
        game = random_games.random_game(choice)
        again, score = read(game.text(finished=True))
        assert (again.board, again.moves, score) == (game.board, game.moves, game.score())
        again, score = read(game.text(finished=False))
        assert (again.board, again.moves, score) == (game.board, game.moves, None)


# Sequences of legal moves by their length; the C++ tests have the same numbers.
COUNTS = {
    (1, 1, 1): [1, 1, 1, 0],
    (3, 1, 1): [1, 4, 11, 22, 41, 66, 106, 176, 288],
    (2, 2, 1): [1, 5, 21, 68, 156, 316, 604, 1168, 2592],
    (3, 2, 1): [1, 7, 43, 222, 934, 3242, 8666],
    (2, 2, 2): [1, 9, 73, 520, 3256],
    (3, 3, 1): [1, 10, 91, 738, 5281],
}


@pytest.mark.parametrize("board", COUNTS, ids=str)
def test_numbers_of_sequences(board: tuple[int, int, int]):
    """By hand: one point: pass, pass, end. Two by two: 5, and then 4 · 4 + 5."""
    game = Game(board)
    assert [count(game, depth) for depth in range(len(COUNTS[board]))] == COUNTS[board]
    assert game.moves == []
