"""Measures the bars of what reuses a cached prefix: forks, trees, batches, saved states.

    .venv/bin/python bench/reuse_bars.py [--rounds N] [--json FILE]

Each figure is a ratio within one process of `kvcache bench`, which checks the agreement first;
processes of the modes alternate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bars import DOES_NOT_HOLD, HOLDS, PROGRAM, REPORTED, ROOT, Bar
from processes import ProcessError, run_quietly, say

BAD_INPUT = 2


@dataclass
class Figure:
    """A bar, the run of `kvcache bench` that measures it, and where it stands in the JSON."""

    bar: Bar
    options: tuple[str, ...]
    read: Callable[[dict], float]


FORK = ("--mode", "fork")
TREE = ("--mode", "tree", "--repeat", "3")
BATCH = ("--mode", "batch")
SHALLOW_BATCH = (*BATCH, "--depth", "8")
SAVE = ("--mode", "save")
WINDOW = ("--mode", "window")


def figures() -> list[Figure]:
    def batch(bench: dict) -> float:
        return bench["ways"][-2]["over_one_row"]["median"]

    def ragged(bench: dict) -> float:
        return bench["ragged_over_equal"]["median"]

    return [
        Figure(Bar("fork of 1,000 tokens", 10, "us"), FORK, lambda b: b["fork_us"]["median"]),
        Figure(Bar("bytes copied by forks", 0, ""), FORK, lambda b: b["bytes_copied_by_forks"]),
        Figure(
            Bar("copied by a fork's first write, of a block", 1, "x"),
            FORK,
            lambda b: b["bytes_copied_by_first_write"] / b["block_bytes"],
        ),
        Figure(
            Bar("tree of 64 siblings over 64 fresh forwards", 80, at_least=True),
            TREE,
            lambda b: b["over_fresh"]["median"],
        ),
        Figure(
            Bar("tree of 64 siblings over 64 forks", 10, at_least=True),
            TREE,
            lambda b: b["over_forks"]["median"],
        ),
        Figure(Bar("16 rows over one, depth 8", 10, at_least=True), SHALLOW_BATCH, batch),
        Figure(Bar("16 rows over one, depth 128", 10, at_least=True), BATCH, batch),
        Figure(Bar("ragged over equal rows, depth 8", 0.85, at_least=True), SHALLOW_BATCH, ragged),
        Figure(Bar("ragged over equal rows, depth 128", 0.85, at_least=True), BATCH, ragged),
        Figure(
            Bar("loading 1,000 tokens over computing them", 15, at_least=True),
            SAVE,
            lambda b: b["load_over_compute"]["median"],
        ),
        Figure(
            Bar("window of 512 + 512: token over one without slides", 2),
            WINDOW,
            lambda b: b["amortised_over_decode"],
        ),
    ]


def measure(build: Path, model: Path, rounds: int) -> tuple[list[Figure], list[dict], float]:
    """The figures with their values, every run's JSON, and the largest logit difference."""
    measured = figures()
    runs = []
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        for options in dict.fromkeys(figure.options for figure in measured):
            say(f"  kvcache bench {' '.join(options)}")
            command = [build / PROGRAM, "bench", model, *options, "--json", "-"]
            run = run_quietly(command, statuses=REPORTED)
            bench = json.loads(run.output)
            runs.append({"others": run.others, "quiet": run.quiet, "bench": bench})
            for figure in measured:
                if figure.options == options:
                    holds = bench["agreement"]["holds"] and not bench["broken"]
                    figure.bar.values.append(figure.read(bench) if holds else float("nan"))
    difference = max(run["bench"]["agreement"]["largest_logit_difference"] for run in runs)
    return measured, runs, difference


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measures the bars of forks, trees, batches and saved states.",
        epilog="Exit status: 0 every bar holds, 1 one does not, 2 bad input.",
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    parser.add_argument("--model", type=Path, default=ROOT / "models", help="default: models")
    parser.add_argument("--rounds", type=int, default=3, help="alternations (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes raw figures there")
    arguments = parser.parse_args()
    try:
        measured, runs, difference = measure(arguments.build, arguments.model, arguments.rounds)
    except ProcessError as error:
        say(f"error: {error}")
        return BAD_INPUT
    print("| figure | limit | median | spread | runs | |")
    print("| --- | ---: | ---: | ---: | ---: | --- |")
    for figure in measured:
        print(figure.bar.row())
    print(f"\nLargest logit difference from a forward without cache: {difference:.1e}")
    disturbed = sum(not run["quiet"] for run in runs)
    if disturbed:
        print(f"Other processes disturbed {disturbed} of {len(runs)} processes.")
    if arguments.json:
        bars = [
            {**asdict(figure.bar), "median": median(figure.bar.values), "holds": figure.bar.holds}
            for figure in measured
        ]
        document = {"format": "kvcache-bars", "format_version": 1, "bars": bars, "runs": runs}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return HOLDS if all(figure.bar.holds for figure in measured) else DOES_NOT_HOLD


if __name__ == "__main__":
    sys.exit(main())
