"""What a user waits for: time from the start of a process to its 1st, 16th and 64th token.

    .venv/bin/python bench/first_tokens.py models --json first-tokens.json

Each way of keeping the weights decodes from one token, each run in a process of its own, the ways
in turn in every round. The file is in the system's cache (warm), was just written (written), or has
been dropped from the cache and comes from the disk (dropped).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes import say, wait_until_quiet

ROOT = Path(__file__).resolve().parent.parent
TOKENS = (1, 16, 64)
WAYS = {  # options of `kvcache generate`
    "as it is": (),
    "copied during the load": ("--weight-memory", "copied"),
    "moved beside the tokens": ("--runs-before-move", "0"),
    "mapped": ("--weight-memory", "mapped"),
}
STATES = ("warm", "written", "dropped")


def times_of(command: list[str | Path]) -> dict[int, float]:
    """Milliseconds from the process's start to when its nth token has been read."""
    begin = time.perf_counter()
    times = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0) as process:
        count = 0
        while piece := os.read(process.stdout.fileno(), 4096):
            # Tokens come one by one, a space before each but the first.
            count += len(piece.split())
            for wanted in TOKENS:
                if count >= wanted and wanted not in times:
                    times[wanted] = (time.perf_counter() - begin) * 1000
        if process.wait() != 0:
            raise SystemExit(f"{command[0]} ended with status {process.returncode}")
    return times


@contextmanager
def in_state(model: Path, state: str) -> Iterator[Path]:
    """The model, with its files as `state` says."""
    if state == "written":
        with tempfile.TemporaryDirectory(dir=model.parent) as directory:
            copy = Path(directory) / "model"
            shutil.copytree(model, copy)
            yield copy
        return
    for path in model.iterdir():
        with path.open("rb") as file:
            if state == "dropped":
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while file.read(1 << 24):
                    pass
    yield model


def measure(program: Path, model: Path, rounds: int, states: list[str], ways: list[str]) -> dict:
    samples = {s: {w: {n: [] for n in TOKENS} for w in ways} for s in states}
    for number in range(rounds):
        for state in states:
            for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
                wait_until_quiet()
                with in_state(model, state) as path:
                    generate = ["generate", path, "--ids", "1", "--max-new-tokens", max(TOKENS)]
                    times = times_of([program, *map(str, generate), *WAYS[way]])
                for wanted, taken in times.items():
                    samples[state][way][wanted].append(round(taken, 2))
            say(f"round {number + 1} of {rounds}, {state}")
    return samples


def table(samples: dict) -> str:
    """Medians in milliseconds, and the spread."""
    lines = [f"{'':34}" + "".join(f"{f'token {n}':>22}" for n in TOKENS)]
    for state, ways in samples.items():
        for way, tokens in ways.items():
            cells = (
                f"{statistics.median(t):.0f} ({min(t):.0f} … {max(t):.0f})" for t in tokens.values()
            )
            lines.append(f"{state:9} {way:24}" + "".join(f"{cell:>22}" for cell in cells))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--program", type=Path, default=ROOT / "build" / "kvcache")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--states", nargs="+", choices=STATES, default=list(STATES))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--json", type=Path, help="everything measured")
    arguments = parser.parse_args()
    samples = measure(
        arguments.program, arguments.model, arguments.rounds, arguments.states, arguments.ways
    )
    print(table(samples))
    if arguments.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count()}
        result = {"format": "kvcache-first-tokens", "machine": machine, "milliseconds": samples}
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
