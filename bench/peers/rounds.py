"""The figures of a run, a file each, so that a run that is cut off loses none; and its progress."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from processes import say

Figures = dict[str, Any]
SECONDS = "seconds"  # that a measurement took, waiting for a quiet machine included
MINUTE = 60


def write_whole(path: Path, text: str) -> None:
    """A file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


class Rounds:
    """So many rounds of the same measurements; those that a folder holds are not made again.

    Args:
        guess: the seconds that one is expected to take before it was made once.
    """

    def __init__(self, folder: Path, names: Sequence[str], count: int, guess: float):
        self._folder, self._names, self._count = folder, list(names), count
        self._guess = guess

    def steps(self) -> list[tuple[int, str]]:
        """All measurements, in order: every other round backwards, so that nobody always comes
        after the same one; who stands beside kvcache stays there."""
        return [
            (number, name)
            for number in range(1, self._count + 1)
            for name in (self._names if number % 2 else reversed(self._names))
        ]

    def make(self, measure: Callable[[int, str], Figures]) -> list[dict[str, Figures]]:
        """Makes what is missing; the figures of each round, by name."""
        steps = self.steps()
        for place, (number, name) in enumerate(steps):
            path = self._path(number, name)
            if path.exists():
                continue
            missing = [step for step in steps if not self._path(*step).exists()]
            minutes = max(1, round(self._time_left_s(missing) / MINUTE))
            say(
                f"{place + 1} of {len(steps)}: round {number} of {self._count}, {name};"
                f" {len(missing)} left, about {minutes} min"
            )
            begin = time.monotonic()
            figures = measure(number, name)
            path.parent.mkdir(exist_ok=True)
            write_whole(path, json.dumps({**figures, SECONDS: time.monotonic() - begin}))
        return [
            {name: json.loads(self._path(number, name).read_text()) for name in self._names}
            for number in range(1, self._count + 1)
        ]

    def _path(self, number: int, name: str) -> Path:
        file = re.sub(r"[^a-z0-9]+", "-", name.lower())
        return self._folder / f"round-{number}" / f"{self._names.index(name):02}-{file}.json"

    def _time_left_s(self, missing: Sequence[tuple[int, str]]) -> float:
        """Each step as it took in the rounds so far, or as was guessed."""
        found: dict[str, list[float]] = {}
        for number, name in self.steps():
            path = self._path(number, name)
            if path.exists():
                found.setdefault(name, []).append(json.loads(path.read_text())[SECONDS])
        return sum(fmean(found.get(name, [self._guess])) for _, name in missing)
