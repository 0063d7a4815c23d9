"""Players in this process: threads, each with a program of its own. What Ray is not needed for."""

from __future__ import annotations

import queue
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

from self_play_ray.errors import BadPlayError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.player import Game
from self_play_ray.pool import Event, Failed, Finished, Ready


class Plays(Protocol):
    """A Player, or what tests put in its place."""

    def play(self, lease: Lease) -> list[Game]:
        """As Player.play()."""

    def close(self) -> None:
        """As Player.close()."""


class LocalPool:
    """As many players as asked for; none of them is ever lost."""

    def __init__(self, make_player: Callable[[], Plays], workers: int) -> None:
        """Make a player, which all threads use.

        Raises:
            BadPlayError: as Player.
        """
        self._player = make_player()
        self._events: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="player")
        for worker in range(workers):
            self._events.put(Ready(worker))

    def play(self, worker: int, lease: Lease) -> None:
        """As Pool.play()."""
        self._threads.submit(self._play, worker, lease)

    def wait(self, seconds: float) -> list[Event]:
        """As Pool.wait()."""
        events: list[Event] = []
        try:
            event = self._events.get(timeout=seconds)
            while True:
                if isinstance(event, Exception):
                    raise event
                events.append(event)
                event = self._events.get_nowait()
        except queue.Empty:
            return events

    def close(self) -> None:
        """As Pool.close()."""
        self._player.close()
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _play(self, worker: int, lease: Lease) -> None:
        try:
            self._events.put(Finished(worker, lease, self._player.play(lease)))
        except BadPlayError as error:
            self._events.put(error)
        except PlayError as error:
            self._events.put(Failed(worker, lease, str(error)))
        except Exception as error:  # for wait() to raise: nobody looks into this thread
            self._events.put(error)
