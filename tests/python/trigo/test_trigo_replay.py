"""trigo_replay.py against the plain rules."""

from __future__ import annotations

import random

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")

import rules  # noqa: E402
import trigo_replay  # noqa: E402
import trigo_text  # noqa: E402
from random_games import random_game  # noqa: E402

SEED = 21
KINDS = {
    rules.EMPTY: trigo_replay.EMPTY,
    rules.BLACK: trigo_replay.BLACK,
    rules.WHITE: trigo_replay.WHITE,
}


def kinds(picture: str) -> list[int]:
    return [KINDS[character] for character in picture]


def in_atari(board: trigo_text.Board, stones: list[int]) -> list[int]:
    """Stones whose group, found by walking, has one liberty."""
    around = trigo_replay.neighbours(board)
    found = []
    for start, stone in enumerate(stones):
        group, waiting, liberties = {start}, [start], set()
        while stone != trigo_replay.EMPTY and waiting:
            for place in around[waiting.pop()]:
                if stones[place] == trigo_replay.EMPTY:
                    liberties.add(place)
                elif stones[place] == stone and place not in group:
                    group.add(place)
                    waiting.append(place)
        found.append(stone if len(liberties) == 1 else trigo_replay.EMPTY)
    return found


@pytest.mark.parametrize("board", [(5, 5, 1), (3, 3, 3), (4, 2, 1), (2, 1, 1)], ids=str)
def test_games_of_different_lengths_side_by_side(board: trigo_text.Board):
    choice = random.Random(SEED)
    games = [random_game(choice, board, choice.randint(0, 60)) for _ in range(30)]
    names = [*trigo_text.point_names(board), trigo_text.PASS]
    most = max(len(game.moves) for game in games)
    moves = torch.full((len(games), most), trigo_replay.NO_MOVE)
    for row, game in zip(moves, games, strict=True):
        row[: len(game.moves)] = torch.tensor([names.index(move) for move in game.moves])
    found = trigo_replay.replay(board, moves).tolist()
    captured = 0
    for game, states in zip(games, found, strict=True):
        again = rules.Game(board)
        for ply in range(most + 1):  # behind its end a game stays as it was
            stones, owners, atari = states[ply]
            assert stones == kinds(again.picture()), (SEED, game.moves, ply)
            assert owners == kinds(game.owners())
            assert atari == in_atari(board, stones)
            if ply < len(game.moves):
                again.play(game.moves[ply])
        captured += sum(map(len, game.captured))
    assert captured > 100 or board == (2, 1, 1)  # the games are not too tame
