"""Plays the games of a lease: a process of trigo_selfplay, which owns the model.

It plays one lease after the other, since a program with a GPU takes a second to start. Searches and
their evaluator share that process, so a position's evaluation, which takes a fraction of a
millisecond, never waits for a message between processes; only whole games are sent.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
        self._programs: set[_Program] = set()  # all of them
        self._idle: list[_Program] = []
        # A program is killed when the thread that started it ends (setpriv, below): one that stays.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="starter")
        self._closed = False
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
        program = self._take()
        try:
            games = list(_games_of(program.play(lease), lease))
        except BaseException:  # Ctrl-C too: who knows what it still has to say
            with self._lock:
                self._programs.discard(program)
            program.end()
            raise
        with self._lock:
            self._idle.append(program)
        return games

    def close(self) -> None:
        """End the programs, those that still play too, and remove the model's copy."""
        with self._lock:
            programs, self._programs = self._programs, set()
            self._closed = True
        for program in programs:
            program.end()
        self._starter.shutdown()
        if self._model is not None:
            self._model.cleanup()

    def _take(self) -> _Program:
        with self._lock:
            if self._closed:
                raise PlayError("the player was closed")
            if self._idle:
                return self._idle.pop()
            name = Path(self._options.program).name
            program = self._starter.submit(_Program, name, self._command()).result()
            self._programs.add(program)
            return program

    def _command(self) -> list[str]:
        options = self._options
        at_once = ["--in-flight" if options.in_flight else "--threads"]
        at_once.append(str(options.in_flight or options.threads))
        model = [] if self._model is None else ["--model", self._model.name]
        # A worker that is killed must not leave a program behind that computes for nobody.
        setpriv = shutil.which("setpriv")
        guard = [setpriv, "--pdeathsig", "KILL", "--"] if setpriv else []
        return [
            *(*guard, options.program, *self._order.arguments(), *model, *at_once, "--quiet"),
            "--leases",
        ]


class _Program:
    """A process that plays one lease after the other, and has the model loaded meanwhile."""

    def __init__(self, name: str, command: list[str]) -> None:
        self._name = name
        self._told = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._told
            )
        except OSError as error:
            self._told.close()
            raise PlayError(f"{name} does not start: {error}") from error

    def play(self, lease: Lease) -> list[bytes]:
        """A line for each game.

        Raises:
            BadPlayError: as Player.play().
            PlayError: as Player.play().
        """
        asks, answers = self._process.stdin, self._process.stdout
        assert asks is not None
        assert answers is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended; its status tells why
            asks.write(f"{lease.first} {lease.count}\n".encode())
            asks.flush()
        lines = list(itertools.islice(answers, lease.count))
        if len(lines) < lease.count:
            raise self._why(lease, len(lines))
        return lines

    def end(self) -> None:
        """Kill the process; who waits for its lines gets no more."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._told):
            with contextlib.suppress(OSError):  # what was not sent is of no use
                stream.close()

    def _why(self, lease: Lease, games: int) -> PlayError:
        status = self._process.wait()
        reason = ""
        with contextlib.suppress(ValueError):  # closed: it was ended from here
            self._told.seek(0)
            reason = self._told.read()[-2000:].decode(errors="replace").strip()
        kind = BadPlayError if status == BAD_INPUT else PlayError
        return kind(
            f"{self._name} ended with {status} after {games} of {lease.count} games: {reason}"
        )


def _games_of(lines: list[bytes], lease: Lease) -> Iterator[Game]:
    for number, line in zip(lease.games, lines, strict=True):
        game: Game | None = None
        with contextlib.suppress(ValueError):
            game = json.loads(line)
        if game is None:
            raise PlayError(f"game {number} came as what is no JSON: {line[:80]!r}")
        yield {"number": number, **game}
