"""The command line: plays an order of Trigo's self-play into a store of Parquet files.

The games are those of `trigo_selfplay --games N` with the same options, whoever plays them. After
Ctrl-C, or whatever else ended it, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import functools
import json
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from kvcache_export.console import fail, progress, say
from self_play_ray.drive import DriveOptions, Report, drive
from self_play_ray.errors import SelfPlayError
from self_play_ray.local_pool import LocalPool, Plays
from self_play_ray.order import Order, digest_of, read_model
from self_play_ray.player import Player, PlayerOptions
from self_play_ray.pool import Pool
from self_play_ray.ray_pool import Placement, RayPool, connect
from self_play_ray.records import line_of
from self_play_ray.store import Store, games_of

ROOT = Path(__file__).resolve().parents[2]
EPILOG = """\
Exit status: 0 all games are stored; 1 the work failed; 2 bad usage or bad input; 130 interrupted
(Ctrl-C), 143 ended by SIGTERM: what had come is stored, and the same command goes on."""


class EndedBySignal(BaseException):
    """SIGTERM; like KeyboardInterrupt no Exception, so that nobody takes it for a failure."""


def parser() -> argparse.ArgumentParser:
    """All options, in groups."""
    found = argparse.ArgumentParser(
        prog="self_play_ray",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--store", type=Path, required=True, metavar="DIR", help="where the games are kept")
    add("--export", type=Path, metavar="FILE", help="write a store's games as JSON lines, and end")
    add("--json", metavar="FILE", help="write the figures of this run, - for standard output")
    add("--quiet", action="store_true", help="no progress on the terminal")
    order = found.add_argument_group("the order, which decides every game").add_argument
    order("--games", type=_whole, default=1, metavar="N", help="(default: 1)")
    order("--model", type=Path, metavar="DIR", help="model directory; its files go to the workers")
    order("--player", default="model", help="model, rollouts or random (default: model)")
    order("--board", default="5x5x1", help="points per axis (default: 5x5x1)")
    order("--simulations", type=_whole, default=50, metavar="N", help="a move (default: 50)")
    order("--max-moves", type=_whole, default=100, metavar="N", help="of a game (default: 100)")
    order("--seed", type=int, default=42, help="(default: 42)")
    who = found.add_argument_group("who plays").add_argument
    who("--workers", choices=["local", "ray"], default="local", help="(default: local, no Ray)")
    who("--actors", type=_whole, default=1, metavar="N", help="workers (default: 1)")
    who("--threads", type=_whole, default=1, metavar="N", help="games at once of each (default: 1)")
    who("--in-flight", type=_whole, default=0, metavar="N",
        help="games at once of each, by one Evaluator; for a GPU")  # fmt: skip
    who("--selfplay", default=str(ROOT / "build" / "trigo_selfplay"), metavar="FILE",
        help="the program, on each machine (default: build/trigo_selfplay)")  # fmt: skip
    ray = found.add_argument_group("with --workers ray").add_argument
    ray("--address", default="local", help="of the cluster, or auto (default: one on this machine)")
    ray("--cpus", type=float, metavar="N", help="of each worker (default: its --threads)")
    ray("--gpus", type=float, default=0, metavar="N", help="of each worker (default: 0)")
    ray("--resource", action="append", default=[], type=_resource, metavar="NAME=N",
        help="of each worker, as the cluster names it; may be repeated")  # fmt: skip
    how = found.add_argument_group("how it is done").add_argument
    how("--lease-games", type=_whole, metavar="N",
        help="that a worker is given (default: 8, or twice its games at once)")  # fmt: skip
    how("--lease-seconds", type=float, default=3600, metavar="S",
        help="after which others get them too (default: 3600)")  # fmt: skip
    how("--part-games", type=_whole, default=1000, metavar="N", help="of a file (default: 1000)")
    how("--part-seconds", type=float, default=30, metavar="S",
        help="after which a smaller file is written (default: 30)")  # fmt: skip
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    options = parser().parse_args(arguments)
    progress.quiet = options.quiet
    before = signal.signal(signal.SIGTERM, _end)
    try:
        return _export(options) if options.export else _play(options)
    except SelfPlayError as error:
        fail(str(error))
        return error.exit_status
    except OSError as error:
        fail(str(error))
        return 1
    except KeyboardInterrupt:
        fail("interrupted; what had come is stored, and the same command goes on")
        return 130
    except EndedBySignal:
        fail("ended by SIGTERM; what had come is stored, and the same command goes on")
        return 143
    finally:
        signal.signal(signal.SIGTERM, before)


def order_of(options: argparse.Namespace, model: dict[str, bytes] | None) -> Order:
    """What is to be played; `model` is its files where a model plays."""
    return Order(
        games=options.games,
        board=options.board,
        simulations=options.simulations,
        max_moves=options.max_moves,
        seed=options.seed,
        player=options.player,
        model_digest=digest_of(model) if model else "",
    )


def drive_options(options: argparse.Namespace) -> DriveOptions:
    """How it is done."""
    at_once = options.in_flight or options.threads
    return DriveOptions(
        # The last games of a lease leave its worker partly idle: not too few of them.
        lease_games=options.lease_games or max(8, 2 * at_once),
        lease_seconds=options.lease_seconds,
        part_seconds=options.part_seconds,
    )


def make_pool(options: argparse.Namespace, order: Order, model: dict[str, bytes] | None) -> Pool:
    """Who plays: asked for, not yet there; SIGTERM is EndedBySignal from now on.

    Raises:
        SelfPlayError: as connect(), RayPool and LocalPool.
    """
    how = PlayerOptions(options.selfplay, options.threads, options.in_flight)
    if options.workers == "local":
        return LocalPool(functools.partial(Player, order, how, model), options.actors)
    connect(options.address)
    signal.signal(signal.SIGTERM, _end)  # Ray has put a handler of its own there
    import ray

    sent = ray.put(model)  # once: machines get it from each other
    cpus = options.threads if options.cpus is None else options.cpus
    placement = Placement(cpus, options.gpus, dict(options.resource))
    return RayPool(_player_of(order, how, sent), options.actors, placement)


def _play(options: argparse.Namespace) -> int:
    model = read_model(options.model) if options.model else None
    order = order_of(options, model)
    with Store(options.store, order, part_games=options.part_games) as store:
        before = len(store)
        report = Report()
        if store.missing():
            pool = make_pool(options, order, model)
            try:
                report = drive(
                    store,
                    pool,
                    drive_options(options),
                    progress=lambda done: progress("self-play", done, order.games),
                    note=_note,
                )
            finally:
                progress("")
                pool.close()
    say(f"{order.games} games are in {options.store}, {before} of them from before")
    if options.json:
        _write_figures(options, report, before)
    return 0


def _player_of(order: Order, how: PlayerOptions, sent: Any) -> Callable[[], Plays]:
    def make() -> Plays:
        import ray

        return Player(order, how, ray.get(sent))

    return make


def _export(options: argparse.Namespace) -> int:
    beside = options.export.with_name(options.export.name + ".unfinished")
    count = 0
    with beside.open("w", encoding="utf-8") as file:
        for game in games_of(options.store):
            file.write(line_of(game))
            count += 1
    beside.replace(options.export)
    say(f"{count} games are in {options.export}")
    return 0


def _write_figures(options: argparse.Namespace, report: Report, before: int) -> None:
    figures = {
        "workers": options.workers,
        "actors": options.actors,
        "before": before,
        **asdict(report),
        "games_per_s": report.games / report.seconds if report.seconds else 0,
    }
    text = json.dumps(figures, indent=1) + "\n"
    if options.json == "-":
        sys.stdout.write(text)
    else:
        Path(options.json).write_text(text, encoding="utf-8")


def _note(line: str) -> None:
    progress("")
    print(f"Note: {' '.join(line.split())}", file=sys.stderr)


def _end(_number: int, _frame: FrameType | None) -> None:
    raise EndedBySignal


def _whole(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is no whole number of at least 1")
    return int(text)


def _resource(text: str) -> tuple[str, float]:
    name, _, count = text.partition("=")
    try:
        return name, float(count)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not NAME=N") from None
