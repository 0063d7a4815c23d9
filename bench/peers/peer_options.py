"""The options of scripts/peers."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from baseline import GPT2, HUGGING_FACE, RUNTIMES, SUBJECTS, WIDTHS
from environment import ROOT


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="scripts/peers",
        description="Measures kvcache beside llama.cpp, CTranslate2, onnxruntime-genai, OpenVINO"
        " GenAI and ONNX Runtime on this machine's CPU and prints one Markdown table. Needs about"
        " 7 GB of disk in build-peers/ for a model and a package index for the first run; leave"
        " the machine alone meanwhile: the peers' threads wait for each other by spinning.",
        epilog="Exit status: 0 measured, 2 it could not be.",
    )
    result.add_argument(
        "--model",
        choices=SUBJECTS,
        default=GPT2,
        help="GPT-2 124M or the shape of Llama 3.2 1B with random weights, or"
        " SmolLM2-135M-Instruct (default: gpt2)",
    )
    result.add_argument(
        "--quick",
        action="store_true",
        help="one round of few tokens, which waits for no quiet: a trial",
    )
    result.add_argument("--rounds", type=_positive, help="alternations (default: 5)")
    result.add_argument("--tokens", type=_positive, help="decoded at each depth (default: 64)")
    result.add_argument("--cores", type=_cores, help="numbers, as 0,1 (default: the first two)")
    result.add_argument("--widths", type=_some_of(WIDTHS), default=WIDTHS, metavar="A,B")
    result.add_argument(
        "--runtimes",
        type=_some_of(RUNTIMES),
        default=tuple(name for name in RUNTIMES if name != HUGGING_FACE),
        metavar="A,B",
        help=f"of {', '.join(RUNTIMES)}",
    )
    result.add_argument(
        "--hugging-face", action="store_true", help="also Hugging Face: installs torch, gigabytes"
    )
    result.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    result.add_argument(
        "--lock", type=Path, metavar="FILE", help="held exclusively by each process"
    )
    result.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    result.add_argument("--json", type=Path, metavar="FILE", help="writes raw figures there")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="writes the table there")
    return result


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0: {text!r}")
    return int(text)


def _cores(text: str) -> tuple[int, ...]:
    usable = os.sched_getaffinity(0)
    names = text.split(",")
    if not all(name.isdecimal() and int(name) in usable for name in names):
        numbers = ",".join(map(str, sorted(usable)))
        raise argparse.ArgumentTypeError(f"{text!r} does not name cores of {numbers}")
    return tuple(map(int, names))


def _some_of(allowed: tuple[str, ...]) -> Any:
    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} is not one of {', '.join(allowed)}"
            )
        return names

    return chosen
