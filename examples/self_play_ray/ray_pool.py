"""Players as Ray actors, each with a model of its own, placed by the resources they ask for."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from self_play_ray.errors import BadPlayError, ClusterError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.local_pool import Plays
from self_play_ray.pool import Event, Failed, Finished, Lost, Ready
from self_play_ray.reach import check_answer, found_by_auto


@dataclass(frozen=True)
class Placement:
    """What each worker asks of the machine that it is put on."""

    cpus: float = 1
    gpus: float = 0
    resources: dict[str, float] = field(default_factory=dict)  # of names that the cluster gives

    def wanted(self) -> dict[str, float]:
        """By Ray's names."""
        all_ = {"CPU": self.cpus, "GPU": self.gpus, **self.resources}
        return {name: count for name, count in all_.items() if count}


def connect(address: str) -> None:
    """Join the cluster at an address, unless joined already; `local` starts one on this machine.

    Raises:
        ClusterError: Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise ClusterError(
            f"Ray is not installed ({error}): python -m pip install -r requirements-ray.txt"
        ) from error
    if ray.is_initialized():
        return
    head = found_by_auto() if address == "auto" else address
    if head not in (None, "local"):
        check_answer(head)
    # Ray's reports of its use go to its makers unless told otherwise before it starts.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray.init(
            address=address,
            include_dashboard=False if address == "local" else None,
            log_to_driver=False,
            logging_level="error",
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ClusterError(
            f"no Ray cluster at {address}: {error}. Where its head wants a token (it says so when"
            " it starts), set RAY_AUTH_MODE=token here, and RAY_AUTH_TOKEN if the token is not in"
            " ~/.ray/auth_token"
        ) from error
    # Machines of a cluster need Ray, Python and the program, but not these files.
    for name in [name for name in sys.modules if name.split(".")[0] == "self_play_ray"]:
        ray.cloudpickle.register_pickle_by_value(sys.modules[name])


class _Actor:
    """What runs on a machine of the cluster: one worker."""

    def __init__(self, make_player: Callable[[], Plays]) -> None:
        self._make_player = make_player
        self._player: Plays | None = None

    def ready(self) -> str | None:
        """Why this worker can't play; None where it can."""
        try:
            self._player = self._make_player()
        except PlayError as error:
            return str(error)
        return None

    def play(self, lease: Lease) -> tuple[list[dict[str, Any]] | None, str, bool]:
        """The games; or None, why, and whether another try is of no use.

        Not as an exception: Ray would wrap it in a class of its own.
        """
        assert self._player is not None
        try:
            return self._player.play(lease), "", False
        except PlayError as error:
            return None, str(error), isinstance(error, BadPlayError)


class RayPool:
    """As many actors as asked for, or as find a place; a lost one is replaced."""

    def __init__(
        self,
        make_player: Callable[[], Plays],
        workers: int,
        placement: Placement,
        *,
        seconds_without_worker: float = 300,
    ) -> None:
        """Ask for the actors; wait() tells when they have come.

        Args:
            make_player: what an actor makes its player with; where it carries a model, carry
                it as a reference to Ray's object store (see command.py).
            seconds_without_worker: before having none at all is an error.

        Raises:
            ClusterError: no machine of the cluster has what one worker asks for.
        """
        import ray

        self._ray = ray
        self._make_player = make_player
        self._placement = placement
        self._patience = seconds_without_worker
        self._actors: dict[int, Any] = {}
        self._pending: dict[Any, tuple[int, Lease | None]] = {}  # by the answer that is waited for
        self._alive: set[int] = set()
        self._next = 0
        self._since = time.monotonic()  # without any worker
        self._check_room()
        # A lost worker's games need no retry by Ray: leases do that, elsewhere and at once.
        self._class = ray.remote(max_restarts=0, max_task_retries=0)(_Actor).options(
            num_cpus=placement.cpus,
            num_gpus=placement.gpus,
            resources=placement.resources or None,
            scheduling_strategy="SPREAD",
        )
        for _ in range(workers):
            self._add()

    def play(self, worker: int, lease: Lease) -> None:
        """As Pool.play()."""
        self._pending[self._actors[worker].play.remote(lease)] = (worker, lease)

    def wait(self, seconds: float) -> list[Event]:
        """As Pool.wait()."""
        waiting = list(self._pending)
        try:
            done, _ = self._ray.wait(waiting, num_returns=1, timeout=seconds)
        except SystemError as error:  # what a signal's handler raises comes out of Ray within one
            raise (error.__cause__ or error) from None
        if done:  # and all else that has come
            done, _ = self._ray.wait(waiting, num_returns=len(waiting), timeout=0)
        events = [self._event(answer) for answer in done]
        if self._alive:
            self._since = time.monotonic()
        elif time.monotonic() - self._since > self._patience:
            raise ClusterError(
                f"no worker has come for {self._patience:.0f} s: each asks for"
                f" {self._placement.wanted()}, and the cluster has {self._ray.cluster_resources()}"
            )
        return events

    def close(self) -> None:
        """As Pool.close()."""
        for actor in self._actors.values():
            self._ray.kill(actor)
        self._actors.clear()
        self._pending.clear()

    def _add(self) -> None:
        worker, self._next = self._next, self._next + 1
        actor = self._class.remote(self._make_player)
        self._actors[worker] = actor
        self._pending[actor.ready.remote()] = (worker, None)

    def _event(self, answer: Any) -> Event:
        worker, lease = self._pending.pop(answer)
        try:
            result = self._ray.get(answer)
        except self._ray.exceptions.RayError as error:  # it, its machine or its answer is gone
            return self._replaced(worker, type(error).__name__)
        if lease is None:
            if result is not None:
                raise BadPlayError(f"a worker cannot play: {result}")
            self._alive.add(worker)
            return Ready(worker)
        games, why, useless = result
        if useless:
            raise BadPlayError(why)
        return Failed(worker, lease, why) if games is None else Finished(worker, lease, games)

    def _replaced(self, worker: int, why: str) -> Lost:
        # Where only an answer was lost, its worker would hold its place for nothing.
        self._ray.kill(self._actors.pop(worker))
        self._alive.discard(worker)
        self._add()
        return Lost(worker, why)

    def _check_room(self) -> None:
        wanted = self._placement.wanted()
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        for node in nodes:
            if all(node.get(name, 0) >= count for name, count in wanted.items()):
                return
        raise ClusterError(f"a worker asks for {wanted}, and no machine of {len(nodes)} has that")
