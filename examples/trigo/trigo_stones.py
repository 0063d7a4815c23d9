"""What stood on the board after each move of a recorded game, and whose points were at its end."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

import numpy as np
import trigo_text as text

EMPTY, BLACK, WHITE = 0, 1, 2  # of a point: its stone, or its owner (EMPTY: nobody's)


@cache
def neighbours(board: text.Board) -> tuple[tuple[int, ...], ...]:
    """Of each point, in the order of point_names, the places that differ by 1 on one axis."""
    strides = (board[1] * board[2], board[2], 1)
    found = []
    for point in itertools.product(*map(range, board)):
        place = sum(at * stride for at, stride in zip(point, strides, strict=True))
        found.append(
            tuple(
                place + step * strides[axis]
                for axis in range(3)
                for step in (-1, 1)
                if 0 <= point[axis] + step < board[axis]
            )
        )
    return tuple(found)


def _region(start: int, stones: Sequence[int], board: text.Board) -> tuple[set[int], set[int]]:
    """The points joined with `start` that are as it is, and what the ones around them are."""
    around_of, inside, touched, waiting = neighbours(board), {start}, set(), [start]
    while waiting:
        for place in around_of[waiting.pop()]:
            if stones[place] != stones[start]:
                touched.add(stones[place])
            elif place not in inside:
                inside.add(place)
                waiting.append(place)
    return inside, touched


def replay(board: text.Board, moves: Sequence[str]) -> np.ndarray:
    """Stones int8 [moves + 1, points]: before the first move, and after each, which are legal."""
    places = {name: place for place, name in enumerate(text.point_names(board))}
    stones = [EMPTY] * len(places)
    found = [list(stones)]
    for ply, move in enumerate(moves):
        if move != text.PASS:
            own, other = (WHITE, BLACK) if ply % 2 else (BLACK, WHITE)
            stones[places[move]] = own
            for place in neighbours(board)[places[move]]:
                if stones[place] == other:
                    group, touched = _region(place, stones, board)
                    for captured in () if EMPTY in touched else group:
                        stones[captured] = EMPTY
        found.append(list(stones))
    return np.array(found, np.int8)


def owners(board: text.Board, stones: Sequence[int]) -> np.ndarray:
    """Whose each point is, int8 [points]: stones', and empty regions' that touch one colour."""
    found = [int(stone) for stone in stones]
    for start in (place for place, stone in enumerate(stones) if stone == EMPTY):
        touched = _region(start, stones, board)[1]
        if len(touched) == 1:
            found[start] = int(next(iter(touched)))
    return np.array(found, np.int8)
