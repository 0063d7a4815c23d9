"""Has an order played: lends games to workers, stores what comes, until all are there."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from self_play_ray.leases import Leases
from self_play_ray.pool import Failed, Finished, Lost, Pool, Ready
from self_play_ray.store import Store

TICK = 0.5  # seconds after which late leases and the time of a part are looked at


@dataclass(frozen=True)
class DriveOptions:
    """How an order is driven; none of it changes a game."""

    lease_games: int = 8
    lease_seconds: float = 3600  # then a lease is lent to another worker too
    most_losses: int = 5
    part_seconds: float = 30  # the most play that a killed driver loses


@dataclass
class Report:
    """What a run was like."""

    games: int = 0  # that were new
    repeated: int = 0  # that had come before, and were left out
    moves: int = 0
    lost_workers: int = 0
    failed_leases: int = 0
    seconds: float = 0  # from the first worker's coming to the last game's


def drive(
    store: Store,
    pool: Pool,
    options: DriveOptions,
    *,
    progress: Callable[[int], object] = lambda _: None,
    note: Callable[[str], object] = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Report:
    """Play what a store lacks.

    Args:
        progress: is told how many games are there.
        note: is told of lost workers and failed leases, a line each.

    Raises:
        SelfPlayError: games cannot be played or stored. What has come is in the store.
    """
    report = Report()
    missing = store.missing()
    left = sum(map(len, missing))
    there = len(store)
    leases = Leases(
        missing,
        options.lease_games,
        seconds=options.lease_seconds,
        most_losses=options.most_losses,
    )
    idle: list[int] = []
    began = part_began = clock()
    first = True
    progress(there)
    while report.games < left:
        for event in pool.wait(TICK):
            match event:
                case Ready():
                    if first:
                        first, began = False, clock()
                    idle.append(event.worker)
                case Finished():
                    new = store.add(event.games)
                    report.games += new
                    report.repeated += len(event.games) - new
                    report.moves += sum(len(game["moves"]) for game in event.games)
                    leases.finished(event.lease)
                    idle.append(event.worker)
                    progress(there + report.games)
                case Failed():
                    report.failed_leases += 1
                    note(f"games from {event.lease.first} on failed: {event.why}")
                    leases.failed(event.lease, event.why)
                    idle.append(event.worker)
                case Lost():
                    report.lost_workers += 1
                    idle = [worker for worker in idle if worker != event.worker]
                    again = sum(lease.count for lease in leases.lost(event.worker, event.why))
                    note(f"a worker is lost ({event.why}); {again} games are played again")
        now = clock()
        if now - part_began >= options.part_seconds:
            store.flush()
            part_began = now
        while idle and (lease := leases.grant(idle[0], now)):
            pool.play(idle.pop(0), lease)
    report.seconds = clock() - began
    store.flush()
    return report
