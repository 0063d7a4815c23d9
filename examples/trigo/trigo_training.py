"""Training: epochs over recorded games, what is measured, and how an interrupted run goes on."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterable
from dataclasses import fields
from itertools import islice
from typing import Any

import torch
import trigo_network
import trigo_text as text
from torch import Tensor
from trigo_batches import POINT_KINDS, Batch, Losses, losses, unpack
from trigo_epochs import Epoch, Epochs, batches
from trigo_games import RecordedGame, read_games
from trigo_network import Sizes, TrigoNetwork

NAMES = tuple(field.name for field in fields(Losses))
STATE, CURVE = "training.pt", "curve.jsonl"
HELD_BACK = 20  # every so many games one is not learnt from, but measured on
WARMUP_SHARE = 0.05  # of the steps
LONGEST_QUESTION = len("999. Pass")  # what stands behind a text, at most


class UserError(Exception):
    """Something that the user can put right."""


class Training:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.device = torch.device(
            options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        )
        games = read_games(options.data)
        self.games, self.held_back = _split(games)
        torch.manual_seed(options.seed)
        self.network = self._network().to(self.device)
        most = max(len(text.point_names(game.board)) for game in games)
        self.of_points = torch.nn.Linear(self.network.sizes.hidden, 2 * most * POINT_KINDS)
        self.of_points.to(self.device)  # a help while learning, and not stored with the model
        _check_lengths(games, self.network.sizes)
        self.epoch = self.step = 0
        self.epochs = Epochs(
            self.games, options.batch, options.outcome_share, options.seed, options.epochs
        )
        self.steps = len(self.epochs)
        measures = Epoch(self.held_back, options.batch, options.outcome_share, [])
        self.measures = [measures[part] for part in range(len(measures))]
        self.optimizer = torch.optim.AdamW(
            _groups([self.network, self.of_points], options.decay),
            **{"lr": options.rate, "betas": (0.9, 0.98), "fused": self.device.type == "cuda"},
        )
        options.out.mkdir(parents=True, exist_ok=True)
        if options.resume:
            self._restore()
        else:
            (options.out / CURVE).write_text("")

    def run(self) -> None:
        sizes = trigo_network.sizes_text(self.network.sizes)
        count = trigo_network.parameters(self.network)
        print(f"{len(self.games)} games to learn from, {len(self.held_back)} to measure on")
        print(f"{count / 1e6:.2f} million parameters ({sizes}) on {self.device}", flush=True)
        if self.epoch == 0:
            self._record({"epoch": 0, "step": 0, **self._measured()})
        stream = batches(self.epochs, self.device, self.options.workers, first=self.step)
        while self.epoch < self.options.epochs:
            began = time.monotonic()
            learnt = self._learn(islice(stream, self.epochs.steps_of_each))
            self.epoch += 1
            line = {"epoch": self.epoch, "step": self.step, **learnt, **self._measured()}
            line["seconds"] = round(time.monotonic() - began, 3)
            self._record(line)
            print("  ".join(f"{name} {_short(value)}" for name, value in line.items()), flush=True)
            trigo_network.save(self.network, self.options.out, _stored(self.options.store))
            self._keep()
        print(f"{self.options.out} holds the model")

    def _learn(self, epoch: Iterable[Batch]) -> dict[str, float]:
        """Goes through the games once: the mean losses of its steps."""
        options = self.options
        totals = torch.zeros(len(NAMES), device=self.device)
        self.network.train()
        for batch in epoch:
            for group in self.optimizer.param_groups:
                group["lr"] = options.rate * self._rate()
            with self._narrow():
                found = losses(self.network, batch, self.of_points)
            loss = found.policy + options.value_weight * found.value
            loss = loss + options.points_weight * found.points
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.step += 1
            values = _vector(found)
            totals += values / self.epochs.steps_of_each
            if self.step % options.log_every == 0:
                self._log(values)
        learnt = _named(totals)
        self._check_numbers(learnt)
        return learnt

    def _log(self, values: Tensor) -> None:
        named = _named(values)
        self._check_numbers(named)
        self._record({"step": self.step, **named})
        shown = ", ".join(f"{name} {value:.4f}" for name, value in named.items())
        print(f"step {self.step} of {self.steps}: {shown}", flush=True)

    def _check_numbers(self, named: dict[str, float]) -> None:
        if not math.isfinite(sum(named.values())):
            raise UserError(
                f"the loss is no number at step {self.step}: take a smaller --rate than"
                f" {self.options.rate:g}"
            )

    def _measured(self) -> dict[str, float]:
        """The mean losses on the games held back, as they are; nothing where there are none."""
        if not self.held_back:
            return {}
        self.network.eval()
        totals = torch.zeros(len(NAMES), device=self.device)
        with torch.no_grad():
            for packed in self.measures:
                batch = unpack(packed, self.device)
                found = _vector(losses(self.network, batch, self.of_points))
                totals += found * len(packed.tokens) / len(self.held_back)
        return {f"held_back_{name}": value for name, value in _named(totals).items()}

    def _rate(self) -> float:
        """The learning rate's share of its largest: up in a straight line, down in a half wave."""
        warmup = max(1, round(WARMUP_SHARE * self.steps))
        if self.step < warmup:
            return (self.step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (self.step - warmup) / max(1, self.steps - warmup)))

    def _narrow(self) -> torch.autocast:
        """Products in bfloat16 where a GPU makes them faster."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

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
        """What --resume needs, at the end of an epoch."""
        path = self.options.out / STATE
        beside = path.with_name(path.name + ".new")
        state = {
            "arguments": _that_matter(self.options),
            "epoch": self.epoch,
            "step": self.step,
            "network": self.network.state_dict(),
            "of_points": self.of_points.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        torch.save(state, beside)
        beside.replace(path)

    def _restore(self) -> None:
        path = self.options.out / STATE
        if not path.exists():  # interrupted before its first epoch ended
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
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.step = state["epoch"], state["step"]
        lines = (self.options.out / CURVE).read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if json.loads(line)["step"] <= self.step]
        (self.options.out / CURVE).write_text("".join(f"{line}\n" for line in kept))


def _split(games: list[RecordedGame]) -> tuple[list[RecordedGame], list[RecordedGame]]:
    """Games to learn from, and every HELD_BACK-th one."""
    held_back = games[HELD_BACK - 1 :: HELD_BACK]
    return [game for at, game in enumerate(games) if at % HELD_BACK != HELD_BACK - 1], held_back


def _check_lengths(games: list[RecordedGame], sizes: Sizes) -> None:
    """A game must fit the table of positions, with the nodes behind its text."""
    for game in games:
        longest = 1 + len(text.game_text(game.board, game.moves)) + LONGEST_QUESTION
        if longest > sizes.positions:
            raise UserError(
                f"a game of {len(game.moves)} moves needs up to {longest} positions, the network"
                f" has {sizes.positions}; give --positions, or trigo_selfplay a smaller --max-moves"
            )


def _groups(modules: list[torch.nn.Module], decay: float) -> list[dict[str, Any]]:
    """Matrices shrink, biases and norms do not."""
    parts = [part for module in modules for part in module.parameters()]
    return [
        {"params": [part for part in parts if part.ndim > 1], "weight_decay": decay},
        {"params": [part for part in parts if part.ndim < 2], "weight_decay": 0.0},
    ]


def _that_matter(options: argparse.Namespace) -> dict[str, str]:
    """The arguments that the losses depend on."""
    others = {"resume", "device", "workers", "log_every", "out"}
    return {name: str(value) for name, value in vars(options).items() if name not in others}


def _vector(found: Losses) -> Tensor:
    return torch.stack([getattr(found, name).detach() for name in NAMES])


def _named(values: Tensor) -> dict[str, float]:
    return dict(zip(NAMES, values.tolist(), strict=True))


def _stored(dtype: str) -> str:
    return {"float16": "F16", "float32": "F32"}[dtype]


def _short(value: float) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
