"""A pool that measures: how much its workers play in a second while all of them are at work.

An order's beginning, when workers come one after the other, and its end, when the first of them
have nothing left to do, say little of a long one. Here play begins when all workers have come, and
goes on with new leases until each has ended the last one that counts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from self_play_ray.errors import ClusterError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.pool import Event, Failed, Finished, Lost, Pool, Ready


class EnoughError(Exception):
    """All that counts has been played; what ends drive()."""


@dataclass
class Played:
    """By one worker, of the leases that count: from the first's beginning to the last's end."""

    began: float
    ended: float = 0
    leases: int = 0
    games: int = 0
    moves: int = 0


class TimedPool:
    """Another pool, for one measurement; to be driven with an order that does not end before it."""

    def __init__(
        self,
        pool: Pool,
        workers: int,
        seconds: float,
        *,
        seconds_to_come: float = 120,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait for the workers.

        Args:
            workers: of the pool, all of which are to be at work.
            seconds: a lease that begins within these counts, all of it.
            seconds_to_come: after which workers that have not come are an error.
        """
        self._pool, self._workers, self._seconds = pool, workers, seconds
        self._seconds_to_come, self._clock = seconds_to_come, clock
        self._since = clock()
        self._come: list[Event] = []  # held back until all have come
        self._until: float | None = None
        self._counts: set[int] = set()  # who plays a lease that counts
        self._played: dict[int, Played] = {}

    def play(self, worker: int, lease: Lease) -> None:
        """As Pool.play()."""
        now = self._clock()
        if self._until is None:
            self._until = now + self._seconds
        if now < self._until or worker not in self._played:
            self._counts.add(worker)
            self._played.setdefault(worker, Played(now))
        self._pool.play(worker, lease)

    def wait(self, seconds: float) -> list[Event]:
        """As Pool.wait().

        Raises:
            EnoughError: all that counts has been played.
            ClusterError: not all workers have come in time, or one was lost.
            PlayError: a lease failed.
        """
        events = self._pool.wait(seconds)
        now = self._clock()
        for event in events:
            match event:
                case Ready():
                    self._come.append(event)
                case Finished():
                    self._count(event, now)
                case Failed():
                    raise PlayError(f"games from {event.lease.first} on failed: {event.why}")
                case Lost():
                    raise ClusterError(f"a worker was lost ({event.why}): measure again")
        if self._until is None:
            if len(self._come) == self._workers:
                return self._come
            if now - self._since > self._seconds_to_come:
                raise ClusterError(
                    f"{len(self._come)} of {self._workers} workers have come within"
                    f" {self._seconds_to_come:g} s; has the cluster room for all of them?"
                )
            return []
        if now >= self._until and not self._counts:
            raise EnoughError
        return events

    def close(self) -> None:
        """As Pool.close()."""
        self._pool.close()

    def per_second(self) -> dict[str, float]:
        """Games and moves in a second: the sum of what each worker played over its own time."""
        all_ = [(one, one.ended - one.began) for one in self._played.values()]
        return {
            "games": sum(one.games / seconds for one, seconds in all_),
            "moves": sum(one.moves / seconds for one, seconds in all_),
        }

    def leases(self) -> int:
        """That count."""
        return sum(one.leases for one in self._played.values())

    def _count(self, event: Finished, now: float) -> None:
        if event.worker not in self._counts:
            return
        self._counts.remove(event.worker)
        one = self._played[event.worker]
        one.ended = now
        one.leases += 1
        one.games += len(event.games)
        one.moves += sum(len(game["moves"]) for game in event.games)
