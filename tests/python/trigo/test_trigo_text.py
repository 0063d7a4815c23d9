"""The text that training reads, against the plain rules; symmetries are those of the game."""

from __future__ import annotations

import random

import pytest
import random_games
import rules
import trigo_text

SEED = 7
BOARDS = [(5, 5, 1), (3, 3, 3), (2, 3, 1), (4, 4, 2), (1, 1, 1), (1, 3, 1), (6, 1, 1), (1, 1, 2)]


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_names_and_texts(board: rules.Board):
    choice = random.Random(SEED)
    names = [rules.name(point, board) for point in rules.points(board)]
    assert list(trigo_text.point_names(board)) == names
    game = random_games.random_game(choice, board, most=25)
    for plies in range(len(game.moves) + 1):
        again = rules.Game(board)
        for move in game.moves[:plies]:
            again.play(move)
        assert trigo_text.game_text(board, game.moves[:plies]) == again.text(finished=False)


def test_tokens_are_bytes():
    assert trigo_text.tokens("[Board 5x5]\n\n1. ") == [
        *(91, 66, 111, 97, 114, 100, 32, 53, 120, 53, 93, 10, 10, 49, 46, 32)
    ]


@pytest.mark.parametrize(
    ("board", "count"),
    [((5, 5, 1), 8), ((3, 3, 3), 48), ((2, 3, 1), 4), ((4, 4, 2), 16), ((1, 1, 1), 1)],
    ids=str,
)
def test_as_many_symmetries_as_the_box_has(board: rules.Board, count: int):
    found = trigo_text.symmetries(board)
    assert len(found) == count
    assert len({tuple(image.items()) for image in found}) == count
    assert found[0] == {name: name for name in (*trigo_text.point_names(board), "Pass")}
    for image in found:
        assert sorted(image.values()) == sorted(image)
        assert image["Pass"] == "Pass"


@pytest.mark.parametrize("board", BOARDS, ids=str)
def test_an_image_of_a_game_is_a_game(board: rules.Board):
    """Of the same score, with the images of the legal moves and of the stones."""
    choice = random.Random(SEED)
    for image in trigo_text.symmetries(board):
        game = random_games.random_game(choice, board, most=12)
        there, here = rules.Game(board), rules.Game(board)
        for move in game.moves:
            here.play(move)
            there.play(image[move])
        assert sorted(image[move] for move in here.legal()) == sorted(there.legal())
        assert there.score() == here.score()
        for name, point in here.by_name.items():
            assert there.stones.get(there.by_name[image[name]]) == here.stones.get(point)
