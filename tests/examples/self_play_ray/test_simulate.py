"""The simulation against what can be computed, and the README's figures against the simulation."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from self_play_ray.simulate import Cluster, simulate

README = Path(__file__).resolve().parents[3] / "examples" / "self_play_ray" / "README.md"


def test_without_chance_it_is_arithmetic() -> None:
    cluster = Cluster(10, game_seconds=4, spread=0, lease_overhead=1, driver_seconds=0)
    outcome = simulate(cluster, games=200, lease_games=5, seed=1)
    assert outcome.seconds == pytest.approx(4 * (5 * 4 + 1))  # 4 leases of each worker
    assert outcome.efficiency == pytest.approx(20 / 21)
    assert (outcome.games, outcome.repeated, outcome.lost_workers) == (200, 0, 0)


def test_a_driver_that_is_slower_than_its_workers_is_the_bound() -> None:
    cluster = Cluster(100, game_seconds=1, driver_seconds=0.05)
    outcome = simulate(cluster, games=2000, lease_games=1, seed=1)
    assert outcome.seconds == pytest.approx(2000 * 0.05, rel=0.05)
    assert outcome.driver_share > 0.95


@pytest.mark.parametrize("seed", range(5))
def test_deaths_cost_half_a_lease_and_the_replacing(seed: int) -> None:
    print(f"seed {seed}")
    mortal = Cluster(50, game_seconds=10, seconds_to_death=2000, seconds_to_replace=60)
    outcome = simulate(mortal, games=20_000, lease_games=4, seed=seed)
    immortal = dataclasses.replace(mortal, seconds_to_death=float("inf"))
    without = simulate(immortal, games=20_000, lease_games=4, seed=seed)
    assert outcome.games == 20_000
    assert outcome.lost_workers > 50
    expected = 1 / (1 + (60 + 20) / 2000)
    assert outcome.efficiency / without.efficiency == pytest.approx(expected, rel=0.03)


def test_the_readmes_table_is_what_the_simulation_says() -> None:
    row = re.compile(r"^\| ([\d,]+) \| (\d+) \| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \|$", re.MULTILINE)
    rows = row.findall(README.read_text(encoding="utf-8"))
    assert len(rows) == 4
    for machines, lease, games, efficiency, driver in rows:
        workers, count = int(machines.replace(",", "")), int(games.replace(",", ""))
        cluster = Cluster(workers, games_at_once=16, seconds_to_death=86_400)
        outcome = simulate(cluster, count, int(lease), seed=1)
        assert f"{100 * outcome.efficiency:.1f}" == efficiency
        assert f"{100 * outcome.driver_share:.1f}" == driver
