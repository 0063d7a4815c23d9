"""Plays the games of a lease: a process of trigo_selfplay, which owns the model meanwhile.

Searches and their evaluator share that process, so a position's evaluation, which takes a fraction
of a millisecond, never waits for a message between processes; only whole games are sent.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from self_play_ray.errors import BadPlayError, PlayError
from self_play_ray.leases import Lease
from self_play_ray.order import Order, digest_of

BAD_INPUT = 2  # trigo_selfplay's exit status for arguments and models that cannot be used
Game = dict[str, Any]  # a line of trigo_selfplay --data, and its number


@dataclass(frozen=True)
class PlayerOptions:
    """How games are computed; none of it changes a game."""

    program: str  # trigo_selfplay, on the machine that plays
    threads: int = 1
    in_flight: int = 0  # games at once by one Evaluator, instead of threads


class Player:
    """Plays any games of one order."""

    def __init__(
        self, order: Order, options: PlayerOptions, model: dict[str, bytes] | None
    ) -> None:
        """Unpack the model where this player runs; close() removes it.

        Raises:
            BadPlayError: the model is not the order's, or the program is not there.
        """
        self._order, self._options = order, options
        self._lock = threading.Lock()  # a LocalPool's threads share a player
        self._running: set[subprocess.Popen[bytes]] = set()
        if shutil.which(options.program) is None:
            raise BadPlayError(
                f"{options.program} is no program on this machine; build it, or give --selfplay"
            )
        self._model: tempfile.TemporaryDirectory[str] | None = None
        if model is not None:
            if digest_of(model) != order.model_digest:
                raise BadPlayError("the model that was sent is not the order's")
            self._model = tempfile.TemporaryDirectory(prefix="self-play-model-")
            for name, data in model.items():
                (Path(self._model.name) / name).write_bytes(data)

    def play(self, lease: Lease) -> list[Game]:
        """Play a lease's games, all of them.

        Raises:
            BadPlayError: the program refuses its arguments or the model.
            PlayError: it failed, or did not write what it should have.
        """
        with tempfile.TemporaryFile() as told:
            text, status = self._run(lease, told)
            told.seek(0)
            reason = told.read()[-2000:].decode(errors="replace").strip()
        if status != 0:
            kind = BadPlayError if status == BAD_INPUT else PlayError
            raise kind(f"{Path(self._options.program).name} ended with {status}: {reason}")
        return list(_games_of(text, lease))

    def close(self) -> None:
        """End the programs that still play, and remove the model's copy."""
        with self._lock:
            for process in self._running:
                process.kill()
        if self._model is not None:
            self._model.cleanup()

    def _run(self, lease: Lease, told: Any) -> tuple[bytes, int]:
        reading, writing = os.pipe()
        with open(reading, "rb") as data:  # noqa: PTH123
            try:
                process = self._start(lease, writing, told)
            except OSError as error:
                raise PlayError(f"{self._options.program} does not start: {error}") from error
            finally:
                os.close(writing)
            try:
                return data.read(), process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
                if process.poll() is None:  # Ctrl-C
                    process.kill()
                    process.wait()

    def _start(self, lease: Lease, writing: int, told: Any) -> subprocess.Popen[bytes]:
        with self._lock:
            process = subprocess.Popen(
                self._command(lease, f"/dev/fd/{writing}"),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=told,
                pass_fds=[writing],
            )
            self._running.add(process)
            return process

    def _command(self, lease: Lease, data: str) -> list[str]:
        options = self._options
        at_once = ["--in-flight" if options.in_flight else "--threads"]
        at_once.append(str(options.in_flight or options.threads))
        model = [] if self._model is None else ["--model", self._model.name]
        # A worker that is killed must not leave a program behind that computes for nobody.
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        return [
            *(*guard, options.program, *self._order.arguments(), *model, *at_once, "--quiet"),
            *("--first-game", str(lease.first), "--games", str(lease.count), "--data", data),
        ]


def _games_of(text: bytes, lease: Lease) -> Iterator[Game]:
    lines = text.splitlines()
    if len(lines) != lease.count:
        raise PlayError(f"{len(lines)} games came where {lease.count} were asked for")
    for number, line in zip(lease.games, lines, strict=True):
        game: Game | None = None
        with contextlib.suppress(ValueError):
            game = json.loads(line)
        if game is None:
            raise PlayError(f"game {number} came as what is no JSON: {line[:80]!r}")
        yield {"number": number, **game}
