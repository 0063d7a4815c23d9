"""An order: which games are to be played, and how. With its seed it decides every one of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from self_play_ray.errors import OrderError

MOST_GAMES = 1 << 40  # a day of a thousand machines is below 2^31


@dataclass(frozen=True)
class Order:
    """Games number 0 to `games` - 1 of the program's row of games with this seed."""

    games: int
    board: str = "5x5x1"
    simulations: int = 50
    max_moves: int = 100
    seed: int = 42
    player: str = "model"
    model_digest: str = ""  # of the model's files; "" for players without one

    def __post_init__(self) -> None:
        """Refuse what no program could play; the program itself judges board and player.

        Raises:
            OrderError: a number is out of its range.
        """
        ranges = {
            "games": (1, MOST_GAMES),
            "simulations": (1, 1 << 24),
            "max_moves": (1, 100_000),
            "seed": (0, (1 << 64) - 1),
        }
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise OrderError(f"{name} is {value!r}; it must be from {least} to {most}")

    def to_json(self) -> str:
        """Text that read_order() takes back; the same for equal orders."""
        return json.dumps(asdict(self), indent=1, sort_keys=True) + "\n"

    def same_games(self, other: Order) -> bool:
        """Whether game 7 of one is game 7 of the other: all but their number is equal."""
        return {**asdict(self), "games": 0} == {**asdict(other), "games": 0}

    def differences(self, other: Order) -> list[str]:
        """`board: 5x5x1, not 3x3x3` for each field that differs."""
        return [
            f"{field.name}: {getattr(self, field.name)}, not {getattr(other, field.name)}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]

    def arguments(self) -> list[str]:
        """The order's options of trigo_selfplay."""
        return [
            *("--board", self.board, "--simulations", str(self.simulations)),
            *("--max-moves", str(self.max_moves), "--seed", str(self.seed)),
            *("--player", self.player),
        ]


def read_order(text: str, source: str) -> Order:
    """An order of its JSON.

    Raises:
        OrderError: it is none; `source` is named.
    """
    try:
        found = json.loads(text)
        return Order(**found)
    except (ValueError, TypeError, OrderError) as error:
        raise OrderError(f"{source} holds no order: {error}") from error


def read_model(directory: Path) -> dict[str, bytes]:
    """A model's files by name, to be sent to whoever plays with it.

    Raises:
        OrderError: it is no model directory.
    """
    if not (directory / "config.json").is_file():
        raise OrderError(f"{directory} is no model directory: it has no config.json; export one")
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file()}


def digest_of(model: dict[str, bytes]) -> str:
    """SHA-256 of a model's files and their names."""
    digest = hashlib.sha256()
    for name in sorted(model):
        digest.update(f"{name}\0{len(model[name])}\0".encode())
        digest.update(model[name])
    return digest.hexdigest()
