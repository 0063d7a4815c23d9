"""Where games are kept: a directory of Parquet files, each game in it once.

`order.json` is the order, `part-000000.parquet` and so on its games. A part is written under
another name, brought to the disk and renamed: it is whole or not there. One process writes at a
time and knows every number that is stored, so whoever brings a game again, it is left out.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from self_play_ray.errors import OrderError, StoreError
from self_play_ray.number_set import NumberSet
from self_play_ray.order import Order, read_order
from self_play_ray.records import table_of

_PART = re.compile(r"part-(\d{6,})\.parquet")
_UNFINISHED = ".unfinished"


class Store:
    """The games of one order, open for writing; close() or a `with` statement gives it back."""

    def __init__(self, directory: Path, order: Order, *, part_games: int = 1000) -> None:
        """Make a store, or go on with one of the same order.

        An order of more games than before makes a finished store a longer one.

        Args:
            part_games: of a Parquet file; flush() makes smaller ones.

        Raises:
            OrderError: the store holds the games of another order.
            StoreError: another process writes to it, or a file in it is damaged.
        """
        self._directory, self._part_games = directory, part_games
        self._waiting: list[dict[str, Any]] = []
        self._stored = NumberSet()
        try:
            directory.mkdir(parents=True, exist_ok=True)
            self._lock = (directory / "lock").open("w")
        except OSError as error:
            raise StoreError(f"{directory} cannot hold games: {error}") from error
        try:
            self._open(order)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Store:
        """The store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        """Store what waits, also where the work was broken off."""
        self.close()

    def __len__(self) -> int:
        """Games that were added, ever."""
        return len(self._stored)

    def missing(self) -> list[range]:
        """The order's games that are not there."""
        return list(self._stored.missing(self._order.games))

    def add(self, games: Iterable[dict[str, Any]]) -> int:
        """Take games that are not there yet; they are safe after flush().

        Returns:
            How many of them were new.

        Raises:
            StoreError: a game is not the order's, or the disk is full.
        """
        new = 0
        for game in games:
            number = game["number"]
            if not 0 <= number < self._order.games:
                raise StoreError(f"game {number} is not one of the order's {self._order.games}")
            if self._stored.add(number):
                self._waiting.append(game)
                new += 1
        if len(self._waiting) >= self._part_games:
            self.flush()
        return new

    def flush(self) -> None:
        """Write what was added since the last part as a part.

        Raises:
            StoreError: it cannot be written; the games wait on.
        """
        if not self._waiting:
            return
        name = f"part-{self._next_part:06}.parquet"
        try:
            games = sorted(self._waiting, key=lambda game: game["number"])
            table = table_of(games, {"order": self._order_of_games()})
            _write_whole(
                self._directory / name,
                lambda path: pq.write_table(table, path, compression="zstd"),
            )
        except (OSError, ValueError, pa.ArrowException) as error:
            raise StoreError(f"{self._directory / name} cannot be written: {error}") from error
        self._waiting = []
        self._next_part += 1

    def close(self) -> None:
        """Write what waits and let others write."""
        try:
            self.flush()
        finally:
            self._lock.close()

    def _open(self, order: Order) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"another process writes to {self._directory}; wait for it, or end it"
            ) from error
        for path in self._directory.glob(f"*{_UNFINISHED}"):
            path.unlink()  # of a process that was killed
        about = self._directory / "order.json"
        if about.exists():
            before = read_order(about.read_text(encoding="utf-8"), str(about))
            if not before.same_games(order):
                differences = "; ".join(order.differences(before))
                raise OrderError(
                    f"{self._directory} holds the games of another order ({differences});"
                    " give another directory, or the order that it was begun with"
                )
            if before.games > order.games:
                raise OrderError(
                    f"{self._directory} is a store of {before.games} games; {order.games} are less"
                )
        self._order = order
        text = order.to_json()
        if not about.exists() or about.read_text(encoding="utf-8") != text:
            _write_whole(about, lambda path: path.write_text(text, encoding="utf-8"))
        parts = parts_of(self._directory)
        for path in parts:
            self._read_numbers(path)
        last = _PART.fullmatch(parts[-1].name) if parts else None
        self._next_part = int(last[1]) + 1 if last else 0

    def _read_numbers(self, path: Path) -> None:
        table = _read(path, ["number"])
        if (table.schema.metadata or {}).get(b"order", b"").decode() != self._order_of_games():
            raise StoreError(f"{path} is of another order; move it elsewhere")
        for number in table["number"].to_pylist():
            if not 0 <= number < self._order.games:
                raise StoreError(f"{path} holds game {number}, which the order has not")
            if not self._stored.add(number):
                raise StoreError(f"{path} holds game {number}, which a part before it has already")

    def _order_of_games(self) -> str:
        """The order but for its number of games, which may grow."""
        return re.sub(r'"games": \d+', '"games": 0', self._order.to_json())


def parts_of(directory: Path) -> list[Path]:
    """A store's Parquet files, in the order in which they were written."""
    found = [path for path in directory.iterdir() if _PART.fullmatch(path.name)]
    return sorted(found, key=lambda path: int(path.stem.removeprefix("part-")))


def games_of(directory: Path) -> Iterator[dict[str, Any]]:
    """A store's games, by part and in each by number; read while others may write.

    Raises:
        StoreError: there is no store, or a part is damaged.
    """
    if not (directory / "order.json").exists():
        raise StoreError(f"{directory} holds no store: it has no order.json")
    for path in parts_of(directory):
        yield from _read(path, None).to_pylist()


def _read(path: Path, columns: list[str] | None) -> pa.Table:
    try:
        return pq.ParquetFile(path).read(columns=columns)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise StoreError(
            f"{path} is damaged ({error}); move it elsewhere, and its games are played again"
        ) from error


def _write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """The file is there with all that `write` writes, or is what it was."""
    beside = path.with_name(path.name + _UNFINISHED)
    write(beside)
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)  # the new name, too
    finally:
        os.close(directory)
