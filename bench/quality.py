"""What narrower weights cost on a text: KL divergence, perplexity, bytes, beside llama.cpp's types.

    bench/quality.py MODEL.gguf --ids TEXT.json [--calibration-ids OTHER.json]
                     [--peer Q4_K_M=FILE.gguf ...] [--widths …] [--json RESULT.json]

The reference is MODEL.gguf in float32. A peer's file is the same weights in a type of llama.cpp's
(`llama-quantize --allow-requantize MODEL.gguf FILE.gguf Q4_K_M`). All are measured alike: the
weights alone, in plain ONNX Runtime with float32 activations, a peer's dequantised to float32. What
either engine loses by rounding activations is no part of it. The text is a JSON list of ids, in
rows of 256 tokens.

Where MODEL.gguf is in 4 bits already, a type with the same blocks has an advantage. `python
bench/peers/smollm2.py moved OUTPUT.gguf` (in the peers' environment) writes such a model's weights
moved at random within half a step, on nobody's grid.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "python"))

from kvcache_export import calibration, model, rounding, save, sources, stand_ins, verify
from kvcache_export.precision import Precision

BLOCK = 32
# Ours: the type, the types of some matrices, and whether it is calibrated.
EMBEDDING_INT8 = {"embedding.tokens": "int8"}
TEN_DOWN_INT8 = {"layers.?.mlp.down": "int8"}  # of the first ten layers
WIDTHS = {
    "int8": ("int8", {}, False),
    "int4": ("int4", {}, False),
    "int4, calibrated": ("int4", {}, True),
    "int4, embedding int8, calibrated": ("int4", EMBEDDING_INT8, True),
    "uint4 everywhere": ("uint4", {"*": "uint4"}, False),
    "uint4": ("uint4", {}, False),  # whose embedding and head are int8
    "uint4, calibrated": ("uint4", {}, True),
    "uint4, ten down int8, calibrated": ("uint4", TEN_DOWN_INT8, True),
}


def _logits(source: sources.Source, precision: Precision, ids: np.ndarray, **more: object) -> tuple:
    """float32 logits [rows, tokens, vocab], and the bytes of the weights."""
    with tempfile.TemporaryDirectory() as directory:
        built = model.with_weights(source, precision, **more)
        file = Path(directory) / "model.onnx"
        save.write_model(built, file, single_file=False, progress=lambda *_: None)
        return verify.Runner(file).logits(ids, [ids.shape[1]]), save.weight_bytes(built)


def _perplexity(logits: np.ndarray, ids: np.ndarray) -> float:
    """Of each token after the first of its row, given those before it."""
    losses = [
        -rounding._log_probabilities(at)[token]
        for row, tokens in zip(logits, ids, strict=True)
        for at, token in zip(row[:-1], tokens[1:], strict=True)
    ]
    return float(np.exp(np.mean(losses)))


@contextlib.contextmanager
def _inputs(source: sources.Source, ids: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
    """What every matrix is multiplied with in the text, in files while the block lasts."""
    with tempfile.TemporaryDirectory() as directory:
        aside = Path(directory) / "model.onnx"
        with stand_ins.in_float32(aside, source, lambda *_: None) as wide:
            files = Path(directory) / "inputs"
            found = calibration.inputs(wide, source.spec.matrices(), ids, files, lambda *_: None)
        yield found


def _measured(options: argparse.Namespace) -> Iterator[dict[str, object]]:
    """A row of the table after the other; the first is the reference's."""
    source = sources.from_checkpoint(options.model)
    ids = rounding.token_ids(source.spec, json.loads(options.ids.read_text()), "--ids")
    wide = Precision("float32", "float32")
    expected, size = _logits(source, wide, ids)

    def row(name: str, found: np.ndarray, size: int) -> dict[str, object]:
        cost = rounding.cost(found, expected)
        return {
            "weights": name,
            "bytes": size,
            "mean_kl_divergence": cost.mean_kl_divergence,
            "top1_agreement": cost.top1_agreement,
            "perplexity": _perplexity(found, ids),
            "tokens": cost.tokens,
        }

    yield row("float32", expected, size)
    for name, path in options.peer:
        from gguf import GGUFReader

        found, _ = _logits(sources.from_checkpoint(path), wide, ids)
        size = sum(int(tensor.n_bytes) for tensor in GGUFReader(path).tensors)
        yield row(f"llama.cpp's {name}", found, size)
    with contextlib.ExitStack() as stack:
        inputs = None
        if options.calibration_ids is not None:
            text = json.loads(options.calibration_ids.read_text())
            rows = rounding.token_ids(source.spec, text, calibration.OPTION)
            inputs = stack.enter_context(_inputs(source, rows))
        for name in options.widths or WIDTHS:
            weights, overrides, calibrated = WIDTHS[name]
            if calibrated and inputs is None:
                continue
            precision = Precision("float32", weights, BLOCK, overrides, "float32")
            precision = model.settled(source, precision)
            more = {"inputs": inputs} if calibrated else {}
            yield row(name, *_logits(source, precision, ids, **more))


def _peer(text: str) -> tuple[str, str]:
    name, _, path = text.partition("=")
    if not path:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=FILE.gguf")
    return name, path


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", metavar="MODEL.gguf")
    parser.add_argument("--ids", type=Path, required=True, help="a JSON list of the text's ids")
    parser.add_argument(
        "--calibration-ids", type=Path, help="of another text; without, nothing is calibrated"
    )
    parser.add_argument("--peer", type=_peer, action="append", default=[], metavar="NAME=FILE.gguf")
    parser.add_argument(
        "--widths",
        nargs="+",
        choices=list(WIDTHS),
        metavar="NAME",
        help=f"some of ours only: {'; '.join(WIDTHS)} (default: all)",
    )
    parser.add_argument("--json", type=Path, help="writes the rows there")
    options = parser.parse_args()
    rows = []
    print("| weights | MB | KL divergence | same best token | perplexity |")
    print("| --- | --- | --- | --- | --- |")
    for row in _measured(options):
        rows.append(row)
        print(
            f"| {row['weights']} | {row['bytes'] / 1e6:.1f} | {row['mean_kl_divergence']:.2e}"
            f" | {100 * row['top1_agreement']:.1f} % | {row['perplexity']:.2f} |",
            flush=True,
        )
        if options.json is not None:
            options.json.write_text(json.dumps(rows, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
