"""Batches of recorded games, and the losses of a network on one.

A game is one sequence: its text; behind it a token VALUE for each position; and characters of moves
that were not played, as a search asks for them. Each of these sees the text up to its position and
the characters before it, and stands where it would stand if the text went on with it. So a run
computes exactly what a search asks of the model at every position of the game.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import trigo_text as text
from torch import Tensor, nn
from torch.nn import functional
from trigo_network import TrigoNetwork
from trigo_replay import NO_MOVE
from trigo_sets import NO_SEARCH, GameSet

FILLED_TO = 8  # sizes are multiples of it, as kernels of attention like them
POINT_KINDS = 3  # empty or nobody's or out of danger, Black's, White's
NO_POINT = -100  # of a smaller board than the batch's largest: no loss
PLANES = 3  # stones, owners, stones in atari
ASKED = 8  # positions of a game that are asked for the characters behind a move's first


@dataclass(frozen=True)
class Batch:
    tokens: Tensor  # int64 [games, size]
    positions: Tensor  # int64 [games, size]
    seen: Tensor  # bool [games, 1, nodes, size]
    policy_rows: Tensor  # int64 [asked]: rows of games · size
    policy: Tensor  # float32 [asked, 128]: shares of the next character; zeros where not asked
    searches: Tensor  # how many positions have a policy
    chains: Tensor  # weight of what stands behind a first character
    value_rows: Tensor
    value: Tensor  # float32
    value_known: Tensor  # float32, 0 behind a game's end
    point_rows: Tensor
    points: Tensor  # int8 [rows, PLANES, points]
    points_known: Tensor


def batch_of(
    games: GameSet,
    which: np.ndarray,
    chance: torch.Generator,
    turned: bool = True,
    least: tuple[int, int] = (0, 0),
) -> Batch:
    """`which` of the games, each turned at random unless not; `least`: sizes of text and nodes."""
    device, of = games.device, torch.from_numpy(which).to(games.device)
    count, plies = len(which), int(games.counts[which].max())
    text_size, node_count = sizes_of(games, which)
    text_size, node_count = max(text_size, least[0]), max(node_count, least[1])
    at = torch.arange(count, device=device)[:, None]
    ply = torch.arange(plies, device=device)[None]
    kind = torch.zeros(count, dtype=torch.long, device=device)
    if turned:
        kind = torch.randint(len(games.images), (count,), device=device, generator=chance)

    moves = games.moves[of, :plies].long()
    played = moves != NO_MOVE
    moves = torch.where(played, games.images[kind].gather(1, moves.clamp(min=0)), 0)
    lengths = torch.where(played, games.lengths[ply, moves], 0)
    ends = games.start + lengths.cumsum(1)
    begins = torch.cat([torch.full_like(ends[:, :1], games.start), ends], 1)  # [games, plies + 1]
    numbered = begins[:, :-1] + games.numbers[:plies]  # where the move itself begins

    # The text.
    depths, asked = games.axes - 1, min(ASKED, plies)
    size = text_size + node_count
    pieces = games.pieces[ply, moves]  # [games, plies, widest]
    step = torch.arange(pieces.shape[2], device=device)
    place = begins[:, :-1, None] + step
    place = torch.where(step < lengths[:, :, None], place, size)  # a column that is cut off
    tokens = torch.zeros(count, size + 1, dtype=torch.uint8, device=device)
    tokens.scatter_(1, place.flatten(1), pieces.flatten(1))
    tokens = tokens[:, :size].long()
    tokens[:, : games.start] = games.header

    # A VALUE for each position.
    row = torch.arange(size, device=device)
    positions, limits = row.repeat(count, 1), row.repeat(count, 1)
    values = slice(text_size, text_size + plies + 1)
    tokens[:, values], positions[:, values], limits[:, values] = text.VALUE, begins, begins - 1

    # Shares of visits, and moves drawn by them, of which the first characters are asked what follows.
    searches = games.searches[of, :plies]
    searched = searches != NO_SEARCH
    shares = games.shares[searches.long()].float()  # NO_SEARCH is the last row
    shares = shares.gather(2, games.inverse[kind][:, None].expand_as(shares))
    order = torch.rand(count, plies, device=device, generator=chance) + searched
    chosen = order.topk(asked, 1).indices  # [games, asked]
    known = searched.gather(1, chosen)
    theirs = shares[at, chosen]
    drawn = torch.where(known[:, :, None], theirs, 1.0)
    drawn = torch.multinomial(drawn.flatten(0, 1), 1, generator=chance).view(count, asked)
    first = text_size + plies + 1
    root_rows = numbered - 1 + size * at
    rows, targets = [root_rows.flatten()], [(shares @ games.one_hot[:, 0]).flatten(0, 1)]
    for depth in range(1, depths + 1):
        nodes = slice(first + asked * (depth - 1), first + asked * depth)
        tokens[:, nodes] = games.characters[drawn, depth - 1]
        positions[:, nodes] = numbered.gather(1, chosen) + depth - 1
        limits[:, nodes] = numbered.gather(1, chosen) - 1
        weights = theirs * games.alike[depth][drawn]
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-9)
        rows.append((row[nodes] + size * at).flatten())
        targets.append((weights @ games.one_hot[:, depth]).flatten(0, 1))
    seen = (row < text_size) & (row <= limits[:, text_size:, None])
    seen |= row == row[text_size:, None]
    for depth in range(2, depths + 1):
        nodes = row[first + asked * (depth - 1) : first + asked * depth]
        for before in range(1, depth):
            seen[:, nodes - text_size, nodes - asked * before] = True
    # Behind the P of a pass that was played.
    games_of, plies_of = np.nonzero(games.passes[which, :plies])
    extra = torch.from_numpy(games_of).to(device), torch.from_numpy(plies_of).to(device)
    for depth, token in enumerate(text.tokens(text.PASS)[1:]):
        rows.append(numbered[extra] + depth + size * extra[0])
        targets.append(functional.one_hot(torch.full_like(extra[0], token), text.VOCABULARY).float())
    searches_there = searched.sum()
    chains = torch.ones(sum(map(len, rows)), device=device)
    chains[root_rows.numel() : root_rows.numel() + depths * count * asked] = (
        searches_there / known.sum().clamp(min=1)
    )

    there = torch.cat([played.new_ones(count, 1), played], 1)
    states = games.states[of, : plies + 1]  # int8 [games, plies + 1, PLANES, points]
    back = games.inverse[kind][:, None, None, :-1].expand_as(states)
    states = states.gather(3, back)
    value_rows = row[values] + size * at
    return Batch(
        tokens,
        positions,
        seen[:, None],
        torch.cat(rows),
        torch.cat(targets),
        searches_there.clamp(min=1),
        chains,
        value_rows.flatten(),
        games.values[of, : plies + 1].flatten(),
        there.flatten().float(),
        torch.cat([value_rows.flatten(), root_rows.flatten()]),
        torch.cat([states.flatten(0, 1), states[:, :-1].flatten(0, 1)]),
        torch.cat([there.flatten(), played.flatten()]).float(),
    )


def sizes_of(games: GameSet, which: np.ndarray) -> tuple[int, int]:
    """Tokens that the longest text takes, and the nodes behind it."""
    plies = int(games.counts[which].max())
    nodes = plies + 1 + (games.axes - 1) * min(ASKED, plies)
    text_size = int(games.sizes[which].max())
    return text_size + -text_size % FILLED_TO, nodes + -nodes % FILLED_TO


def together(games: Sequence[GameSet], parts: Sequence[np.ndarray], chance: torch.Generator) -> Batch:
    """Games of several boards in one batch."""
    least = tuple(map(max, zip(*map(sizes_of, games, parts), strict=True)))
    found = [batch_of(of, which, chance, least=least) for of, which in zip(games, parts, strict=True)]
    first = np.cumsum([0, *(part.tokens.numel() for part in found)])
    most = max(part.points.shape[2] for part in found)

    def joined(name: str, rows: bool = False) -> Tensor:
        arrays = [getattr(part, name) for part in found]
        return torch.cat([array + int(at) for array, at in zip(arrays, first)] if rows else arrays)

    total = sum(part.searches for part in found)
    return Batch(
        joined("tokens"),
        joined("positions"),
        joined("seen"),
        joined("policy_rows", rows=True),
        joined("policy"),
        total,
        joined("chains"),
        joined("value_rows", rows=True),
        joined("value"),
        joined("value_known"),
        joined("point_rows", rows=True),
        torch.cat([functional.pad(part.points, (0, most - part.points.shape[2]), value=NO_POINT) for part in found]),
        joined("points_known"),
    )


@dataclass(frozen=True)
class Losses:
    """Means over positions: cross-entropies in nats, and the value's squared error."""

    policy: Tensor
    value: Tensor
    stones: Tensor  # of a point, as are the others
    owners: Tensor
    atari: Tensor


def losses(network: TrigoNetwork, batch: Batch, of_points: nn.Module) -> Losses:
    """`of_points` makes POINT_KINDS logits for each of a row's points of a hidden state."""
    states = network.model(batch.tokens, batch.positions, batch.seen).flatten(0, 1)
    logits = network.model.logits(states[batch.policy_rows]).float()
    entropies = -(batch.policy * functional.log_softmax(logits, -1)).sum(1) * batch.chains
    values = network.value_head(states[batch.value_rows]).float()
    errors = (values - batch.value).square() * batch.value_known
    points = batch.points.shape[2]
    guesses = of_points(states[batch.point_rows]).float().unflatten(-1, (PLANES, -1, POINT_KINDS))
    guesses = guesses[:, :, :points].permute(0, 3, 1, 2)  # [rows, POINT_KINDS, PLANES, points]
    kinds = batch.points.long()
    of_each = functional.cross_entropy(guesses, kinds, reduction="none", ignore_index=NO_POINT)
    of_each = of_each.sum(2) / (kinds != NO_POINT).sum(2)
    of_planes = (of_each * batch.points_known[:, None]).sum(0) / batch.points_known.sum()
    return Losses(
        entropies.sum() / batch.searches, errors.sum() / batch.value_known.sum(), *of_planes
    )
