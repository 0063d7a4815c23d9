"""The command line: arguments, and every failure as one line and an exit code.

0 done; 1 the result failed verification; 2 bad input or surroundings; 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys

from .errors import ExportError, VerificationError

DESCRIPTION = """\
Exports GPT-2 to ONNX with a key/value cache, verifies the file in ONNX Runtime and only then puts it
in place: OUTPUT_DIR/gpt2_with_cache.onnx, its weights in gpt2_with_cache.onnx.data, and config.json.
"""

EXAMPLES = """\
examples:
  python export_gpt2_kvcache.py                                  GPT-2 (124M) from the Hugging Face hub
  python export_gpt2_kvcache.py --model ./my-gpt2 --dtype float16    a checkpoint directory
  python export_gpt2_kvcache.py --random-init gpt2-medium --seed 7   no download, random weights
  python export_gpt2_kvcache.py --random-init config.json            ... of any GPT-2 config

exit codes: 0 exported; 1 the exported model failed verification; 2 bad input; 130 interrupted.
Whatever the failure, a model already in OUTPUT_DIR stays as it was.
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        _run(options)
    except ExportError as error:
        return _fail(str(error), 2)
    except VerificationError as error:
        return _fail(str(error), 1)
    except ModuleNotFoundError as error:
        install = "python -m pip install -r requirements.txt"
        return _fail(f"Python module {error.name!r} is missing; install it with: {install}", 2)
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    return 0


def _run(options: argparse.Namespace) -> None:
    title = options.random_init or options.model
    print(f"Loading {os.path.basename(title.rstrip('/'))} model...", flush=True)
    # Imported here, so that --help works and a missing module is reported in one line.
    from . import weights
    from .export import export

    if options.random_init:
        source = weights.from_seed(options.random_init, options.seed or 0)
        print(f"Random weights, not trained (seed {options.seed or 0})")
    else:
        source = weights.from_checkpoint(options.model)
    say = lambda line: print(line, flush=True)
    export(source, options.output_dir, options.dtype, options.single_file, say, _progress())


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="export_gpt2_kvcache.py",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", default=None)
    parser.add_argument("--random-init")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--output-dir", default="./models")
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--single-file", action="store_true")
    o = parser.parse_args(arguments)
    o.model = o.model or "gpt2"
    return o


def _fail(message: str, code: int) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _progress():
    return lambda a, b: None
