"""Recorded games, read from lines of files of trigo_selfplay --data."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trigo_text as text


@dataclass(frozen=True)
class Search:
    """What a search found at `ply`: how often it tried each legal move, and its value for White."""

    ply: int
    moves: tuple[str, ...]
    visits: tuple[int, ...]
    value: float


@dataclass(frozen=True)
class RecordedGame:
    board: text.Board
    moves: tuple[str, ...]
    score: int  # White − Black
    searches: tuple[Search, ...]

    @property
    def outcome(self) -> float:
        """The end's value for White: sign(d) · (1 + ln |d|) / (1 + ln points), 0 for a tie.

        The game's own value of an end is sign(d) · (1 + ln |d|), at most 1 + ln points; divided by
        that it is within ±1, which a network's tanh can say and a search can average with it.
        """
        if self.score == 0:
            return 0.0
        largest = 1 + math.log(math.prod(self.board))
        value = math.copysign(1 + math.log(abs(self.score)), self.score) / largest
        return max(-1.0, min(1.0, value))


class DataError(Exception):
    """A line that is no recorded game; the message names the file and line."""


def lines_of(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


def read_games(paths: Iterable[Path]) -> list[RecordedGame]:
    """All games of the files, which hold a JSON object a line."""
    return [game for path in paths for game in read_lines(str(path), 0, lines_of(path))]


def read_lines(name: str, first: int, lines: Sequence[str]) -> list[RecordedGame]:
    """The games of lines of a file, a JSON object each; `first` lines of it are before them."""
    found = []
    for at, line in enumerate(lines, start=first + 1):
        try:
            found.append(_game(json.loads(line)))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise DataError(f"{name}, line {at} is no recorded game: {reason}") from error
    return found


def _game(line: Mapping[str, Any]) -> RecordedGame:
    x, y, z = (int(size) for size in line["board"])
    if min(x, y, z) < 1:
        raise ValueError(f"the board is {line['board']}, each axis must have a point")
    board, moves = (x, y, z), tuple(line["moves"])
    known = {*text.point_names(board), text.PASS}
    searches = tuple(_search(search, len(moves), known) for search in line["searches"])
    if len({search.ply for search in searches}) != len(searches):
        raise ValueError("two searches are of the same ply")
    if unknown := [move for move in moves if move not in known]:
        raise ValueError(f"{unknown[0]!r} is no move on a board of {list(board)}")
    return RecordedGame(board, moves, int(line["score"]), searches)


def _search(search: Mapping[str, Any], plies: int, known: set[str]) -> Search:
    ply, moves, visits = int(search["ply"]), tuple(search["moves"]), tuple(search["visits"])
    value = float(search["value"])
    if not 0 <= ply <= plies:
        raise ValueError(f"a search at ply {ply} of {plies}")
    if len(moves) != len(visits) or not set(moves) <= known or len(set(moves)) != len(moves):
        raise ValueError(f"the moves and visits of ply {ply} do not belong together")
    if min(visits, default=0) < 0 or sum(visits) == 0:
        raise ValueError(f"the visits of ply {ply} must be positive numbers")
    if not -1 <= value <= 1:
        raise ValueError(f"the value of ply {ply} is {value}, must be within -1 and 1")
    return Search(ply, moves, visits, value)
