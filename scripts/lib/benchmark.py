"""scripts/benchmark: set up, export GPT-2, build, run the benchmark."""

import argparse
import subprocess
from pathlib import Path

import build
import cuda
import disk
from export import BAD_INPUT, Source, export, exported_source, is_exported, made_by_hand
from paths import BUILD, CUDA_BUILD, MODELS, ROOT
from setup import setup
from steps import StepError, main, step

DEFAULT = Source("--model", "gpt2")
STAND_IN = Source("--random-init", "gpt2")
SIZES = ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")
ASKED_FOR_DEFAULT = "default"


def export_default() -> None:
    """Export GPT-2's weights from the hub, or random ones where the hub is out of reach."""
    with step("benchmark", "GPT-2 in models/") as outcome:
        there = exported_source(MODELS, asked_for=ASKED_FOR_DEFAULT)
        if there or is_exported(DEFAULT, MODELS):
            outcome.text = f"in place ({there or DEFAULT})"
            return
        if made_by_hand(MODELS):
            outcome.text = "in place (not exported by this script, left alone)"
            return
        try:
            export(DEFAULT, MODELS, asked_for=ASKED_FOR_DEFAULT)
            outcome.text = f"exported {DEFAULT}"
            return
        except StepError as error:
            if error.exit_code != BAD_INPUT:
                raise
            last_line = error.output.strip().splitlines()[-1]
            reason = last_line.removeprefix("error: ").split(";")[0]
            outcome.text = f"random weights will do ({reason})"
    with step("benchmark", f"export {STAND_IN} to models/"):
        export(STAND_IN, MODELS, asked_for=ASKED_FOR_DEFAULT)


def export_chosen(source: Source) -> None:
    """Export what the user chose."""
    with step("benchmark", f"{source} in models/") as outcome:
        if is_exported(source, MODELS):
            outcome.text = "in place"
        else:
            export(source, MODELS)


def _build(directory: Path, **options: str) -> None:
    with step("benchmark", f"build in {directory.name}/") as outcome:
        why = build.configure(directory, "Release", **options)
        build.build(directory, "test_kvcache_prototype", "kvcache_cli")
        outcome.text = f"done ({why})" if why else "done"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/benchmark",
        description="Sets up what is missing, exports GPT-2 to models/ unless it is there, builds,"
        " and runs build/test_kvcache_prototype. Without --model and --random-init it takes the"
        " weights of gpt2 from the Hugging Face hub or, where that is out of reach, random ones:"
        " speed, memory and exactness do not depend on them.",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--model", metavar="DIR|ID", help="a checkpoint directory or a hub's id")
    source.add_argument(
        "--random-init",
        metavar="CONFIG",
        help=f"random weights: {', '.join(SIZES)}, or a config.json",
    )
    parser.add_argument(
        "--tokens", metavar="N", type=int, help="how many tokens the benchmark generates"
    )
    parser.add_argument(
        "--cuda",
        action="store_true",
        help="build for CUDA in build-cuda/ and run on the GPU; what is missing for it is an error",
    )
    arguments = parser.parse_args()
    # What is wrong is told now, not after minutes of setting up.
    if arguments.tokens is not None and arguments.tokens < 1:
        parser.error(f"--tokens is {arguments.tokens}, must be 1 or more")
    if arguments.model and arguments.model.startswith(("/", ".", "~")):  # no id of a hub
        _must_exist(parser, "--model", arguments.model)
    if arguments.random_init and arguments.random_init not in SIZES:
        _must_exist(parser, "--random-init", arguments.random_init)
    return arguments


def _must_exist(parser: argparse.ArgumentParser, option: str, path: str) -> None:
    if not Path(path).exists():
        parser.error(f"{option} names {path}, which does not exist")


def _chosen_source(arguments: argparse.Namespace) -> Source | None:
    for option, value in (
        ("--model", arguments.model),
        ("--random-init", arguments.random_init),
    ):
        if value is not None:
            path = Path(value)
            return Source(option, str(path.resolve()) if path.exists() else value)
    return None


def _command() -> int:
    arguments = _arguments()
    source = _chosen_source(arguments)
    if arguments.cuda:
        cuda.compiler()
    disk.announce("benchmark", disk.BENCHMARK, minutes=8)
    setup()
    if source:
        export_chosen(source)
    else:
        export_default()
    if arguments.cuda:
        _build(CUDA_BUILD, **cuda.build_options())
    else:
        _build(BUILD)
    directory, device = (CUDA_BUILD, "cuda") if arguments.cuda else (BUILD, "auto")
    program = [directory / "test_kvcache_prototype", "--model", MODELS.name, "--device", device]
    tokens = ["--tokens", str(arguments.tokens)] if arguments.tokens else []
    return subprocess.run([*program, *tokens], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    main(_command)
