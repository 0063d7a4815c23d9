"""A game as a row of a Parquet file, and as a line of trigo_selfplay --data."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

_SEARCH = pa.struct(
    [
        ("ply", pa.int32()),  # moves before it
        ("moves", pa.list_(pa.string())),  # the legal ones, in order
        ("visits", pa.list_(pa.uint32())),  # of each
        ("value", pa.float64()),  # the root's mean, for White
    ]
)
SCHEMA = pa.schema(  # in the order of the line's keys
    [
        pa.field("number", pa.int64(), nullable=False),
        ("board", pa.list_(pa.int32())),
        ("moves", pa.list_(pa.string())),
        ("score", pa.int32()),
        ("searches", pa.list_(_SEARCH)),
        pa.field("seed", pa.uint64(), nullable=False),
    ]
)


def table_of(games: list[dict[str, Any]], about: dict[str, str]) -> pa.Table:
    """Rows of games; a key that SCHEMA has not would be lost, so it is an error.

    Raises:
        ValueError: a game lacks a key, has another one, or has a value of another type.
    """
    for game in games:
        if set(game) != set(SCHEMA.names):
            raise ValueError(f"game {game.get('number')} has the keys {sorted(game)}")
    return pa.Table.from_pylist(games, schema=SCHEMA.with_metadata(about))


def line_of(game: dict[str, Any]) -> str:
    """The line of trigo_selfplay --data; it spells some numbers longer, but means the same."""
    record = {name: game[name] for name in SCHEMA.names if name != "number"}
    return json.dumps(record, separators=(",", ":")) + "\n"
