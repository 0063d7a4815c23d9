#!/usr/bin/env python3
"""Measures games and moves a second by the number of actors, and prints JSON.

Each number plays for `--seconds` from when all of its actors have come. Leases that began in that
time count, whole, and the others play on meanwhile: neither Ray's start nor an order's end, when
actors have nothing left to do, is in the figures. All else is: programs that start, messages, what
the driver stores. Rounds take the numbers in turn, forwards and backwards, so that what else the
machine does meets all of them, and each has a seed of its own; a share is that of n times the first
number of the same round. Standard error gets a line for each run.

Moves are the better measure of work: each has a search of as many simulations, while one game may
be twice as long as another, and no two numbers of actors play quite the same games.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Instead of this directory, whose modules are to be found in their package only.
sys.path = [entry for entry in sys.path if not entry or Path(entry).resolve() != HERE]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "python")]

from kvcache_export.console import fail, progress  # noqa: E402
from self_play_ray import command  # noqa: E402
from self_play_ray.drive import drive  # noqa: E402
from self_play_ray.errors import SelfPlayError  # noqa: E402
from self_play_ray.machine import describe  # noqa: E402
from self_play_ray.order import MOST_GAMES, read_model  # noqa: E402
from self_play_ray.store import Store  # noqa: E402
from self_play_ray.timed_pool import EnoughError, TimedPool  # noqa: E402

Sample = dict[str, float]  # what one number of actors did in one round


def parser() -> argparse.ArgumentParser:
    """All options."""
    found = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="Options behind -- are those of self_play_ray but for --store, --games and --actors,"
        "\nsuch as -- --workers ray --model DIR --gpus 1 --in-flight 64",
    )
    add = found.add_argument
    add("--actors", type=int, nargs="+", default=[1, 2, 4], metavar="N", help="(default: 1 2 4)")
    add("--seconds", type=float, default=20, metavar="S",
        help="of play; give a few leases' time (default: 20)")  # fmt: skip
    add("--rounds", type=int, default=3, metavar="N", help="(default: 3)")
    add("--json", type=Path, metavar="FILE", help="write there instead of standard output")
    add("others", nargs="*", help=argparse.SUPPRESS)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = parser().parse_args(arguments)
    if min(options.actors) < 1 or options.rounds < 1:
        parser().error("--actors and --rounds are at least 1")
    with tempfile.TemporaryDirectory(prefix="self-play-scaling-") as directory:
        ours = ["--store", directory, "--games", str(MOST_GAMES)]  # games that do not run out
        played = command.parser().parse_args([*options.others, *ours])
        try:
            text = json.dumps(_measure(options, played), indent=1) + "\n"
        except SelfPlayError as error:
            fail(str(error))
            return error.exit_status
        except KeyboardInterrupt:
            fail("interrupted")
            return 130
        except command.EndedBySignal:
            fail("ended by SIGTERM")
            return 143
    if options.json:
        options.json.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    return 0


def _measure(options: argparse.Namespace, played: argparse.Namespace) -> dict[str, Any]:
    found: dict[int, list[Sample]] = {actors: [] for actors in options.actors}
    done, all_ = 0, len(found) * options.rounds
    for round_ in range(options.rounds):
        for actors in list(found)[:: 1 if round_ % 2 == 0 else -1]:
            progress(f"{actors} actors, {done + 1} of {all_} runs", done, all_)
            sample = _sample(played, actors, options.seconds, round_)
            found[actors].append(sample)
            done += 1
            progress("")
            print(
                f"{actors} actors: {sample['games']:.2f} games/s, {sample['moves']:.1f} moves/s",
                file=sys.stderr,
            )
    return {
        "machine": describe(),
        "nodes": _nodes(played),
        "options": options.others,
        "seconds": options.seconds,
        "rows": rows_of(found),
    }


def _sample(played: argparse.Namespace, actors: int, seconds: float, round_: int) -> Sample:
    """One number of actors, once."""
    played.actors = actors
    model = read_model(played.model) if played.model else None
    order = command.order_of(played, model)
    order = dataclasses.replace(order, seed=(order.seed + round_) % (1 << 64))
    pool = TimedPool(command.make_pool(played, order, model), actors, seconds)
    with tempfile.TemporaryDirectory(dir=played.store) as directory:
        try:
            with Store(Path(directory), order, part_games=played.part_games) as store:
                drive(store, pool, command.drive_options(played))
        except EnoughError:
            pass
        finally:
            pool.close()
    return {**pool.per_second(), "leases": pool.leases()}


def rows_of(found: dict[int, list[Sample]]) -> list[dict[str, Any]]:
    """For each number of actors, in its order: medians, extremes and samples, round by round."""
    first = next(iter(found))
    rows = []
    for actors, samples in found.items():
        row: dict[str, Any] = {"actors": actors, "leases": [one["leases"] for one in samples]}
        for what in ("games", "moves"):
            row[f"{what}_per_s"] = _summary([one[what] for one in samples])
            row[f"{what}_share_of_n_times_one"] = _summary(
                [
                    one[what] * first / (actors * base[what])
                    for one, base in zip(samples, found[first], strict=True)
                ]
            )
        rows.append(row)
    return rows


def _summary(samples: list[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(samples), 4),
        "least": round(min(samples), 4),
        "most": round(max(samples), 4),
        "samples": [round(sample, 4) for sample in samples],
    }


def _nodes(played: argparse.Namespace) -> list[dict[str, float]]:
    """What each machine of the cluster offers; none without Ray."""
    if played.workers != "ray":
        return []
    import ray

    names = ("CPU", "GPU")
    return [
        {name: node["Resources"].get(name, 0) for name in names}
        for node in ray.nodes()
        if node["Alive"]
    ]


if __name__ == "__main__":
    sys.exit(main())
