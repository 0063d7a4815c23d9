"""Random games by the plain rules, on boxes of many shapes."""

from __future__ import annotations

import random

from rules import PASS, Board, Game

MOST_POINTS = 64


def random_board(choice: random.Random) -> Board:
    """Of up to MOST_POINTS points, lines and flat boards among them."""
    while True:
        board = (choice.randint(1, 6), choice.randint(1, 6), choice.choice([1, 1, 2, 3, 4]))
        if board[0] * board[1] * board[2] <= MOST_POINTS:
            return board


def random_game(choice: random.Random, board: Board | None = None, most: int = 120) -> Game:
    """Played to its end or to `most` moves; passes are rare where there is anything else to do."""
    game = Game(board or random_board(choice))
    while not game.ended() and len(game.moves) < most:
        legal = game.legal()
        stones = [move for move in legal if move != PASS]
        passes = not stones or choice.random() < 0.03
        game.play(PASS if passes else choice.choice(stones))
    return game
