"""An order on a made-up cluster of any size, event by event: checks the README's arithmetic.

Machines play leases, die and come back; one driver takes results in, one after the other, each
for the time that it costs. No game is played and no clock waited for.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

from self_play_ray.leases import Lease, Leases
from self_play_ray.number_set import NumberSet


@dataclass(frozen=True)
class Cluster:
    """What an order runs on; times in seconds."""

    workers: int
    games_at_once: int = 1  # of a worker; a lease takes as long as its games in such rounds
    game_seconds: float = 60
    spread: float = 0.3  # of a game's time, relative, uniform to both sides
    lease_overhead: float = 0.2  # a program's start and the model's loading
    driver_seconds: float = 0.0005  # of one game, to take it in and store it: 0.33 ms measured
    seconds_to_death: float = float("inf")  # of a worker, in the mean
    seconds_to_replace: float = 60


@dataclass(frozen=True)
class Outcome:
    """How it went."""

    seconds: float
    games: int
    repeated: int
    lost_workers: int
    efficiency: float  # games' time over that of all workers
    driver_share: float  # of the time that the driver was busy


def simulate(cluster: Cluster, games: int, lease_games: int, seed: int) -> Outcome:
    """Play an order to its end."""
    chance = random.Random(seed)
    leases = Leases([range(games)], lease_games, most_losses=1 << 30)
    stored = NumberSet()
    order = 0
    events: list[tuple[float, int, int, str, Lease | None]] = []
    idle: list[int] = []
    dies: dict[int, float] = {}
    workers, lost, repeated = 0, 0, 0
    now = driver_free = driver_busy = 0.0

    def add(at: float, worker: int, what: str, lease: Lease | None = None) -> None:
        nonlocal order
        order += 1  # events of one moment keep the order in which they were made
        heapq.heappush(events, (at, order, worker, what, lease))

    def begin(worker: int, lease: Lease) -> None:
        rounds = -(-lease.count // cluster.games_at_once)
        each = cluster.game_seconds * chance.uniform(1 - cluster.spread, 1 + cluster.spread)
        end = now + cluster.lease_overhead + rounds * each
        if dies[worker] <= end:
            add(dies[worker], worker, "dies")
        else:
            add(end, worker, "plays", lease)

    for _ in range(cluster.workers):
        add(0, workers, "comes")
        workers += 1
    while len(stored) < games:
        now, _, worker, what, lease = heapq.heappop(events)
        if what == "comes":
            life = cluster.seconds_to_death
            dies[worker] = now + (chance.expovariate(1 / life) if life < float("inf") else life)
            idle.append(worker)
        elif what == "plays":
            # The driver is one: a result waits until those before it are taken in.
            assert lease is not None
            busy = lease.count * cluster.driver_seconds
            driver_free = max(driver_free, now) + busy
            driver_busy += busy
            add(driver_free, worker, "stored", lease)
        elif what == "stored":
            assert lease is not None
            repeated += sum(not stored.add(number) for number in lease.games)
            leases.finished(lease)
            idle.append(worker)
        else:
            lost += 1
            leases.lost(worker, "died")
            add(now + cluster.seconds_to_replace, workers, "comes")
            workers += 1
        while idle and (granted := leases.grant(idle[-1], now)):
            begin(idle.pop(), granted)
    work = games * cluster.game_seconds / cluster.games_at_once
    return Outcome(
        seconds=now,
        games=len(stored),
        repeated=repeated,
        lost_workers=lost,
        efficiency=work / (now * cluster.workers),
        driver_share=driver_busy / now,
    )
