"""Trigo's text and tokens, and what a board's symmetries do to names of moves."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cache

Board = tuple[int, int, int]

START, VALUE = 1, 3  # tokens; of others, a character's is its byte
VOCABULARY = 128
PASS = "Pass"


def _coordinate(index: int, size: int) -> str:
    """The middle one is 0; a, b, … lead up to it, and z, y, … lead back to it from the end."""
    middle = (size - 1) // 2
    if index == middle:
        return "0"
    return chr(ord("a") + index) if index < middle else chr(ord("z") - (size - 1 - index))


@cache
def point_names(board: Board) -> tuple[str, ...]:
    """The names of all points, z fastest; axes of one point at the end are left out."""
    axes = max((axis + 1 for axis in range(3) if board[axis] > 1), default=1)
    return tuple(
        "".join(_coordinate(point[axis], board[axis]) for axis in range(axes))
        for point in itertools.product(*map(range, board))
    )


def header(board: Board) -> str:
    return f"[Board {'x'.join(map(str, board if board[2] > 1 else board[:2]))}]\n\n"


def number(ply: int) -> str:
    """What stands before the move at `ply`: nothing before White's."""
    return "" if ply % 2 else f"{ply // 2 + 1}. "


def separator(ply: int) -> str:
    """What stands behind it."""
    return "\n" if ply % 2 else " "


def game_text(board: Board, moves: Sequence[str]) -> str:
    parts = (number(ply) + move + separator(ply) for ply, move in enumerate(moves))
    return header(board) + "".join(parts)


def tokens(text: str) -> list[int]:
    return list(text.encode("ascii"))


@cache
def symmetries(board: Board) -> tuple[dict[str, str], ...]:
    """What each symmetry of the box makes of every move: 8 of a square, 48 of a cube."""
    names = point_names(board)
    index = {point: place for place, point in enumerate(itertools.product(*map(range, board)))}
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for order in itertools.permutations(range(3)):
        if any(board[order[axis]] != board[axis] for axis in range(3)):
            continue
        for turned in itertools.product((False, True), repeat=3):
            images = tuple(names[index[_image(point, board, order, turned)]] for point in index)
            found.setdefault(images, {**dict(zip(names, images, strict=True)), PASS: PASS})
    return tuple(found.values())


def _image(
    point: tuple[int, ...], board: Board, order: Sequence[int], turned: Sequence[bool]
) -> tuple[int, ...]:
    moved = [point[axis] for axis in order]
    return tuple(
        board[axis] - 1 - moved[axis] if turned[axis] else moved[axis] for axis in range(3)
    )
