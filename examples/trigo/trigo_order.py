"""In which order a training sees its games."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NEAR = 32  # batches among which games of like lengths are brought together


class Order:
    """A batch for each step: all games before one comes again, in an order that the seed tells.

    Games of like lengths are in a batch, which fill up little. Only games near each other in a
    random order change places for that, so that batches differ each time.
    """

    def __init__(self, lengths: np.ndarray, size: int, seed: Sequence[int]) -> None:
        self.lengths, self.seed = lengths, list(seed)
        self.size = max(1, min(size, len(lengths)))
        self.steps = max(1, len(lengths) // self.size)  # of each time through all games
        self.now, self.parts = -1, []

    def __getitem__(self, step: int) -> np.ndarray:
        number, part = divmod(step, self.steps)
        if number != self.now:
            self.now, self.parts = number, self._parts(number)
        return self.parts[part]

    def _parts(self, number: int) -> list[np.ndarray]:
        choice = np.random.default_rng([*self.seed, number])
        order = choice.permutation(len(self.lengths))[: self.steps * self.size]
        found = []
        for at in range(0, len(order), self.size * NEAR):
            near = order[at : at + self.size * NEAR]
            near = near[np.argsort(self.lengths[near], kind="stable")]
            found += [near[first : first + self.size] for first in range(0, len(near), self.size)]
        return [found[place] for place in choice.permutation(len(found))]
