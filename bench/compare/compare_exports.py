#!/usr/bin/env python3
"""Whether two trees of this repository export models that compute the same, to the last bit.

    bench/compare/compare_exports.py BEFORE AFTER [--goldens NAME ...]

Exports every golden model with each tree's exporter in every width, runs both files in plain ONNX
Runtime (a prefill, then a step of several tokens and single ones over the cache, of two rows) and
compares logits, keys and values bit by bit. For work on the exporter that must change no logit.
Ends with 1 where something differs.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnxruntime as ort
from widths import WIDTHS

ROOT = Path(__file__).resolve().parents[2]

# ONNX's numbers of ONNX Runtime's names.
ELEMENT_TYPES = {
    "tensor(float)": 1,
    "tensor(int8)": 3,
    "tensor(float16)": 10,
    "tensor(bfloat16)": 16,
}

STEPS = (7, 3, 1, 1)
BATCH = 2


def export(tree: Path, golden: Path, options: tuple[str, ...], output: Path) -> Path:
    """The graph's file."""
    command = [sys.executable, tree / "export_gpt2_kvcache.py", "--model", golden, *options]
    done = subprocess.run(
        [*command, "--output-dir", output], check=False, capture_output=True, text=True
    )
    if done.returncode != 0:
        sys.exit(f"{tree}: {golden.name} {' '.join(options)}: {done.stderr}")
    return next(output.glob("*.onnx"))


def computed(file: Path) -> dict[str, bytes]:
    """The bytes of every output of every step."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    pasts = [value for value in session.get_inputs() if value.name.startswith("past_")]
    past = {
        value.name: ort.OrtValue.ortvalue_from_shape_and_type(
            [BATCH, value.shape[1], 0, value.shape[3]], ELEMENT_TYPES[value.type]
        )
        for value in pasts
    }
    vocab_size = session.get_outputs()[0].shape[2]
    ids = np.random.default_rng(0).integers(vocab_size, size=(BATCH, sum(STEPS)))
    found, start = {}, 0
    for size in STEPS:
        positions = np.tile(np.arange(start, start + size), (BATCH, 1))
        feeds = {
            "input_ids": ort.OrtValue.ortvalue_from_numpy(ids[:, start : start + size].copy()),
            "position_ids": ort.OrtValue.ortvalue_from_numpy(positions),
            **past,
        }
        outputs = session.run_with_ort_values(names, feeds)
        past = {value.name: output for value, output in zip(pasts, outputs[1:], strict=True)}
        for name, output in zip(names, outputs, strict=True):
            # Not by way of NumPy, which has no bfloat16.
            bits = ctypes.string_at(output.data_ptr(), output.tensor_size_in_bytes())
            found[f"{name} of tokens {start} to {start + size - 1}"] = bits
        start += size
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("trees", nargs=2, type=Path, metavar="TREE")
    parser.add_argument("--goldens", nargs="*", help="names of some (default: all)")
    options = parser.parse_args()
    goldens = sorted(path.parent for path in ROOT.glob("tests/goldens/*/golden.json"))
    different = compared = 0
    for golden in (each for each in goldens if not options.goldens or each.name in options.goldens):
        for width, of in WIDTHS.items():
            with tempfile.TemporaryDirectory() as directory:
                before, after = (
                    computed(export(tree.resolve(), golden, of, Path(directory) / str(number)))
                    for number, tree in enumerate(options.trees)
                )
            differing = [name for name in before if before[name] != after.get(name)]
            compared, different = compared + len(before), different + len(differing)
            if differing:
                print(f"{golden.name}, {width}: {len(differing)} differ, first {differing[0]}")
    print(f"{compared} outputs compared, {different} differ")
    sys.exit(1 if different or not compared else 0)


if __name__ == "__main__":
    main()
