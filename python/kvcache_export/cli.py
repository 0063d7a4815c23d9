"""The command line: its arguments, and what they ask for.

export_gpt2_kvcache.py is the command `GPT2`; others differ in the models that they take.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from . import boundary, console, json_file, packages
from .console import progress, say
from .errors import ExportError

if TYPE_CHECKING:
    from .sources import Source

DESCRIPTION = """\
Exports GPT-2 to ONNX with a key/value cache: OUTPUT_DIR/gpt2_with_cache.onnx, its weights in
gpt2_with_cache.onnx.data, and config.json. The file is verified in ONNX Runtime before it is put
in place; whatever fails, a model that was already in OUTPUT_DIR stays as it was.
"""

EXAMPLES = """\
examples:
  export_gpt2_kvcache.py                                     GPT-2 (124M) from the Hugging Face hub
  export_gpt2_kvcache.py --model ./my-gpt2 --dtype float16   a checkpoint directory, in 16 bits
  export_gpt2_kvcache.py --random-init gpt2-medium --seed 7  random weights, nothing downloaded
  export_gpt2_kvcache.py --weights int8                      a quarter of the memory (int4: less)
  export_gpt2_kvcache.py --random-init my/config.json        ... for any GPT-2 config
"""

EXIT_CODES = """\
exit codes:
  0 exported   1 the exported model failed verification, or the exporter did
  2 bad input, or no room, memory, connection or package   130 interrupted, 128 + N by signal N
KVCACHE_DEBUG=1 in the environment shows the traceback of a failure.
"""


@dataclass(frozen=True)
class Command:
    """What a program that exports has of its own."""

    name: str
    description: str
    examples: str
    model: tuple[str, str]  # how --model is shown, and what it says of itself
    default_model: str | None  # None: one has to be named
    architectures: str  # those of --random-init, as its help lists them
    # What to export, and the flags that it looks at: by their names, what they say.
    source: Callable[[argparse.Namespace], Source]
    flags: dict[str, str]


def source_of(options: argparse.Namespace) -> Source:
    """Random weights, a checkpoint's directory, or a model of the hub."""
    from . import sources

    if not options.random_init:
        return sources.from_checkpoint(options.model)
    source = sources.from_seed(options.random_init, options.seed)
    say(f"Random weights, not trained (seed {options.seed})")
    return source


def gpt2_of(options: argparse.Namespace) -> Source:
    """The same, a GPT-2."""
    source = source_of(options)
    if source.family.model_type != "gpt2":
        raise ExportError(
            f"{options.random_init or options.model} is a {source.family.model_type}, and this"
            " command exports GPT-2; export_kvcache.py takes the same arguments"
        )
    return source


GPT2 = Command(
    name="export_gpt2_kvcache.py",
    description=DESCRIPTION,
    examples=EXAMPLES,
    model=(
        "ID|DIR",
        "a model of the Hugging Face hub, or a directory with config.json and safetensors"
        " (default: gpt2)",
    ),
    default_model="gpt2",
    architectures="gpt2, gpt2-medium, gpt2-large, gpt2-xl",
    source=gpt2_of,
    flags={},
)


ANY = Command(
    name="export_kvcache.py",
    description="""\
Exports a decoder-only transformer to ONNX with a key/value cache: OUTPUT_DIR/model_with_cache.onnx
(of GPT-2 gpt2_with_cache.onnx), its weights in a file of that name and .data, and config.json. It
takes Llama, Mistral, Qwen2, Qwen3, SmolLM, Phi-3, Gemma and GPT-2. The file is verified in ONNX
Runtime before it is put in place; whatever fails, a model that was already in OUTPUT_DIR stays as
it was.
""",
    examples="""\
examples:
  export_kvcache.py --model HuggingFaceTB/SmolLM2-135M          a model of the Hugging Face hub
  export_kvcache.py --model ./my-llama --dtype float16          a checkpoint directory, in 16 bits
  export_kvcache.py --model ./my-llama --weights int8           a quarter of the memory (int4: less)
  export_kvcache.py --random-init llama-3.2-1b --weights int4   random weights, nothing downloaded
""",
    model=(
        "ID|DIR|FILE.gguf|FILE.onnx",
        "a model of the Hugging Face hub, a directory with config.json and safetensors, a file of"
        " llama.cpp's, or another tool's ONNX export",
    ),
    default_model=None,
    architectures="llama-3.2-1b, smollm2-135m, gpt2, …",
    source=source_of,
    flags={},
)


# The same, installed with the package of Python.
INSTALLED = replace(
    ANY, name="kvcache-export", examples=ANY.examples.replace("export_kvcache.py", "kvcache-export")
)


class Parser(argparse.ArgumentParser):
    """Reports a wrong argument as every other error is: in one line."""

    def error(self, message: str) -> NoReturn:
        console.fail(f"{message} (see --help)")
        sys.exit(boundary.EXIT_BAD_INPUT)


def main(arguments: list[str] | None = None, command: Command = GPT2) -> int:
    """Runs one export; the process's exit code."""
    return boundary.run(lambda: _run(_parse(arguments, command), command))


def kvcache_export() -> int:
    """The command kvcache-export of the package."""
    return main(command=INSTALLED)


def _filled(value: str) -> str:
    """Refuses "", which a variable of the shell that was never set becomes."""
    if not value:
        raise argparse.ArgumentTypeError("it is empty")
    return value


def _parse(arguments: list[str] | None, command: Command = GPT2) -> argparse.Namespace:
    parser = Parser(
        prog=command.name,
        description=command.description,
        epilog=f"{command.examples}\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    a_file = {"type": _filled, "metavar": "FILE"}
    source = parser.add_mutually_exclusive_group(required=command.default_model is None)
    metavar, help_ = command.model
    source.add_argument("--model", type=_filled, metavar=metavar, help=help_)
    source.add_argument(
        "--random-init",
        type=_filled,
        metavar="NAME|CONFIG.json",
        help=f"random weights instead: {command.architectures} or a config file",
    )
    for name, help_ in command.flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=help_)
    parser.add_argument("--seed", type=int, help="seed of the random weights (default: 0)")
    parser.add_argument(
        "--output-dir",
        type=_filled,
        default="./models",
        metavar="DIR",
        help="where to write (default: ./models)",
    )
    parser.add_argument(
        "--dtype",
        default="float32",
        choices=["float32", "float16", "bfloat16"],
        help="element type of weights, cache and logits (default: float32)",
    )
    parser.add_argument(
        "--cache-dtype",
        choices=["float32", "float16", "bfloat16", "int8"],
        help="element type of keys and values, where narrower than float32: they take half of the"
        " memory, and of the time to read them, or with int8 a quarter; int8 has a scale for each"
        " token and head (default: as --dtype)",
    )
    parser.add_argument(
        "--weights",
        choices=["float32", "float16", "bfloat16", "int8", "int4", "uint4"],
        help="element type of the matrices, where narrower than float32: they take a half,"
        " a quarter or an eighth of the memory, and of the time to read them; uint4 has a minimum"
        " beside each scale, a ninth more than int4, and its embedding and head are int8: the"
        " closest to the weights that 4 bits get; others stay as they are (default: as --dtype)",
    )
    parser.add_argument(
        "--block-size",
        type=int,
        metavar="N",
        help="with int8, int4 or uint4 weights: how many inputs of an output share a scale, 16, 32,"
        " 64, 128 or 256 (default: 64 for int8, 32 for the others)",
    )
    parser.add_argument(
        "--activations",
        choices=["int8", "bfloat16", "float32"],
        help="what narrower weights are multiplied with: int8 or float32 for int8, int4 and uint4"
        " weights, where int8 rounds each token by blocks and computes several times as fast"
        " (default: int8); bfloat16 or float32 for bfloat16 weights, where bfloat16 rounds each"
        " element and computes up to twice as fast with many tokens at once (default: float32)",
    )
    parser.add_argument(
        "--weights-overrides",
        **a_file,
        help="with narrower weights: a JSON object of other types for some matrices, by patterns of"
        ' their names, for instance {"layers.0.*": "float32", "embedding.tokens": "float16"}',
    )
    parser.add_argument(
        "--rounding-ids",
        **a_file,
        help="with narrower weights or a narrower cache: a JSON list of token ids to measure on"
        " what that costs (default: random ids)",
    )
    parser.add_argument(
        "--calibration-ids",
        **a_file,
        help="with int4 or uint4 weights: a JSON list of token ids, a text like those that the"
        " model will meet, other than --rounding-ids'; weights are rounded so that the"
        " products lose little on it, which takes minutes and much of the loss away, and 5,000"
        " tokens suffice (default: each weight to nearest)",
    )
    parser.add_argument(
        "--calibration",
        type=_filled,
        metavar="TEXT_FILE",
        help="the same of a text in UTF-8, which the model's own tokenizer makes tokens of (needs"
        " the Python package tokenizers)",
    )
    parser.add_argument(
        "--hidden-states",
        action="store_true",
        help="the model also computes the hidden states behind the logits, after the last norm, as"
        ' the output "hidden_states"',
    )
    parser.add_argument(
        "--single-file",
        action="store_true",
        help="weights inside the .onnx file; as they can't be mapped, loading takes more memory",
    )
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="no progress on the terminal while long work goes on",
    )
    options = parser.parse_args(arguments)
    options.model = (
        options.model or command.default_model
    )  # argparse overlooks a conflict with a default
    if options.seed is None:
        options.seed = 0
    elif not options.random_init:
        parser.error("--seed has a meaning with --random-init only")
    elif options.seed < 0:
        parser.error(f"--seed must not be negative: {options.seed}")
    if options.calibration and options.calibration_ids:
        parser.error("--calibration and --calibration-ids are two texts; give one of them")
    options.weights = options.weights or options.dtype
    if options.weights == options.dtype:
        if options.weights_overrides:
            parser.error(
                "--weights-overrides has a meaning with --weights narrower than --dtype only"
            )
        if options.rounding_ids and options.cache_dtype in (None, options.dtype):
            parser.error(
                "--rounding-ids has a meaning with --weights or --cache-dtype narrower than --dtype"
                " only"
            )
    if options.weights not in ("int8", "int4", "uint4") and options.block_size is not None:
        parser.error("--block-size has a meaning with --weights int8, int4 or uint4 only")
    return options


def _run(options: argparse.Namespace, command: Command) -> None:
    progress.quiet = options.quiet
    say(f"Loading {options.random_init or options.model} model...")
    packages.check()
    # numpy's library makes threads, which nothing here needs, and where it can't it sends SIGINT.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Imported here, so that --help works without third-party modules and a missing one is one line.
    from . import calibration_text
    from .export import Export
    from .precision import Precision

    given, what = options.weights_overrides, "an object of names and types"
    overrides = _read("--weights-overrides", given, what, lambda value: isinstance(value, dict))
    precision = Precision(
        options.dtype,
        options.weights,
        options.block_size,
        overrides or {},
        options.activations,
        options.cache_dtype,
    )
    ids = _read("--rounding-ids", options.rounding_ids, "a list of integers", _are_ids)
    calibration = _read(
        "--calibration-ids", options.calibration_ids, "a list of integers", _are_ids
    )
    source = command.source(options)
    calibration_option = "--calibration-ids"
    if options.calibration:
        calibration_option = calibration_text.OPTION
        calibration = calibration_text.token_ids(Path(options.calibration), source)
    Export(
        source,
        precision,
        ids,
        calibration,
        options.single_file,
        options.hidden_states,
        say,
        progress,
        calibration_option,
    ).to(options.output_dir)


def _read(option: str, path: str | None, what: str, fits: Callable[[Any], bool]) -> Any:
    """The JSON value of an option's file; None where the option is not given."""
    if path is None:
        return None
    try:
        value = json_file.read_json(Path(path), pipe=True)
    except ExportError as error:
        raise ExportError(f"{option}: {error}") from error
    if not fits(value):
        raise ExportError(f"{option}: {path} must hold {what}")
    return value


def _are_ids(value: Any) -> bool:
    return isinstance(value, list) and all(type(token) is int for token in value)
