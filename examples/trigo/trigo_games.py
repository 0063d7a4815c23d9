"""Recorded games: read from files of trigo_selfplay --data, and laid out for the network.

A game is one sequence: its text, and behind it, for each position, the nodes of what is asked there
— the characters that moves share, as a tree, and the token VALUE. A node sees the text up to its
position and its own ancestors, and stands where it would stand if the text went on with it. So one
run of a game computes exactly what the search asks of the model at each of its positions.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import trigo_stones
import trigo_text as text

MOST_ANCESTORS = 3  # of a node: "Pas" before the last s of Pass


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

    @cached_property
    def points(self) -> np.ndarray:
        """int8 [moves + 1, 2 · points]: the stones after each move, and whose points they became.

        What a move takes and what it keeps is hard to see in a text. A network that is taught this
        beside moves and values learns those from far fewer games.
        """
        stones = trigo_stones.replay(self.board, self.moves)
        owners = trigo_stones.owners(self.board, stones[-1])
        return np.concatenate([stones, np.broadcast_to(owners, stones.shape)], 1)


@dataclass(frozen=True)
class LaidOut:
    """A game as arrays, of `size` tokens; what is asked is at rows of it."""

    tokens: np.ndarray  # int64 [size]
    positions: np.ndarray  # int64 [size]
    limits: np.ndarray  # int64 [size]: the last token of the text that each one sees
    ancestors: np.ndarray  # int64 [size, MOST_ANCESTORS]: others that it sees, or itself
    text_size: int  # how many tokens are the text
    # For each character of a move that a search tried: its row, itself, and its share of visits.
    policy: tuple[np.ndarray, np.ndarray, np.ndarray]
    # For each position with a value: the row of VALUE, and the target.
    value: tuple[np.ndarray, np.ndarray]
    # The rows of VALUE, and those where moves begin: int8 [rows, 2 · points], RecordedGame.points.
    points: tuple[np.ndarray, np.ndarray]
    searches: int  # positions with a policy


class DataError(Exception):
    """A line that is no recorded game; the message names the file and line."""


def read_games(paths: Iterable[Path]) -> list[RecordedGame]:
    """All games of the files, which hold a JSON object a line."""
    found = []
    for path in paths:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path}: {error}") from error
        for at, line in enumerate(lines, start=1):
            try:
                found.append(_game(json.loads(line)))
            except (KeyError, TypeError, ValueError) as error:
                reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
                raise DataError(f"{path}, line {at} is no recorded game: {reason}") from error
    if not found:
        raise DataError(f"there is no game in {', '.join(map(str, paths))}")
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


class _Builder:
    """Appends nodes behind a text."""

    def __init__(self, tokens: Sequence[int]) -> None:
        self.tokens = list(tokens)
        self.positions = list(range(len(tokens)))
        self.limits = list(range(len(tokens)))
        self.ancestors: list[list[int]] = [[] for _ in tokens]

    def add(self, token: int, parent: int, text_size: int) -> int:
        """The row of a node; its parent is a token of the text or another node."""
        row = len(self.tokens)
        of_text = parent < text_size
        self.tokens.append(token)
        self.positions.append(self.positions[parent] + 1)
        self.limits.append(parent if of_text else self.limits[parent])
        self.ancestors.append([] if of_text else [*self.ancestors[parent], parent])
        return row


def lay_out(game: RecordedGame, image: Mapping[str, str], outcome_share: float) -> LaidOut:
    """The game, its moves renamed by `image`.

    A position's value target is `outcome_share` of the game's outcome and the rest of what the
    search there found; the outcome alone where there was none.
    """
    parts = [text.header(game.board)]
    ends = []  # of the text before each move, and behind its number
    size = 1 + len(parts[0])
    for ply, move in enumerate(game.moves):
        ends.append((size, size + len(text.number(ply))))
        parts.append(text.number(ply) + image[move] + text.separator(ply))
        size += len(parts[-1])
    ends.append((size, size + len(text.number(len(game.moves)))))
    searches = {search.ply: search for search in game.searches}
    if len(game.moves) in searches:  # of the last position, whose number is asked for then
        parts.append(text.number(len(game.moves)))
    built = _Builder([text.START, *text.tokens("".join(parts))])
    text_size = len(built.tokens)

    policy: list[tuple[int, int, float]] = []
    values: list[tuple[int, float]] = []
    seen_at: list[tuple[int, int]] = []  # rows, and moves before them
    for ply, (end, numbered) in enumerate(ends):
        search = searches.get(ply)
        if search is None and ply == len(game.moves):
            continue
        target = game.outcome
        if search is not None:
            target = outcome_share * target + (1 - outcome_share) * search.value
            policy += _policy(built, search, image, numbered - 1, text_size)
            seen_at.append((numbered - 1, ply))
        values.append((built.add(text.VALUE, end - 1, text_size), target))
        seen_at.append((values[-1][0], ply))

    ancestors = np.arange(len(built.tokens))[:, None].repeat(MOST_ANCESTORS, 1)
    for row, others in enumerate(built.ancestors):
        ancestors[row, : len(others)] = others
    columns = [np.array(column) for column in zip(*policy, strict=True)] if policy else []
    rows, chosen, shares = columns or (np.empty(0, int), np.empty(0, int), np.empty(0))
    return LaidOut(
        np.array(built.tokens),
        np.array(built.positions),
        np.array(built.limits),
        ancestors,
        text_size,
        (rows, chosen, shares.astype(np.float32)),
        (
            np.array([row for row, _ in values], int),
            np.array([target for _, target in values], np.float32),
        ),
        (
            np.array([row for row, _ in seen_at], int),
            _renamed(game, image)[np.array([ply for _, ply in seen_at], int)],
        ),
        searches=len(game.searches),
    )


def _renamed(game: RecordedGame, image: Mapping[str, str]) -> np.ndarray:
    """The game's points, where `image` has them."""
    names = text.point_names(game.board)
    places = {name: place for place, name in enumerate(names)}
    moved = np.array([places[image[name]] for name in names])
    found = np.empty_like(game.points)
    found[:, np.concatenate([moved, moved + len(names)])] = game.points
    return found


def _policy(
    built: _Builder, search: Search, image: Mapping[str, str], root: int, text_size: int
) -> Iterator[tuple[int, int, float]]:
    """Each character of the tree of moves: its row, itself, and its share of the visits.

    The cross-entropy of the visits with the product of a move's characters is the sum of those of
    the characters, each weighted by the visits of the moves that go through it.
    """
    total = sum(search.visits)
    shares: dict[tuple[int, int], float] = {}  # by the row before a character, and the character
    rows: dict[str, int] = {"": root}
    for move, visits in zip(search.moves, search.visits, strict=True):
        name = image[move]
        for depth, token in enumerate(text.tokens(name)):
            before = name[:depth]
            if visits == 0:
                continue
            if before not in rows:
                rows[before] = built.add(ord(before[-1]), rows[before[:-1]], text_size)
            step = (rows[before], token)
            shares[step] = shares.get(step, 0.0) + visits / total
    for (row, token), share in shares.items():
        yield row, token, share
