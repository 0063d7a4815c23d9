#!/usr/bin/env python3
"""Improves a model by its own games: games of searches, training on them, and again; see --help.

Round 0 plays with searches by random playouts, which need no model. Every further round plays with
the model that the round before has trained, and trains it on the games of the last rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

EPILOG = """\
OUT/round-N holds a round's games (games.jsonl), its checkpoint (checkpoint/), the exported model
(model/) and, with --match, its games against searches by playouts (match.json). OUT/rounds.jsonl
has a line for each round. What is there is not done again, so the same command goes on after an
interruption. Options behind -- are train.py's, for instance: -- --hidden 64 --layers 4
A pair of moves takes up to 14 of the network's --positions, and searches look further than games.
"""


class StepError(Exception):
    """A program failed; it has said why."""


@dataclass(frozen=True)
class Round:
    """Where a round's files are."""

    directory: Path

    @property
    def games(self) -> Path:
        return self.directory / "games.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.directory / "checkpoint"

    @property
    def model(self) -> Path:
        return self.directory / "model"

    @property
    def match(self) -> Path:
        return self.directory / "match.json"


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--out", type=Path, required=True, help="directory for all rounds")
    add(
        "--boards",
        nargs="+",
        default=["5x5x1"],
        metavar="BOARD",
        help="points per axis; one model learns them all (default: 5x5x1)",
    )
    add("--rounds", type=int, default=4, help="rounds after round 0 (default: 4)")
    add("--first-games", type=int, default=1000, help="games of round 0 on each (default: 1000)")
    add(
        *("--first-simulations", "--playouts"),
        type=int,
        default=400,
        help="simulations of each of its searches (default: 400)",
    )
    add(
        "--openings",
        type=int,
        nargs="*",
        default=[],
        metavar="MOVES",
        help="random moves before further games of round 0, of playouts on both sides, such as"
        " 8 16 24: positions that good play never leads to (default: none)",
    )
    add("--opening-games", type=int, default=300, help="for each number of them (default: 300)")
    add(
        "--random-games",
        type=int,
        default=0,
        help="of round 0 more, of playouts against random moves (default: none)",
    )
    add(
        "--wild-games",
        type=int,
        default=0,
        help="of round 0 more, of playouts whose moves are drawn nearly at random: groups die in"
        " them as no player lets them (default: none)",
    )
    add("--games", type=int, default=500, help="of every other round (default: 500)")
    add("--simulations", type=int, default=100, help="of their searches (default: 100)")
    add("--max-moves", type=int, default=100, help="moves after which a game ends (default: 100)")
    add("--window", type=int, default=3, help="rounds whose games are learnt from (default: 3)")
    add("--match", type=int, default=0, metavar="GAMES", help="against playouts (default: none)")
    add("--threads", type=int, default=os.cpu_count() or 1, help="(default: all)")
    add("--seed", type=int, default=42, help="(default: 42)")
    add(
        "--selfplay",
        type=Path,
        default=ROOT / "build" / "trigo_selfplay",
        help="the program (default: build/trigo_selfplay)",
    )
    add(
        "--exporter-python",
        default=sys.executable,
        metavar="PYTHON",
        help="Python that has the exporter's packages, where this one has not (default: this one)",
    )
    add("train", nargs="*", help="options of train.py, behind --")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if not options.selfplay.exists():
        print(
            f"error: {options.selfplay} does not exist; build it, or give --selfplay",
            file=sys.stderr,
        )
        return 2
    try:
        for number in range(options.rounds + 1):
            play_round(options, number)
    except StepError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def play_round(options: argparse.Namespace, number: int) -> None:
    """Games, training, export and match of a round, each unless it is there already."""
    rounds = [Round(options.out / f"round-{at}") for at in range(number + 1)]
    now = rounds[-1]
    now.directory.mkdir(parents=True, exist_ok=True)
    log = options.out / "rounds.jsonl"
    done = log.read_text(encoding="utf-8").splitlines() if log.exists() else []
    if len(done) > number:
        print(f"round {number} is there")
        return
    began = time.monotonic()
    if not now.games.exists():
        _play(options, number, rounds)
    if not (now.directory / "trained").exists():
        _train(options, number, rounds)
    if not (now.model / "config.json").exists():
        exporter = ROOT / "export_trigo_kvcache.py"
        _run([options.exporter_python, exporter, "--model", now.checkpoint, "--output-dir",
              now.model])  # fmt: skip
    line = {"round": number, "seconds": round(time.monotonic() - began, 1), **_last(now)}
    if options.match:
        if not now.match.exists():
            _match(options, now)
        line["match"] = json.loads(now.match.read_text(encoding="utf-8"))
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def _play(options: argparse.Namespace, number: int, rounds: list[Round]) -> None:
    beside = rounds[-1].games.with_suffix(".new")  # whole, or not there
    lines = []
    for board in options.boards:
        for kind, (extra, games, simulations) in enumerate(_kinds(options, number, rounds)):
            seed = options.seed + number + 1000 * kind
            numbers = {"seed": seed, "games": games, "simulations": simulations}
            _selfplay(options, board, [*extra, "--data", beside], **numbers)
            lines += beside.read_text(encoding="utf-8").splitlines(keepends=True)
    beside.write_text("".join(lines), encoding="utf-8")
    beside.replace(rounds[-1].games)


def _kinds(
    options: argparse.Namespace, number: int, rounds: list[Round]
) -> list[tuple[list[object], int, int]]:
    """A round's games: options that tell who plays, how many games, and simulations."""
    if number > 0:
        player = ["--player", "model", "--model", rounds[-2].model]
        return [(player, options.games, options.simulations)]
    player, simulations = ["--player", "rollouts"], options.first_simulations
    against = [*player, "--against", f"rollouts:{simulations}"]
    found = [(player, options.first_games, simulations)]
    for moves in options.openings:
        found.append(([*against, "--opening", moves], options.opening_games, simulations))
    if options.wild_games:
        wild = ["--temperature", 100, "--temperature-moves", options.max_moves]
        found.append(([*player, *wild], options.wild_games, simulations))
    if options.random_games:
        found.append(([*player, "--against", "random"], options.random_games, simulations))
    return found


def _match(options: argparse.Namespace, now: Round) -> None:
    """The model's searches against as many simulations by playouts, without noise or chance."""
    beside = now.match.with_suffix(".new")
    against = f"rollouts:{options.simulations}"
    extra = ["--player", "model", "--model", now.model, "--against", against, "--json", beside]
    seed = options.seed + 1_000_000
    found = {}
    for board in options.boards:
        numbers = {"seed": seed, "games": options.match, "simulations": options.simulations}
        _selfplay(options, board, extra, **numbers)
        found[board] = json.loads(beside.read_text(encoding="utf-8"))
    beside.write_text(json.dumps(found), encoding="utf-8")
    beside.replace(now.match)


def _selfplay(
    options: argparse.Namespace,
    board: str,
    extra: list[object],
    *,
    seed: int,
    games: int,
    simulations: int,
) -> None:
    arguments = {
        **{"--board": board, "--games": games, "--simulations": simulations},
        **{"--max-moves": options.max_moves, "--threads": options.threads, "--seed": seed},
    }
    _run([options.selfplay, *(part for pair in arguments.items() for part in pair), *extra])


def _train(options: argparse.Namespace, number: int, rounds: list[Round]) -> None:
    data = [one.games for one in rounds[-options.window :]]
    begin = ["--init", rounds[-2].checkpoint] if number > 0 else []
    out, seed = rounds[-1].checkpoint, options.seed + number
    _run([sys.executable, HERE / "train.py", "--data", *data, "--out", out, "--seed", seed,
          "--resume", *begin, *options.train])  # fmt: skip
    (rounds[-1].directory / "trained").touch()


def _last(now: Round) -> dict[str, Any]:
    """The training's last losses."""
    lines = (now.checkpoint / "curve.jsonl").read_text(encoding="utf-8").splitlines()
    return {name: value for name, value in json.loads(lines[-1]).items() if name != "seconds"}


def _run(command: list[object]) -> None:
    words = [str(part) for part in command]
    print("$", *words, flush=True)
    status = subprocess.run(words, check=False).returncode
    if status != 0:
        raise StepError(f"{Path(words[0]).name} ended with {status}")


if __name__ == "__main__":
    sys.exit(main())
