"""Two nodes of a Ray cluster, one of them killed in mid-run, twenty times over."""

from __future__ import annotations

import functools
import os
import random
import signal
import time
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="Ray is not installed: requirements-ray.txt")

import ray
from self_play_ray.drive import DriveOptions, drive
from self_play_ray.errors import ClusterError
from self_play_ray.order import Order
from self_play_ray.player import Player, PlayerOptions
from self_play_ray.ray_pool import Placement, RayPool, connect
from self_play_ray.records import line_of
from self_play_ray.store import Store, games_of

pytestmark = pytest.mark.full
ROOT = Path(__file__).resolve().parents[3]
PROGRAM = str(Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build")) / "trigo_selfplay")
ORDER = Order(games=24, simulations=1500, player="rollouts")
PLAYER = functools.partial(Player, ORDER, PlayerOptions(PROGRAM), None)
TIMES = 20


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False}
    )
    connect(found.address)
    yield found
    ray.shutdown()
    found.shutdown()


def lines(games) -> list[str]:
    return [line_of(one) for one in sorted(games, key=lambda one: one["number"])]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What one process plays."""
    from self_play_ray.local_pool import LocalPool

    directory = tmp_path_factory.mktemp("local")
    pool = LocalPool(PLAYER, 2)
    with Store(directory, ORDER) as store:
        drive(store, pool, DriveOptions())
    pool.close()
    return lines(games_of(directory))


def is_alive(node) -> bool:
    return any(one["Alive"] and one["NodeID"] == node.node_id for one in ray.nodes())


def kill(node) -> None:
    """End a node's processes at once, as a machine's end does."""
    raylet = node.all_processes["raylet"][0].process.pid
    tasks = Path(f"/proc/{raylet}/task").glob("*/children")
    for child in [int(pid) for task in tasks for pid in task.read_text().split()]:
        os.kill(child, signal.SIGKILL)
    node.kill_raylet()


@pytest.mark.parametrize("seed", range(TIMES))
def test_a_killed_nodes_games_come_once(cluster, expected, tmp_path: Path, seed: int) -> None:
    print(f"seed {seed}")
    node = cluster.add_node(num_cpus=2, wait=False)
    while not is_alive(node):
        time.sleep(0.05)
    pool = RayPool(PLAYER, 4, Placement(cpus=1))
    moment = random.Random(seed).randint(5, ORDER.games // 2)  # games that are there by then
    killed = False

    def progress(done: int) -> None:
        nonlocal killed
        if done >= moment and not killed:  # with it go its workers, without a word to anybody
            kill(node)
            killed = True

    with Store(tmp_path, ORDER) as store:
        report = drive(store, pool, DriveOptions(lease_games=1), progress=progress)
    pool.close()
    assert lines(games_of(tmp_path)) == expected, f"seed {seed}"
    assert report.games == ORDER.games
    assert report.lost_workers > 0, "nobody was killed in mid-run"


@pytest.mark.usefixtures("cluster")
def test_a_place_that_no_machine_has_is_told() -> None:
    with pytest.raises(ClusterError, match=r"asks for \{'CPU': 1, 'GPU': 64\}, and no machine"):
        RayPool(PLAYER, 1, Placement(cpus=1, gpus=64))
