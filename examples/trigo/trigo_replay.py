"""What stood on the board after each move of many recorded games at once, and whose it became.

A game's stones follow from its moves alone, but one by one in Python they take longer than learning
from them; side by side each step is a few operations on whole tensors.
"""

from __future__ import annotations

import itertools
from functools import cache

import torch
import trigo_text as text
from torch import Tensor

EMPTY, BLACK, WHITE = 0, 1, 2  # of a point: its stone, its owner (EMPTY: nobody's), or the colour
# of a group in atari there
NO_MOVE = -1  # in `moves`: behind a game's end; a pass is the number of points


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


class Replay:
    """Boards of many games side by side, on one device; points [games, points] int8 of stones."""

    def __init__(self, board: text.Board, device: torch.device) -> None:
        around = neighbours(board)
        self.points = len(around)
        most = max(map(len, around))
        # A point with fewer neighbours has itself as the others: never empty where it is a stone,
        # and of its own group.
        filled = [(*near, *[place] * (most - len(near))) for place, near in enumerate(around)]
        self.around = torch.tensor(filled, device=device).T.contiguous()  # [most, points]
        self.numbers = torch.arange(self.points, device=device, dtype=torch.int8)

    def liberties(self, stones: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest place among each group's liberties [games, points] int8.

        Where a stone's group has none, or there is no stone: `points` and -1.
        """
        near = [stones[:, places] for places in self.around]
        is_stone = stones != EMPTY
        least = torch.full_like(stones, self.points)
        most = torch.full_like(stones, -1)
        for places, there in zip(self.around, near, strict=True):
            free = is_stone & (there == EMPTY)
            number = self.numbers[places]
            least = torch.where(free, torch.minimum(least, number), least)
            most = torch.where(free, torch.maximum(most, number), most)
        same = [is_stone & (there == stones) for there in near]
        return self._spread(least, same, torch.minimum), self._spread(most, same, torch.maximum)

    def _spread(self, values: Tensor, joined: list[Tensor], of_both) -> Tensor:
        """Through each group, until nothing changes."""
        while True:
            wider = values
            for _ in range(3):  # between two looks at whether it goes on
                for places, same in zip(self.around, joined, strict=True):
                    wider = torch.where(same, of_both(wider, wider[:, places]), wider)
            if torch.equal(wider, values):
                return values
            values = wider

    def play(self, stones: Tensor, moves: Tensor, colour: int) -> Tensor:
        """Stones behind a legal move of each game [games]; a pass and NO_MOVE change nothing."""
        played = (moves >= 0) & (moves < self.points)
        here = (self.numbers[None] == moves[:, None]) & played[:, None]
        stones = torch.where(here, colour, stones)
        least, _ = self.liberties(stones)
        taken = (stones == BLACK + WHITE - colour) & (least == self.points) & played[:, None]
        return torch.where(taken, EMPTY, stones)

    def atari(self, stones: Tensor) -> Tensor:
        """Stones of groups with one liberty, int8 [games, points]; EMPTY elsewhere."""
        least, most = self.liberties(stones)
        return torch.where(least == most, stones, EMPTY)

    def owners(self, stones: Tensor) -> Tensor:
        """Whose each point is: stones', and empty regions' that touch one colour only."""
        near = [stones[:, places] for places in self.around]
        empty = stones == EMPTY
        joined = [empty & (there == EMPTY) for there in near]
        touches = []
        for colour in (BLACK, WHITE):
            touched = torch.zeros_like(stones)
            for there in near:
                touched |= (empty & (there == colour)).to(torch.int8)
            touches.append(self._spread(touched, joined, torch.maximum) > 0)
        black, white = touches
        found = torch.where(black & ~white, BLACK, stones)
        return torch.where(white & ~black, WHITE, found)


def replay(board: text.Board, moves: Tensor) -> Tensor:
    """int8 [games, moves + 1, 3, points]: before the first move and after each, the stones, whose
    points they became at the game's end, and which stones were in atari.

    `moves` [games, moves]: places of points, their number for a pass, NO_MOVE behind the end.
    """
    of = Replay(board, moves.device)
    moves = moves.to(torch.int8)
    stones = torch.zeros(len(moves), of.points, dtype=torch.int8, device=moves.device)
    after = [stones]
    for ply in range(moves.shape[1]):
        stones = of.play(stones, moves[:, ply], WHITE if ply % 2 else BLACK)
        after.append(stones)
    found = torch.stack(after, 1)
    owners = of.owners(stones)[:, None].expand_as(found)
    atari = of.atari(found.flatten(0, 1)).view_as(found)
    return torch.stack([found, owners, atari], 2)
