#!/usr/bin/env python3
"""Measures what a message between two Ray actors takes, beside an evaluation, and prints JSON.

Were games and their evaluator two actors, each evaluation would be a call of one by the other: with
the position's tokens there, with logits and value back. Here an actor calls another that answers
with as many bytes at once, without computing anything; both are on one machine, where no network
comes on top. What an evaluation takes is measured by trigo_selfplay itself, in its process.

With many calls under way nobody waits for a single one, but both processors still work for each:
`processor_ms` is their time together.
"""

from __future__ import annotations

import argparse
import collections
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# Instead of this directory, whose modules are to be found in their package only.
sys.path = [entry for entry in sys.path if not entry or Path(entry).resolve() != HERE]
sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "python")]

from kvcache_export.console import fail  # noqa: E402
from self_play_ray.command import ROOT  # noqa: E402
from self_play_ray.errors import PlayError, SelfPlayError  # noqa: E402
from self_play_ray.machine import describe  # noqa: E402
from self_play_ray.ray_pool import connect  # noqa: E402

TOKENS = 13  # of an evaluation, as self-play's runs on a GPU have them in the mean
ANSWER = 4 * (128 + 1)  # bytes: the logits of Trigo's vocabulary, and a value
WARM_UP = 200  # calls
LEAST_CALLS = 20  # that are measured, however long they take: tenths of fewer say nothing


class _Evaluator:
    """Answers as an evaluator would, in no time."""

    def evaluate(self, _tokens: bytes, rows: int) -> bytes:
        return bytes(ANSWER * rows)

    def processor_seconds(self) -> float:
        return time.process_time()


class _Games:
    """Asks as games would."""

    def __init__(self, evaluator: Any) -> None:
        import ray

        self._get = ray.get
        self._evaluator = evaluator

    def ask(self, rows: int, under_way: int, seconds: float) -> dict[str, Any]:
        """So many calls under way, for so long, or for as long as LEAST_CALLS take."""
        tokens = bytes(4 * TOKENS * rows)

        def call() -> tuple[float, Any]:
            return time.perf_counter(), self._evaluator.evaluate.remote(tokens, rows)

        for _ in range(WARM_UP):
            self._get(call()[1])
        processor = -self._processor_seconds()
        began = time.perf_counter()
        waiting = collections.deque(call() for _ in range(under_way - 1))
        times = []
        while len(times) < LEAST_CALLS or time.perf_counter() < began + seconds:
            waiting.append(call())
            since, answer = waiting.popleft()
            self._get(answer)
            times.append(time.perf_counter() - since)
        passed = time.perf_counter() - began
        self._get([answer for _, answer in waiting])
        processor += self._processor_seconds()
        tenths = statistics.quantiles(times, n=10)
        return {
            "rows": rows,
            "under_way": under_way,
            "calls": len(times),
            "call_ms": _ms(statistics.median(times)),
            "call_ms_p10": _ms(tenths[0]),
            "call_ms_p90": _ms(tenths[-1]),
            "calls_per_s": round(len(times) / passed),
            "processor_ms": _ms(processor / (len(times) + len(waiting))),
        }

    def _processor_seconds(self) -> float:
        theirs: float = self._get(self._evaluator.processor_seconds.remote())
        return time.process_time() + theirs


def parser() -> argparse.ArgumentParser:
    """All options."""
    found = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("--model", type=Path, metavar="DIR", help="of the evaluations (default: none are measured)")
    add("--selfplay", default=str(ROOT / "build" / "trigo_selfplay"), metavar="FILE",
        help="the program (default: build/trigo_selfplay)")  # fmt: skip
    add("--games", type=int, default=4, metavar="N", help="whose evaluations count (default: 4)")
    add("--in-flight", type=int, default=0, metavar="N",
        help="games at once by one Evaluator; for a GPU (default: one game at a time)")  # fmt: skip
    add("--rows", type=int, nargs="+", default=[1, 64], metavar="N",
        help="evaluations of a call (default: 1 64)")  # fmt: skip
    add("--under-way", type=int, nargs="+", default=[1, 64], metavar="N",
        help="calls at the same time (default: 1 64)")  # fmt: skip
    add("--seconds", type=float, default=2, metavar="S",
        help=f"of calls, each, and {LEAST_CALLS} calls at least (default: 2)")  # fmt: skip
    add("--address", default="local", help="of the cluster (default: one on this machine)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = parser().parse_args(arguments)
    try:
        evaluation = _evaluation(options) if options.model else None
        connect(options.address)
        calls = _calls(options)
    except SelfPlayError as error:
        fail(str(error))
        return error.exit_status
    found = {"machine": describe(), "evaluation": evaluation, "calls": calls}
    print(json.dumps(found, indent=1))
    return 0


def _calls(options: argparse.Namespace) -> list[dict[str, Any]]:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    place = {"num_cpus": 1, "scheduling_strategy": here}
    evaluator = ray.remote(_Evaluator).options(**place).remote()
    games = ray.remote(_Games).options(**place).remote(evaluator)
    return [
        ray.get(games.ask.remote(rows, under_way, options.seconds))
        for rows in options.rows
        for under_way in options.under_way
    ]


def _evaluation(options: argparse.Namespace) -> dict[str, float]:
    """What one takes in the process of its games."""
    how = ("--in-flight", options.in_flight) if options.in_flight else ("--threads", 1)
    words = (options.selfplay, "--model", options.model, "--games", options.games, *how, "--quiet")
    command = [*map(str, words), "--json", "-"]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
    except OSError as error:
        raise PlayError(f"{options.selfplay} does not start: {error}") from error
    except subprocess.CalledProcessError as error:
        raise PlayError(f"{options.selfplay} failed: {error.stderr.strip()[-2000:]}") from error
    figures = json.loads(ended.stdout)
    count = figures["evaluations"]
    found = {"games_at_once": how[1], "evaluations": count}
    if not options.in_flight:  # all of the model's time is then one thread's
        found["evaluation_ms"] = _ms(figures["seconds_by_part"]["model"] / count)
    found["evaluations_per_s"] = round(figures["evaluations_per_s"])
    return {**found, **figures.get("evaluator", {})}


def _ms(seconds: float) -> float:
    return round(1e3 * seconds, 4)


if __name__ == "__main__":
    sys.exit(main())
