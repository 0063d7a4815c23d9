"""What counts of a measurement, and what ends it, by a clock that the test moves."""

from __future__ import annotations

import pytest
from made_up_workers import game
from self_play_ray.errors import ClusterError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.pool import Event, Failed, Finished, Lost, Ready
from self_play_ray.timed_pool import EnoughError, TimedPool


class Script:
    """A pool in which happens what is written, each at its time."""

    def __init__(self, *events: tuple[float, Event]) -> None:
        self.now = 0.0
        self._events = list(events)
        self.closed = False

    def play(self, worker: int, lease: Lease) -> None:
        pass

    def wait(self, seconds: float) -> list[Event]:
        if not self._events:
            self.now += seconds
            return []
        self.now, event = self._events.pop(0)
        return [event]

    def close(self) -> None:
        self.closed = True


def lease(number: int, count: int) -> Lease:
    return Lease(number, 10 * number, count)


def finished(worker: int, number: int, count: int) -> Finished:
    one = lease(number, count)
    return Finished(worker, one, [game(played) for played in one.games])


def timed(script: Script, workers: int, seconds: float) -> TimedPool:
    return TimedPool(script, workers, seconds, seconds_to_come=60, clock=lambda: script.now)


def test_leases_that_began_in_time_count_whole() -> None:
    script = Script(
        (1, Ready(0)),
        (7, Ready(1)),
        (10, finished(0, 0, 4)),  # 3 s after both had come
        (12, finished(1, 1, 2)),
        (19, finished(1, 3, 2)),  # the last of worker 1 that counts; it plays on
        (21, finished(0, 2, 4)),  # begun before 17, when the 10 s were over
    )
    pool = timed(script, 2, 10)
    assert pool.wait(1) == []
    assert pool.wait(1) == [Ready(0), Ready(1)]
    for worker in (0, 1):
        pool.play(worker, lease(worker, 4))
    for number in (2, 3, 4):
        (event,) = pool.wait(1)
        assert isinstance(event, Finished)
        pool.play(event.worker, lease(number, 4))
    with pytest.raises(EnoughError):
        pool.wait(1)
    expected = 8 / 14 + 4 / 12
    assert pool.per_second()["games"] == pytest.approx(expected)
    moves = [sum(len(game(number)["moves"]) for number in games) for games in (
        [*range(4), *range(20, 24)], [*range(10, 12), *range(30, 32)])]  # fmt: skip
    assert pool.per_second()["moves"] == pytest.approx(moves[0] / 14 + moves[1] / 12)
    assert pool.leases() == 4
    pool.close()
    assert script.closed


def test_what_began_too_late_does_not_count_but_each_has_a_lease() -> None:
    script = Script((0, Ready(0)), (9, finished(0, 0, 8)))
    pool = timed(script, 1, 2)
    pool.wait(1)
    pool.play(0, lease(0, 8))
    with pytest.raises(EnoughError):
        pool.wait(1)
    assert pool.per_second()["games"] == pytest.approx(8 / 9)


def test_a_measurement_with_a_loss_is_none() -> None:
    for event, error in (
        (Failed(0, lease(0, 8), "out of luck"), PlayError),
        (Lost(0, "killed"), ClusterError),
    ):
        pool = timed(Script((0, Ready(0)), (1, event)), 1, 10)
        pool.wait(1)
        pool.play(0, lease(0, 8))
        with pytest.raises(error, match=r"out of luck|killed"):
            pool.wait(1)


def test_workers_that_do_not_come_are_told() -> None:
    pool = timed(Script((1, Ready(0))), 2, 10)
    with pytest.raises(ClusterError, match="1 of 2 workers have come within 60 s; has the"):
        for _ in range(62):
            assert pool.wait(1) == []
