"""Workers that play made-up games in no time, and die at random moments: what Ray's do, seeded."""

from __future__ import annotations

import random
from typing import Any

from self_play_ray.leases import Lease
from self_play_ray.pool import Event, Failed, Finished, Lost, Ready


def game(number: int) -> dict[str, Any]:
    """A game that its number decides."""
    moves = ["aa", "Pass"] * (1 + number % 3)
    search = {"ply": 0, "moves": ["aa", "Pass"], "visits": [number % 7, 1], "value": number / 8}
    return {
        "number": number,
        "seed": (1 << 63) + number,
        "board": [5, 5, 1],
        "moves": moves,
        "score": number % 5 - 2,
        "searches": [search],
    }


class RandomPool:
    """Each turn workers finish, fail, die, are late or come, as chance has it."""

    def __init__(self, seed: int, workers: int, *, deaths: int, ends_after: int = 1 << 60) -> None:
        self._random = random.Random(seed)
        self.deaths = deaths  # that are still to come
        self._ends_after = ends_after  # turns, after which the driver itself is interrupted
        self._next = workers
        self._events: list[Event] = [Ready(worker) for worker in range(workers)]
        self.playing: dict[int, Lease] = {}
        self.now = 0.0

    def play(self, worker: int, lease: Lease) -> None:
        assert worker not in self.playing
        self.playing[worker] = lease

    def wait(self, _seconds: float) -> list[Event]:
        self.now += 1
        if self.now > self._ends_after:
            raise KeyboardInterrupt
        events, self._events = self._events, []
        for worker, lease in list(self.playing.items()):
            chance = self._random.random()
            if chance < 0.3:
                events.append(Finished(worker, lease, [game(number) for number in lease.games]))
            elif chance < 0.32:
                events.append(Failed(worker, lease, "out of luck"))
            elif chance < 0.45 and self.deaths:
                self.deaths -= 1
                events.append(Lost(worker, "killed"))
                self._events.append(Ready(self._next))
                self._next += 1
            else:
                continue
            del self.playing[worker]
        return events

    def close(self) -> None:
        self.playing.clear()
