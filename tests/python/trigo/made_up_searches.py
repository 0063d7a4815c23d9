"""Games with searches that nobody made, as trigo_selfplay --data writes them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from rules import Board, Game


def made_up_game(choice: random.Random, board: Board, most: int = 12) -> dict[str, Any]:
    """Each search has visits in favour of moves early in the list, and a random value."""
    game = Game(board)
    searches = []
    while not game.ended() and len(game.moves) < most:
        legal = game.legal()
        visits = [0] * len(legal)
        for _ in range(20):
            visits[min(int(choice.random() ** 2 * len(legal)), len(legal) - 1)] += 1
        search = {"ply": len(game.moves), "moves": legal, "visits": visits}
        searches.append({**search, "value": round(choice.uniform(-0.5, 0.5), 3)})
        game.play(choice.choices(legal, visits)[0])
    of_game = {"board": list(board), "moves": game.moves, "score": game.score()}
    return {**of_game, "searches": searches, "seed": 1}


def write(path: Path, games: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(game) + "\n" for game in games))
    return path
