"""trigo_stones.py against the plain rules, and what the network is taught of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import rules
import trigo_stones
import trigo_text
from random_games import random_game
from trigo_games import RecordedGame, Search, lay_out

SEED = 21
KINDS = {
    rules.EMPTY: trigo_stones.EMPTY,
    rules.BLACK: trigo_stones.BLACK,
    rules.WHITE: trigo_stones.WHITE,
}


def kinds(picture: str) -> list[int]:
    return [KINDS[character] for character in picture]


def test_stones_and_owners_of_random_games():
    choice = random.Random(SEED)
    captured = 0
    for _ in range(40):
        game = random_game(choice)
        again = rules.Game(game.board)
        pictures = [again.picture()]
        for move in game.moves:
            again.play(move)
            pictures.append(again.picture())
        stones = trigo_stones.replay(game.board, game.moves)
        assert stones.tolist() == [kinds(picture) for picture in pictures], (SEED, game.moves)
        owners = trigo_stones.owners(game.board, stones[-1])
        assert owners.tolist() == kinds(game.owners())
        captured += sum(map(len, game.captured))
    assert captured > 100  # the games are not too tame


@pytest.mark.parametrize("board", [(5, 5, 1), (3, 3, 3), (4, 2, 1)], ids=str)
def test_points_are_taught_where_a_symmetry_has_them(board: trigo_text.Board):
    """As if the renamed game itself were replayed; at the rows of values and of moves."""
    game = random_game(random.Random(SEED), board, 40)
    searches = (Search(3, (game.moves[3],), (1,), 0.0),)
    recorded = RecordedGame(board, tuple(game.moves), game.score(), searches)
    for image in trigo_text.symmetries(board):
        laid_out = lay_out(recorded, image, 1.0)
        renamed = RecordedGame(board, tuple(image[move] for move in game.moves), 0, ())
        rows, found = laid_out.points
        plies = sorted([*range(len(game.moves)), 3])
        np.testing.assert_array_equal(found, renamed.points[plies])
        assert set(rows) == {*laid_out.value[0], *laid_out.policy[0][:1]}
