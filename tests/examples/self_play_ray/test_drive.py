"""Every game of an order arrives once, whoever dies when."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: requirements-ray.txt")

from made_up_workers import RandomPool, game
from self_play_ray.drive import DriveOptions, drive
from self_play_ray.errors import LostTooOftenError
from self_play_ray.order import Order
from self_play_ray.store import Store, games_of


def play(directory: Path, order: Order, pool: RandomPool, options: DriveOptions) -> int:
    with Store(directory, order, part_games=17) as store:
        return drive(store, pool, options, clock=lambda: pool.now).games


@pytest.mark.parametrize("seed", range(40))
def test_every_game_is_there_once_whatever_dies(tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    order = Order(games=chance.randint(1, 150), player="rollouts")
    options = DriveOptions(
        lease_games=chance.randint(1, 9),
        lease_seconds=chance.choice([2, 5, 1e9]),  # turns: 2 and 5 lend what is only late
        most_losses=1000,
        part_seconds=chance.randint(1, 50),
    )
    interrupted = 0
    for attempt in range(3):
        ends = chance.randint(1, 12) if attempt < 2 else 1 << 60
        pool = RandomPool(chance.random(), chance.randint(1, 6), deaths=20, ends_after=ends)
        try:
            play(tmp_path, order, pool, options)
        except KeyboardInterrupt:
            interrupted += 1
    found = sorted(games_of(tmp_path), key=lambda one: one["number"])
    assert found == [game(number) for number in range(order.games)], f"seed {seed}"
    assert interrupted <= 2


def test_a_killed_driver_loses_what_no_part_holds_and_plays_it_again(tmp_path: Path) -> None:
    order = Order(games=40, player="rollouts")
    store = Store(tmp_path, order, part_games=1000)
    store.add(map(game, range(10)))
    store.flush()
    store.add(map(game, range(10, 15)))
    store._lock.close()  # what the kernel does for a process that is killed
    (tmp_path / "part-000001.parquet.unfinished").write_bytes(b"PAR1 and no more")
    pool = RandomPool(1, 2, deaths=0)
    assert play(tmp_path, order, pool, DriveOptions()) == 30
    assert sorted(one["number"] for one in games_of(tmp_path)) == list(range(40))
    assert not list(tmp_path.glob("*.unfinished"))


def test_games_that_take_every_worker_with_them_end_the_run(tmp_path: Path) -> None:
    pool = RandomPool(3, 1, deaths=1 << 30)
    pool._random.random = lambda: 0.4  # everyone dies
    with pytest.raises(LostTooOftenError, match=r"games 0 to 7 were lost 5 times, .*: killed"):
        play(tmp_path, Order(games=40, player="rollouts"), pool, DriveOptions())
