"""What drives an order sees of the workers that play it, wherever they run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from self_play_ray.leases import Lease
from self_play_ray.player import Game


@dataclass(frozen=True)
class Ready:
    """A worker has come, at the beginning or in place of a lost one."""

    worker: int


@dataclass(frozen=True)
class Finished:
    """A worker has played a lease."""

    worker: int
    lease: Lease
    games: list[Game]


@dataclass(frozen=True)
class Failed:
    """A worker could not play a lease, and waits for another."""

    worker: int
    lease: Lease
    why: str


@dataclass(frozen=True)
class Lost:
    """A worker is gone; its number is never used again."""

    worker: int
    why: str


Event = Ready | Finished | Failed | Lost


class Pool(Protocol):
    """Workers that come and go."""

    def play(self, worker: int, lease: Lease) -> None:
        """Begin a lease; what comes of it is told by wait()."""

    def wait(self, seconds: float) -> list[Event]:
        """What has happened, after at most this long.

        Raises:
            SelfPlayError: no worker can play this order.
        """

    def close(self) -> None:
        """End all workers, at work or not."""
