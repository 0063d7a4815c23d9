"""Batches of laid-out games, and the losses of a network on one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trigo_text as text
from torch import Tensor
from torch.nn import functional
from trigo_games import LaidOut, RecordedGame, lay_out
from trigo_network import TrigoNetwork


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # int64 [games, size]
    positions: Tensor  # int64 [games, size]
    seen: Tensor  # bool [games, 1, size, size]
    policy: tuple[Tensor, Tensor, Tensor]  # rows of games · size, tokens, shares
    value: tuple[Tensor, Tensor]  # rows, targets
    searches: int  # positions with a policy


def together(games: Sequence[LaidOut], device: torch.device) -> Batch:
    """The games side by side, shorter ones filled up with tokens that none of theirs sees."""
    size = max(len(game.tokens) for game in games)

    def filled(arrays: list[np.ndarray]) -> Tensor:
        found = [
            np.pad(array, [(0, size - len(array)), *[(0, 0)] * (array.ndim - 1)])
            for array in arrays
        ]
        return torch.from_numpy(np.stack(found)).to(device)

    own = torch.arange(size, device=device)
    limits = filled([game.limits for game in games])
    ancestors = filled([game.ancestors for game in games])
    text_sizes = torch.tensor([game.text_size for game in games], device=device)
    of_text = own[None] < text_sizes[:, None]  # [games, size]
    seen = of_text[:, None, :] & (own[None, None, :] <= limits[:, :, None])
    for depth in range(ancestors.shape[2]):
        seen |= own[None, None, :] == ancestors[:, :, depth, None]
    seen |= torch.eye(size, dtype=torch.bool, device=device)[None]

    offsets = [size * i for i in range(len(games))]

    def joined(arrays: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(arrays)).to(device)

    starts = list(zip(games, offsets, strict=True))
    return Batch(
        filled([game.tokens for game in games]),
        filled([game.positions for game in games]),
        seen[:, None],
        (
            joined([game.policy[0] + offset for game, offset in starts]),
            joined([game.policy[1] for game in games]),
            joined([game.policy[2] for game in games]),
        ),
        (
            joined([game.value[0] + offset for game, offset in starts]),
            joined([game.value[1] for game in games]),
        ),
        searches=sum(game.searches for game in games),
    )


@dataclass(frozen=True)
class Losses:
    """Means over positions: of the policy's cross-entropy in nats, of the value's squared error."""

    policy: Tensor
    value: Tensor


def losses(network: TrigoNetwork, batch: Batch) -> Losses:
    states = network.model(batch.tokens, batch.positions, batch.seen).flatten(0, 1)
    rows, tokens, shares = batch.policy
    asked, place = torch.unique(rows, return_inverse=True)
    log_probabilities = functional.log_softmax(network.model.logits(states[asked]).float(), -1)
    entropy = -(shares * log_probabilities[place, tokens]).sum() / max(batch.searches, 1)
    rows, targets = batch.value
    found = network.value_head(states[rows]).float()
    return Losses(entropy, functional.mse_loss(found, targets))


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
            counts = [len(text.symmetries(game.board)) for game in games]
            self.images = [int(choice.integers(count)) for count in counts]
        self.parts = [order[at : at + size] for at in range(0, len(order), size)]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, part: int) -> list[LaidOut]:
        """As a data set of torch's, so that workers can lay out batches ahead."""
        if not 0 <= part < len(self.parts):
            raise IndexError(part)
        return [self._laid_out(int(at)) for at in self.parts[part]]

    def _laid_out(self, at: int) -> LaidOut:
        game = self.games[at]
        image = text.symmetries(game.board)[self.images[at]]
        return lay_out(game, image, self.outcome_share)


def batches(epoch: Epoch, device: torch.device, workers: int, first: int = 0) -> Iterator[Batch]:
    """From batch `first` on, laid out by that many processes beside this one."""
    parts = range(first, len(epoch))
    if workers == 0:
        for part in parts:
            yield together(epoch[part], device)
        return
    loader = torch.utils.data.DataLoader(
        epoch, batch_size=None, sampler=parts, num_workers=workers, prefetch_factor=4
    )
    for games in loader:
        yield together(games, device)
