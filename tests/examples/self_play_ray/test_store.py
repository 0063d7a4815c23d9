"""The store: each game once, whole files only, one order, one writer."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="pyarrow is not installed: requirements-ray.txt")

from made_up_workers import game
from self_play_ray.errors import OrderError, StoreError
from self_play_ray.order import Order
from self_play_ray.store import Store, games_of, parts_of

ORDER = Order(games=30, player="rollouts")


def test_a_game_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER) as store:
        assert store.add(map(game, [3, 4])) == 2
        assert store.add(map(game, [4, 5])) == 1
        store.flush()
        assert store.add(map(game, [3, 5])) == 0
        assert store.missing() == [range(3), range(6, 30)]
    with Store(tmp_path, ORDER) as store:
        assert (len(store), store.add([game(4)])) == (3, 0)
    assert list(games_of(tmp_path)) == [game(3), game(4), game(5)]


def test_what_is_not_the_orders_is_refused(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER) as store, pytest.raises(StoreError, match="game 30 is not one of"):
        store.add([game(30)])
    with pytest.raises(OrderError, match=r"another order .seed: 7, not 42"):
        Store(tmp_path, Order(games=30, player="rollouts", seed=7))
    with pytest.raises(OrderError, match="a store of 30 games; 20 are less"):
        Store(tmp_path, Order(games=20, player="rollouts"))


def test_an_order_may_grow(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER) as store:
        store.add(map(game, range(30)))
    with Store(tmp_path, Order(games=32, player="rollouts")) as store:
        assert store.missing() == [range(30, 32)]


def test_one_process_writes(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER), pytest.raises(StoreError, match="another process writes"):
        Store(tmp_path, ORDER)


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER) as store:
        store.add([game(1)])
    part = parts_of(tmp_path)[0]
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(StoreError, match=f"{part} is damaged"):
        Store(tmp_path, ORDER)


def test_two_parts_with_one_game_are_told(tmp_path: Path) -> None:
    with Store(tmp_path, ORDER) as store:
        store.add([game(1)])
    part = parts_of(tmp_path)[0]
    part.with_name("part-000007.parquet").write_bytes(part.read_bytes())
    with pytest.raises(StoreError, match="holds game 1, which a part before it has"):
        Store(tmp_path, ORDER)
