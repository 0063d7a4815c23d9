#!/usr/bin/env python3
"""Measures games a second by the number of actors, and prints JSON; see --help.

Each number is run on the same order, `--rounds` times in turn, so that what else the machine does
meets all of them. What is left out: Ray's start and the actors' coming.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Run the command; the exit status of the first run that fails, or 0."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="Options behind -- are those of self_play_ray, such as -- --workers ray --model DIR"
        " --games 512 --gpus 1 --in-flight 64",
    )
    parser.add_argument("--actors", type=int, nargs="+", default=[1, 2, 4], metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="(default: 3)")
    parser.add_argument("others", nargs="*")
    options = parser.parse_args()
    found: dict[int, list[float]] = {actors: [] for actors in options.actors}
    for _ in range(options.rounds):
        for actors, samples in found.items():
            with tempfile.TemporaryDirectory() as store:
                figures = Path(store) / "figures.json"
                command = [
                    sys.executable,
                    HERE,
                    "--store",
                    store,
                    "--actors",
                    str(actors),
                    "--quiet",
                ]
                finished = subprocess.run(
                    [*command, "--json", figures, *options.others],
                    stdout=subprocess.DEVNULL,
                    check=False,
                )
                if finished.returncode != 0:
                    return finished.returncode
                samples.append(json.loads(figures.read_text())["games_per_s"])
    first = options.actors[0]
    base = statistics.median(found[first]) / first
    rows = [
        {
            "actors": actors,
            "games_per_s": samples,
            "median": statistics.median(samples),
            "share_of_n_times_one": statistics.median(samples) / (actors * base),
        }
        for actors, samples in found.items()
    ]
    print(json.dumps({"options": options.others, "rows": rows}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
