"""In which order a training sees its games, and who lays them out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
import trigo_text as text
from trigo_batches import Batch, Packed, pack, unpack
from trigo_games import LaidOut, RecordedGame, lay_out

NEAR = 16  # batches among which games of like lengths are brought together


class Epoch:
    """The games of one epoch in an order and with symmetries that the seed and epoch tell."""

    def __init__(
        self, games: Sequence[RecordedGame], size: int, outcome_share: float, seed: Sequence[int]
    ) -> None:
        """`size` games a batch; without a seed the games stay in order and as they are."""
        self.games = games
        self.outcome_share = outcome_share
        order = np.arange(len(games))
        self.images = [0] * len(games)
        if seed:
            choice = np.random.default_rng(list(seed))
            choice.shuffle(order)
            order = _of_like_lengths(games, order, size, choice)
            counts = [len(text.symmetries(game.board)) for game in games]
            self.images = [int(choice.integers(count)) for count in counts]
        self.parts = [order[at : at + size] for at in range(0, len(order), size)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, part: int) -> Packed:
        """As a data set of torch's, so that workers can lay out batches ahead."""
        if not 0 <= part < len(self.parts):
            raise IndexError(part)
        return pack([self._laid_out(int(at)) for at in self.parts[part]])

    def _laid_out(self, at: int) -> LaidOut:
        game = self.games[at]
        image = text.symmetries(game.board)[self.images[at]]
        return lay_out(game, image, self.outcome_share)


def _size(game: RecordedGame) -> int:
    """About how many tokens it takes laid out: text, and what is asked at each search."""
    axes = len(text.point_names(game.board)[0])
    asked = sum(max(game.board) ** depth for depth in range(axes))
    return len(game.moves) * (axes + 3) + len(game.searches) * asked


def _of_like_lengths(
    games: Sequence[RecordedGame], order: np.ndarray, size: int, choice: np.random.Generator
) -> np.ndarray:
    """`order` with games of like lengths in a batch, which fill up little, and batches shuffled.

    Only games near each other in it change places, so that batches differ from epoch to epoch.
    """
    lengths = np.array([_size(games[at]) for at in order])
    parts = []
    for at in range(0, len(order), size * NEAR):
        near = order[at : at + size * NEAR]
        near = near[np.argsort(lengths[at : at + size * NEAR], kind="stable")]
        parts += [near[first : first + size] for first in range(0, len(near), size)]
    whole = [part for part in parts if len(part) == size]
    rest = [part for part in parts if len(part) < size]
    places = choice.permutation(len(whole))
    return np.concatenate([*(whole[place] for place in places), *rest]) if parts else order


class Epochs:
    """All epochs of a training, one behind the other: an item for each step."""

    def __init__(
        self, games: Sequence[RecordedGame], size: int, outcome_share: float, seed: int, count: int
    ) -> None:
        self.games, self.size = games, size
        self.outcome_share, self.seed = outcome_share, seed
        self.steps_of_each = math.ceil(len(games) / size)
        self.count = count
        self.number, self.now = -1, Epoch([], size, outcome_share, [])

    def __len__(self) -> int:
        return self.count * self.steps_of_each

    def __getitem__(self, step: int) -> Packed:
        if not 0 <= step < len(self):
            raise IndexError(step)
        number, part = divmod(step, self.steps_of_each)
        if number != self.number:
            self.now = Epoch(self.games, self.size, self.outcome_share, [self.seed, number])
            self.number = number
        return self.now[part]


def batches(
    epoch: Epoch | Epochs, device: torch.device, workers: int, first: int = 0
) -> Iterator[Batch]:
    """From batch `first` on, laid out by that many processes beside this one."""
    parts = range(first, len(epoch))
    if workers == 0:
        for part in parts:
            yield unpack(epoch[part], device)
        return
    loader = torch.utils.data.DataLoader(
        epoch, batch_size=None, sampler=parts, num_workers=workers, prefetch_factor=4
    )
    for packed in loader:
        yield unpack(packed, device)
