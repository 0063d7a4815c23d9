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


class _Builder:
    """Lays games out on their device, each turned by one of the board's symmetries."""

    def __init__(
        self, games: GameSet, which: np.ndarray, kinds: Tensor, least: tuple[int, int]
    ) -> None:
        """`kinds` of symmetry; `least`: sizes of text and nodes."""
        self.games, self.which, self.kinds = games, which, kinds
        device = games.device
        self.of, self.count = torch.from_numpy(which).to(device), len(which)
        self.plies = int(games.counts[which].max())
        self.asked, self.depths = min(ASKED, self.plies), games.axes - 1
        sizes = sizes_of(games, which)
        self.text_size = max(sizes[0], least[0])
        self.size = self.text_size + max(sizes[1], least[1])
        self.at = torch.arange(self.count, device=device)[:, None]
        self.ply = torch.arange(self.plies, device=device)[None]
        self.row = torch.arange(self.size, device=device)
        self.positions = self.row.repeat(self.count, 1)
        self.limits = self.positions.clone()  # the last token of the text that each row sees
        self._texts()
        self._values()

    def _texts(self) -> None:
        games, of, plies = self.games, self.of, self.plies
        moves = games.moves[of, :plies].long()
        self.played = moves != NO_MOVE
        moves = games.images[self.kinds].gather(1, moves.clamp(min=0))
        lengths = torch.where(self.played, games.lengths[self.ply, moves], 0)
        ends = games.start + lengths.cumsum(1)
        self.begins = torch.cat([torch.full_like(ends[:, :1], games.start), ends], 1)
        self.numbered = self.begins[:, :-1] + games.numbers[:plies]  # where the move itself begins
        pieces = games.pieces[self.ply, moves]  # [games, plies, widest]
        step = torch.arange(pieces.shape[2], device=games.device)
        place = self.begins[:, :-1, None] + step
        place = torch.where(step < lengths[:, :, None], place, self.size)  # a column cut off
        tokens = torch.zeros(self.count, self.size + 1, dtype=torch.uint8, device=games.device)
        tokens.scatter_(1, place.flatten(1), pieces.flatten(1))
        self.tokens = tokens[:, : self.size].long()
        self.tokens[:, : games.start] = games.header

    def _values(self) -> None:
        """A VALUE for each position."""
        nodes = slice(self.text_size, self.text_size + self.plies + 1)
        self.tokens[:, nodes] = text.VALUE
        self.positions[:, nodes] = self.begins
        self.limits[:, nodes] = self.begins - 1
        self.value_rows = self.row[nodes] + self.size * self.at

    def policy(self, chance: torch.Generator) -> tuple[Tensor, ...]:
        """Rows, shares, weights, and the number of searches. Nodes are laid out for moves drawn by
        their visits: what stands behind their first characters is asked.
        """
        games, asked = self.games, self.asked
        searches = games.searches[self.of, : self.plies]
        searched = searches != NO_SEARCH
        shares = games.shares[searches.long()].float()  # NO_SEARCH is the last row
        shares = shares.gather(2, games.inverse[self.kinds][:, None].expand_as(shares))
        order = torch.rand(self.count, self.plies, device=games.device, generator=chance)
        chosen = (order + searched).topk(asked, 1).indices  # [games, asked]
        known = searched.gather(1, chosen)
        theirs = shares[self.at, chosen]
        drawn = torch.where(known[:, :, None], theirs, 1.0).flatten(0, 1)
        drawn = torch.multinomial(drawn, 1, generator=chance).view(self.count, asked)

        self.root_rows = (self.numbered - 1 + self.size * self.at).flatten()
        rows, targets = [self.root_rows], [(shares @ games.one_hot[:, 0]).flatten(0, 1)]
        begins = self.numbered.gather(1, chosen)
        for depth in range(1, self.depths + 1):
            nodes = self._nodes(depth)
            self.tokens[:, nodes] = games.characters[drawn, depth - 1]
            self.positions[:, nodes] = begins + depth - 1
            self.limits[:, nodes] = begins - 1
            weights = theirs * games.alike[depth][drawn]
            weights = weights / weights.sum(2, keepdim=True).clamp(min=1e-9)
            rows.append((self.row[nodes] + self.size * self.at).flatten())
            targets.append((weights @ games.one_hot[:, depth]).flatten(0, 1))
        # Behind the P of a pass that was played.
        passes = np.nonzero(games.passes[self.which, : self.plies])
        at, ply = (torch.from_numpy(part).to(games.device) for part in passes)
        for depth, token in enumerate(text.tokens(text.PASS)[1:]):
            rows.append(self.numbered[at, ply] + depth + self.size * at)
            tokens = torch.full_like(at, token)
            targets.append(functional.one_hot(tokens, text.VOCABULARY).float())
        weights = torch.ones(sum(map(len, rows)), device=games.device)
        first = len(self.root_rows)
        of_chains = weights[first : first + self.depths * self.count * asked]
        of_chains *= searched.sum() / known.sum().clamp(min=1)
        return torch.cat(rows), torch.cat(targets), weights, searched.sum().clamp(min=1)

    def _nodes(self, depth: int) -> slice:
        first = self.text_size + self.plies + 1 + self.asked * (depth - 1)
        return slice(first, first + self.asked)

    def seen(self) -> Tensor:
        """What nodes see, when all are laid out."""
        limits, nodes = self.limits[:, self.text_size :], self.row[self.text_size :]
        found = (self.row < self.text_size) & (self.row <= limits[:, :, None])
        found |= self.row == nodes[:, None]
        for depth in range(2, self.depths + 1):
            of_depth = self.row[self._nodes(depth)]
            for before in range(1, depth):
                found[:, of_depth - self.text_size, of_depth - self.asked * before] = True
        return found[:, None]

    def points(self) -> Tensor:
        """int8 [games, plies + 1, PLANES, points], where the symmetries have them."""
        states = self.games.states[self.of, : self.plies + 1]
        back = self.games.inverse[self.kinds][:, None, None, :-1]
        return states.gather(3, back.expand_as(states))


def batch_of(
    games: GameSet,
    which: np.ndarray,
    chance: torch.Generator,
    turned: bool = True,
    least: tuple[int, int] = (0, 0),
) -> Batch:
    """`which` of the games, each turned at random unless not; `least`: sizes of text and nodes."""
    kinds = torch.zeros(len(which), dtype=torch.long, device=games.device)
    if turned:
        kinds = torch.randint(len(games.images), kinds.shape, device=games.device, generator=chance)
    built = _Builder(games, which, kinds, least)
    policy_rows, policy, chains, searches = built.policy(chance)
    known = torch.cat([built.played.new_ones(len(which), 1), built.played], 1)
    points = built.points()
    return Batch(
        built.tokens,
        built.positions,
        built.seen(),
        policy_rows,
        policy,
        searches,
        chains,
        built.value_rows.flatten(),
        games.values[built.of, : built.plies + 1].flatten(),
        known.flatten().float(),
        torch.cat([built.value_rows.flatten(), built.root_rows]),
        torch.cat([points.flatten(0, 1), points[:, :-1].flatten(0, 1)]),
        torch.cat([known.flatten(), built.played.flatten()]).float(),
    )


def sizes_of(games: GameSet, which: np.ndarray) -> tuple[int, int]:
    """Tokens that the longest text takes, and the nodes behind it."""
    plies = int(games.counts[which].max())
    nodes = plies + 1 + (games.axes - 1) * min(ASKED, plies)
    text_size = int(games.sizes[which].max())
    return text_size + -text_size % FILLED_TO, nodes + -nodes % FILLED_TO


def together(
    games: Sequence[GameSet], parts: Sequence[np.ndarray], chance: torch.Generator
) -> Batch:
    """Games of several boards in one batch."""
    least = tuple(map(max, zip(*map(sizes_of, games, parts), strict=True)))
    found = [
        batch_of(of, which, chance, least=least) for of, which in zip(games, parts, strict=True)
    ]
    first = np.cumsum([0, *(part.tokens.numel() for part in found)])
    most = max(part.points.shape[2] for part in found)

    def joined(name: str, rows: bool = False) -> Tensor:
        arrays = [getattr(part, name) for part in found]
        if rows:
            arrays = [array + int(at) for array, at in zip(arrays, first[:-1], strict=True)]
        return torch.cat(arrays)

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
        torch.cat(
            [
                functional.pad(part.points, (0, most - part.points.shape[2]), value=NO_POINT)
                for part in found
            ]
        ),
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
