"""Leases and sets of numbers, without anybody who plays."""

from __future__ import annotations

import random

import pytest
from self_play_ray.errors import OrderError
from self_play_ray.leases import Leases
from self_play_ray.number_set import NumberSet
from self_play_ray.order import Order, read_order


def test_what_a_worker_had_is_lent_again_first() -> None:
    leases = Leases([range(2, 7), range(9, 10)], 3)
    first, second = leases.grant("a", 0), leases.grant("b", 0)
    assert first is not None
    assert second is not None
    assert (first.games, second.games) == (range(2, 5), range(5, 7))
    assert leases.lost("a", "killed") == [first]
    again, last = leases.grant("b", 0), leases.grant("b", 0)
    assert again is not None
    assert last is not None
    assert (again.games, again.losses, last.games) == (range(2, 5), 1, range(9, 10))
    assert leases.grant("b", 0) is None


def test_a_late_lease_is_lent_to_another_unless_it_comes_first() -> None:
    leases = Leases([range(4)], 4, seconds=10)
    late = leases.grant("a", 0)
    assert late is not None
    assert leases.grant("b", 10) is None
    again = leases.grant("b", 11)
    assert again is not None
    assert again.games == late.games
    leases.failed(again, "no luck")
    leases.finished(late)
    assert leases.grant("b", 12) is None


@pytest.mark.parametrize("seed", range(20))
def test_a_number_set_is_a_set(seed: int) -> None:
    print(f"seed {seed}")
    chance, ours, plain = random.Random(seed), NumberSet(), set()
    for _ in range(200):
        number = chance.randrange(60)
        assert ours.add(number) == (number not in plain)
        plain.add(number)
        assert len(ours) == len(plain)
        missing = [number for span in ours.missing(50) for number in span]
        assert missing == [number for number in range(50) if number not in plain]


def test_an_order_comes_back_from_its_text_and_bad_ones_are_refused() -> None:
    order = Order(games=5, seed=(1 << 64) - 1)
    assert read_order(order.to_json(), "x") == order
    with pytest.raises(OrderError, match="games is 0; it must be from 1 to"):
        Order(games=0)
    for text in ("", "[]", '{"games": "7"}', '{"games": 7, "other": 1}'):
        with pytest.raises(OrderError, match=r"order\.json holds no order"):
            read_order(text, "order.json")
