"""Training: steps over recorded games, what is measured, and how an interrupted run goes on."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trigo_network
import trigo_text as text
from torch import Tensor
from trigo_batches import PLANES, POINT_KINDS, Batch, Losses, batch_of, losses, together
from trigo_network import Sizes, TrigoNetwork
from trigo_optimizers import optimizers
from trigo_order import Order
from trigo_sets import GameSet, Moves, read_sets

NAMES = tuple(field.name for field in fields(Losses))
STATE, CURVE = "training.pt", "curve.jsonl"
HELD_BACK = 20  # every so many games one is not learnt from, but measured on
MOST_MEASURED = 512  # of a board
WARMUP_SHARE, WARMUP_STEPS = 0.03, 300  # of a long training, at least
LONGEST_QUESTION = len("999. Pass")  # what stands behind a text, at most


class UserError(Exception):
    """Something that the user can put right."""


class Training:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(
            options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        found = read_sets(options.data, options.workers)
        torch.manual_seed(options.seed)
        self.network = self._network().to(self.device)
        for games in found:
            _check_lengths(games, self.network.sizes)
        split = [_split(games) for games in found]
        share = options.outcome_share
        self.sets = [GameSet(learnt, share, self.device) for learnt, _ in split]
        self.held_back = [GameSet(rest, share, self.device) for _, rest in split]
        self.orders = [
            Order(games.counts, options.batch, [options.seed, at])
            for at, games in enumerate(self.sets)
        ]
        most = max(games.points for games in self.sets)
        self.of_points = torch.nn.Linear(self.network.sizes.hidden, PLANES * most * POINT_KINDS)
        self.of_points.to(self.device)  # a help while learning, and not stored with the model
        self.step, self.seconds = 0, 0.0
        self.optimizers = optimizers(self.network, self.of_points, options)
        # Of the kernels of attention two are left: one for texts, one for what masks say.
        torch.backends.cuda.enable_cudnn_sdp(False)
        self.chance = torch.Generator(self.device)
        options.out.mkdir(parents=True, exist_ok=True)
        if options.init is not None and (options.init / STATE).exists():
            self._begin_with_points(options.init / STATE)
        if options.resume:
            self._restore()
        else:
            (options.out / CURVE).write_text("")

    def run(self) -> None:
        sizes = trigo_network.sizes_text(self.network.sizes)
        count = trigo_network.parameters(self.network)
        for learnt, rest in zip(self.sets, self.held_back, strict=True):
            print(f"{learnt.board}: {len(learnt)} games to learn from, {len(rest)} to measure on")
        print(f"{count / 1e6:.2f} million parameters ({sizes}) on {self.device}", flush=True)
        self.began = time.monotonic() - self.seconds
        if self.step == 0:
            self._record({"step": 0, "held_back": self._measured()})
        totals, since = self._zeros(), self.step
        while self._progress() < 1:
            totals += self._learn()
            self.step += 1
            if self.step % self.options.measure_every == 0 or self._progress() >= 1:
                self._tell(totals / (self.step - since))
                totals, since = self._zeros(), self.step
        print(f"{self.options.out} holds the model")

    def _tell(self, learnt: Tensor) -> None:
        """What the last steps taught; the model is kept."""
        line = {"step": self.step, **_named(learnt), "held_back": self._measured()}
        if not torch.isfinite(learnt).all():
            raise UserError(
                f"the loss is no number at step {self.step}: take a smaller --rate than"
                f" {self.options.rate:g}"
            )
        self.seconds = time.monotonic() - self.began
        self._record({**line, "seconds": round(self.seconds, 1)})
        print(" ".join(_words({**line, "seconds": self.seconds})), flush=True)
        trigo_network.save(self.network, self.options.out, _stored(self.options.store))
        self._keep()

    def _zeros(self) -> Tensor:
        return torch.zeros(len(NAMES), device=self.device)

    def _progress(self) -> float:
        """From 0 to 1: steps, or time, whichever has come further."""
        of_time = (time.monotonic() - self.began) / (self.options.seconds or math.inf)
        return max(self.step / self.options.steps, of_time)

    def _learn(self) -> Tensor:
        options = self.options
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = options.rate * self._rate()
            optimizer.zero_grad(set_to_none=True)
        self.network.train()
        self.chance.manual_seed(options.seed * 1_000_003 + self.step)
        parts = [order[self.step] for order in self.orders]
        found = self._losses(together(self.sets, parts, self.chance))
        self._sum(found).backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        return _vector(found)

    def _losses(self, batch: Batch) -> Losses:
        """Products in bfloat16 where a GPU makes them faster."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            return losses(self.network, batch, self.of_points)

    def _sum(self, found: Losses) -> Tensor:
        options = self.options
        points = found.stones + found.owners + found.atari
        return (
            options.policy_weight * found.policy
            + options.value_weight * found.value
            + options.points_weight * points
        )

    def _measured(self) -> dict[str, dict[str, float]]:
        """The mean losses on each board's games held back, as they are."""
        self.network.eval()
        found = {}
        with torch.no_grad():
            for games in self.held_back:
                if len(games) == 0:
                    continue
                self.chance.manual_seed(0)
                totals, count = self._zeros(), min(len(games), MOST_MEASURED)
                for at in range(0, count, self.options.batch):
                    which = np.arange(at, min(at + self.options.batch, count))
                    batch = batch_of(games, which, self.chance, turned=False)
                    totals += _vector(self._losses(batch)) * len(which) / count
                found["x".join(map(str, games.board))] = _named(totals)
        return found

    def _rate(self) -> float:
        """The learning rate's share of its largest: up in a straight line, down in a half wave."""
        done, warmup = self._progress(), min(WARMUP_STEPS, self.options.steps // 10)
        if done < WARMUP_SHARE or self.step < warmup:
            return min((done + 1e-3) / WARMUP_SHARE, (self.step + 1) / max(1, warmup), 1.0)
        wave = 0.5 * (1 + math.cos(math.pi * (done - WARMUP_SHARE) / (1 - WARMUP_SHARE)))
        return self.options.rate_end + (1 - self.options.rate_end) * wave

    def _network(self) -> TrigoNetwork:
        given = {
            field.name: value
            for field in fields(Sizes)
            if (value := getattr(self.options, field.name)) is not None
        }
        if self.options.init is None:
            try:
                return TrigoNetwork(Sizes(**given))
            except ValueError as error:
                raise UserError(str(error)) from error
        try:
            network = trigo_network.load(self.options.init)
        except (OSError, KeyError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--init {self.options.init} is no model of train.py: {error}"
            ) from error
        for name, value in given.items():
            if value != (there := getattr(network.sizes, name)):
                raise UserError(f"--{name} is {value}, but {there} in {self.options.init}")
        return network

    def _record(self, line: dict[str, Any]) -> None:
        with (self.options.out / CURVE).open("a", encoding="utf-8") as curve:
            curve.write(json.dumps(line) + "\n")

    def _keep(self) -> None:
        """What --resume needs, and what --init takes of it."""
        state = {
            "arguments": _that_matter(self.options),
            "step": self.step,
            "seconds": self.seconds,
            "network": self.network.state_dict(),
            "of_points": self.of_points.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        path = self.options.out / STATE
        beside = path.with_name(path.name + ".new")
        torch.save(state, beside)
        beside.replace(path)

    def _restore(self) -> None:
        path = self.options.out / STATE
        if not path.exists():  # interrupted before it was measured
            (self.options.out / CURVE).write_text("")
            return
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["arguments"] != _that_matter(self.options):
            changed = [
                name
                for name, value in _that_matter(self.options).items()
                if state["arguments"].get(name) != value
            ]
            raise UserError(
                f"--resume goes on with the same arguments, but --{changed[0]} has changed; begin"
                " anew without it"
            )
        self.network.load_state_dict(state["network"])
        self.of_points.load_state_dict(state["of_points"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.step, self.seconds = state["step"], state["seconds"]
        lines = (self.options.out / CURVE).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        (self.options.out / CURVE).write_text("".join(f"{line}\n" for line in kept))

    def _begin_with_points(self, path: Path) -> None:
        """The head for points of the training that made the model to begin from."""
        weights = torch.load(path, map_location=self.device, weights_only=True)["of_points"]
        if weights["weight"].shape == self.of_points.weight.shape:
            self.of_points.load_state_dict(weights)


def _split(games: Moves) -> tuple[Moves, Moves]:
    """Games to learn from, and every HELD_BACK-th one."""
    rest = np.arange(len(games.moves)) % HELD_BACK == HELD_BACK - 1
    return games.of(~rest), games.of(rest)


def _check_lengths(games: Moves, sizes: Sizes) -> None:
    """A game must fit the table of positions, with the nodes behind its text."""
    plies = games.moves.shape[1]
    longest = 1 + len(text.game_text(games.board, [text.PASS] * plies)) + LONGEST_QUESTION
    if longest > sizes.positions:
        raise UserError(
            f"a game of {plies} moves needs up to {longest} positions, the network"
            f" has {sizes.positions}; give --positions, or trigo_selfplay a smaller --max-moves"
        )


def _vector(found: Losses) -> Tensor:
    return torch.stack([getattr(found, name).detach() for name in NAMES])


def _named(values: Tensor) -> dict[str, float]:
    return {name: round(value, 5) for name, value in zip(NAMES, values.tolist(), strict=True)}


def _stored(dtype: str) -> str:
    return {"float16": "F16", "float32": "F32"}[dtype]


def _words(line: dict[str, Any]) -> Iterator[str]:
    for name, value in line.items():
        if isinstance(value, dict):
            yield from (f" {name}: ", *_words(value))
        else:
            yield f"{name} {value:.4f}" if isinstance(value, float) else f"{name} {value}"


def _that_matter(options: argparse.Namespace) -> dict[str, str]:
    """The arguments that the losses depend on."""
    others = {"resume", "device", "workers", "measure_every", "out"}
    return {name: str(value) for name, value in vars(options).items() if name not in others}
