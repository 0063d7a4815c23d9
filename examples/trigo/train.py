#!/usr/bin/env python3
"""Learns policy and value from games that trigo_selfplay --data recorded; see --help.

The policy is taught so that the product of a move's characters, over the whole vocabulary, is its
share of the search's visits: that is what a search reads as its prior. The value is taught at the
token VALUE behind the text, for White: a share of the game's outcome, sign(d) · (1 + ln |d|) /
(1 + ln points), and the rest of what the search there, or the next one, found.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

import torch
from trigo_games import DataError
from trigo_network import Sizes
from trigo_training import Training, UserError

EPILOG = """\
OUT then holds model.safetensors and config.json (for export_trigo_kvcache.py --model OUT),
curve.jsonl (losses: a JSON object for every --measure-every steps), and training.pt, from which
--resume goes on after an interruption. Without --seconds the same arguments and seed give the same
losses on the same machine.
"""


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add("--data", type=Path, nargs="+", required=True, help="files of games, a JSON line each")
    add("--out", type=Path, required=True, help="directory for the model and the curve")
    add("--init", type=Path, help="directory of a model to begin from, instead of random weights")
    add("--resume", action="store_true", help="go on where an interrupted run of this stopped")
    add("--steps", type=int, default=1000, help="(default: 1000)")
    add(
        "--seconds",
        type=float,
        default=0,
        help="of training at most: the learning rate then falls as fast as it must, over fewer"
        " steps (default: no limit)",
    )
    add("--batch", type=int, default=32, help="games of each board a step (default: 32)")
    add("--rate-end", type=float, default=0.0, help="share of the rate at the end (default: 0)")
    add(
        "--optimizer",
        choices=["muon", "adam"],
        default="muon",
        help="of the blocks' matrices; all else has AdamW (default: muon)",
    )
    add("--policy-weight", type=float, default=1.0, help="of the policy's loss (default: 1)")
    add("--rate", type=float, default=1e-3, help="largest learning rate (default: 0.001)")
    add("--decay", type=float, default=0.01, help="weight decay (default: 0.01)")
    add("--value-weight", type=float, default=1.0, help="of the value's loss (default: 1)")
    add(
        "--points-weight",
        type=float,
        default=1.0,
        help="of the losses of a head that guesses each point's stone, its owner at the end, and"
        " which stones are in atari; it helps to learn and is not stored (default: 1)",
    )
    add(
        *("--outcome-share", "--share"),
        type=float,
        default=0.5,
        help="share of a game's outcome in the value's target; the rest is the search's value"
        " (default: 0.5)",
    )
    for field in fields(Sizes):
        name, default = field.name.replace("_", "-"), field.default
        add(f"--{name}", type=int, help=f"of the network (default: {default})")
    add("--store", choices=["float16", "float32"], default="float16", help="(default: float16)")
    add("--seed", type=int, default=0, help="of weights, order and symmetries (default: 0)")
    add("--device", help="cpu, cuda, … (default: cuda where there is one)")
    add("--workers", type=int, default=0, help="processes that read games (default: 0)")
    add("--measure-every", type=int, default=500, help="steps (default: 500)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        _check(options)
        Training(options).run()
    except (DataError, UserError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def _check(options: argparse.Namespace) -> None:
    for name in ("steps", "batch", "measure_every"):
        if getattr(options, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1")
    for field in fields(Sizes):
        if (value := getattr(options, field.name)) is not None and value < 1:
            raise UserError(f"--{field.name.replace('_', '-')} must be at least 1")
    for name in ("outcome_share", "rate_end"):
        if not 0 <= getattr(options, name) <= 1:
            raise UserError(f"--{name.replace('_', '-')} must be between 0 and 1")
    if not options.seconds >= 0:
        raise UserError("--seconds must not be negative")
    if not options.rate > 0:
        raise UserError("--rate must be positive")
    if options.optimizer == "muon" and not hasattr(torch.optim, "Muon"):
        raise UserError(f"torch {torch.__version__} has no Muon, 2.9 has; give --optimizer adam")
    if options.seed < 0 or options.workers < 0:
        raise UserError("--seed and --workers must not be negative")


if __name__ == "__main__":
    sys.exit(main())
