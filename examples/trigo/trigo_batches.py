"""Batches of laid-out games, and the losses of a network on one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from trigo_games import LaidOut
from trigo_network import TrigoNetwork

FILLED_TO = 8  # sizes are multiples of it, as kernels of attention like them
POINT_KINDS = 3  # empty or nobody's, Black's, White's
NO_POINT = -100  # of a smaller board than the batch's largest: no loss


@dataclass(frozen=True)
class Packed:
    """Games side by side, as a worker hands them over: small elements, and no masks."""

    tokens: np.ndarray  # uint8 [games, size]
    positions: np.ndarray  # int16 [games, size]
    limits: np.ndarray  # int16 [games, size]
    ancestors: np.ndarray  # int16 [games, size, MOST_ANCESTORS]
    text_sizes: np.ndarray  # int16 [games]
    policy: tuple[np.ndarray, ...]  # distinct rows of games · size; index of row, token, share
    value: tuple[np.ndarray, np.ndarray]
    points: tuple[np.ndarray, np.ndarray]
    searches: int


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # int64 [games, size]
    positions: Tensor  # int64 [games, size]
    seen: Tensor  # bool [games, 1, size, size]
    policy: tuple[Tensor, ...]  # distinct rows of games · size; index of row, token, share
    value: tuple[Tensor, Tensor]  # rows, targets
    points: tuple[Tensor, Tensor]  # rows, int64 [rows, 2 · points] with NO_POINT
    searches: int  # positions with a policy


def pack(games: Sequence[LaidOut]) -> Packed:
    """Shorter games are filled up with tokens that none of theirs sees."""
    size = max(len(game.tokens) for game in games)
    size += -size % FILLED_TO

    def filled(name: str, kind: type) -> np.ndarray:
        arrays = [getattr(game, name) for game in games]
        found = np.zeros((len(games), size, *arrays[0].shape[1:]), kind)
        for row, array in zip(found, arrays, strict=True):
            row[: len(array)] = array
        return found

    starts = [(game, size * at) for at, game in enumerate(games)]
    rows = np.concatenate([game.policy[0] + start for game, start in starts])
    distinct, index = np.unique(rows, return_inverse=True)
    most = max(game.points[1].shape[1] for game in games) // 2
    return Packed(
        filled("tokens", np.uint8),
        filled("positions", np.int16),
        filled("limits", np.int16),
        filled("ancestors", np.int16),
        np.array([game.text_size for game in games], np.int16),
        (
            distinct.astype(np.int32),
            index.astype(np.int32),
            np.concatenate([game.policy[1] for game in games]).astype(np.uint8),
            np.concatenate([game.policy[2] for game in games]),
        ),
        (
            np.concatenate([game.value[0] + start for game, start in starts]).astype(np.int32),
            np.concatenate([game.value[1] for game in games]),
        ),
        (
            np.concatenate([game.points[0] + start for game, start in starts]).astype(np.int32),
            np.concatenate([_widened(game.points[1], most) for game in games]),
        ),
        searches=sum(game.searches for game in games),
    )


def _widened(points: np.ndarray, most: int) -> np.ndarray:
    """Both halves of [rows, 2 · points] with NO_POINT up to `most` points."""
    halves = points.reshape(len(points), 2, -1)
    found = np.full((len(points), 2, most), NO_POINT, np.int8)
    found[:, :, : halves.shape[2]] = halves
    return found.reshape(len(points), -1)


def unpack(packed: Packed, device: torch.device) -> Batch:
    """On the device, with masks."""

    def there(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(device)

    def whole(array: np.ndarray) -> Tensor:
        return there(array).long()

    own = torch.arange(packed.tokens.shape[1], device=device)
    limits, ancestors = whole(packed.limits), whole(packed.ancestors)
    of_text = own[None] < whole(packed.text_sizes)[:, None]  # [games, size]
    seen = of_text[:, None, :] & (own[None, None, :] <= limits[:, :, None])
    for depth in range(ancestors.shape[2]):
        seen |= own[None, None, :] == ancestors[:, :, depth, None]
    seen |= torch.eye(len(own), dtype=torch.bool, device=device)[None]
    distinct, index, tokens, shares = packed.policy
    return Batch(
        whole(packed.tokens),
        whole(packed.positions),
        seen[:, None],
        (whole(distinct), whole(index), whole(tokens), there(shares)),
        (whole(packed.value[0]), there(packed.value[1])),
        (whole(packed.points[0]), whole(packed.points[1])),
        packed.searches,
    )


def together(games: Sequence[LaidOut], device: torch.device) -> Batch:
    return unpack(pack(games), device)


@dataclass(frozen=True)
class Losses:
    """Means over positions: cross-entropies in nats, and the value's squared error."""

    policy: Tensor
    value: Tensor
    points: Tensor  # of a point; 0 without a head for points


def losses(network: TrigoNetwork, batch: Batch, of_points: nn.Module | None = None) -> Losses:
    """`of_points` makes POINT_KINDS logits for each of a row's points of a hidden state."""
    states = network.model(batch.tokens, batch.positions, batch.seen).flatten(0, 1)
    distinct, index, tokens, shares = batch.policy
    log_probabilities = functional.log_softmax(network.model.logits(states[distinct]).float(), -1)
    entropy = -(shares * log_probabilities[index, tokens]).sum() / max(batch.searches, 1)
    rows, targets = batch.value
    value = functional.mse_loss(network.value_head(states[rows]).float(), targets)
    if of_points is None:
        return Losses(entropy, value, torch.zeros_like(value))
    rows, kinds = batch.points
    guesses = of_points(states[rows]).float().unflatten(-1, (-1, POINT_KINDS))
    most, width = guesses.shape[1] // 2, kinds.shape[1] // 2
    guesses = guesses.unflatten(1, (2, most))[:, :, :width].flatten(0, 2)
    points = functional.cross_entropy(guesses, kinds.flatten(), ignore_index=NO_POINT)
    return Losses(entropy, value, points)
