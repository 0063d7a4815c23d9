"""ONNX exports of other tools: the same logits as theirs in plain ONNX Runtime.

tests/goldens/make_export_goldens.py made them, with the tools themselves.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from export_goldens import changed, ids_of, logits_of, set_attribute, unpacked
from plain_ort import PlainModel, relative_difference

from kvcache_export import sources
from kvcache_export.precision import MatrixType
from kvcache_export.runtime import session

FLOAT32 = ["gpt2/optimum", "qwen2/optimum", "qwen2/genai-float32", "qwen2/mobius"]
BLOCKS = {4: "qwen2/genai-int4", 8: "qwen2/genai-int8"}
TOLERANCE = 1e-5  # of the largest logit
ROUNDED_SCALES = 5e-3  # the same, ten times what rounding to 11 bits moves a weight by


def logits_of_theirs(directory: Path, ids: np.ndarray) -> np.ndarray:
    """What plain ONNX Runtime makes of their file, over an empty past."""
    config = json.loads((directory / "config.json").read_text())
    heads = config.get("num_key_value_heads", config.get("n_head"))
    theirs, feeds = session(directory / "model.onnx"), {}
    for given in theirs.get_inputs():
        if given.name.startswith("past_key_values"):
            feeds[given.name] = np.zeros((1, heads, 0, config.get("head_dim", 8)), np.float32)
        else:
            ones = np.ones_like(ids)
            feeds[given.name] = {
                "input_ids": ids,
                "attention_mask": ones,
                "position_ids": ones.cumsum(1) - 1,
            }[given.name]
    return theirs.run(["logits"], feeds)[0][0]


@pytest.mark.parametrize("which", FLOAT32)
def test_logits_are_theirs_and_hugging_faces(which: str, tmp_path: Path, export):
    theirs, ids = unpacked(tmp_path, which), ids_of(which)
    logits, _ = PlainModel(export("--model", theirs)).run(ids)
    assert relative_difference(logits[0], logits_of_theirs(theirs, ids)) < TOLERANCE
    assert relative_difference(logits[0], logits_of(which)) < TOLERANCE


def without_rounded_activations(directory: Path) -> Path:
    """The same model, told to multiply in float32: accuracy level 4 rounds what it multiplies."""

    def change(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "MatMulNBits":
                set_attribute(node, "accuracy_level", 1)

    return changed(directory, change)


@pytest.mark.parametrize("bits", BLOCKS)
def test_logits_of_dequantised_blocks_are_theirs(bits: int, tmp_path: Path, export):
    theirs = without_rounded_activations(unpacked(tmp_path, BLOCKS[bits]))
    ids = ids_of(BLOCKS[bits])
    logits, _ = PlainModel(export("--model", theirs)).run(ids)
    assert relative_difference(logits[0], logits_of_theirs(theirs, ids)) < TOLERANCE


@pytest.mark.parametrize("bits", BLOCKS)
def test_logits_of_blocks_taken_over_are_theirs(bits: int, tmp_path: Path, export):
    """Nothing but scales is rounded, from float32 to float16."""
    theirs = without_rounded_activations(unpacked(tmp_path / "theirs", BLOCKS[bits]))
    ids = ids_of(BLOCKS[bits])
    overrides = tmp_path / "overrides.json"
    overrides.write_text('{"embedding.tokens": "float32"}')  # as theirs has it
    options = ("--weights", f"int{bits}", "--block-size", "32", "--activations", "float32")
    more = ("--weights-overrides", overrides)
    logits, _ = PlainModel(export("--model", theirs, *options, *more)).run(ids)
    assert relative_difference(logits[0], logits_of_theirs(theirs, ids)) < ROUNDED_SCALES


@pytest.mark.parametrize("bits", BLOCKS)
def test_values_of_blocks_are_taken_over(bits: int, tmp_path: Path):
    source = sources.from_checkpoint(str(unpacked(tmp_path, BLOCKS[bits])))
    half, type_ = 1 << (bits - 1), MatrixType(f"int{bits}", 32)
    for role in ("layers.0.attention.qkv", "layers.1.mlp.up", "layers.1.mlp.down"):
        weight = source.read(f"{role}.weight")
        scales = source.block_scales(f"{role}.weight", type_)
        assert scales.dtype == np.float16
        assert scales.shape == (-(-weight.shape[0] // 32), weight.shape[1])
        values = weight / np.repeat(scales.astype(np.float32), 32, axis=0)[: len(weight)]
        assert np.abs(values - np.rint(values)).max() < half * 1.01 * 2**-11
        assert -half <= np.rint(values).min() and np.rint(values).max() < half
        assert source.block_scales(f"{role}.weight", MatrixType(type_.weights, 64)) is None
        other = {"int8": "int4", "int4": "int8"}[type_.weights]
        assert source.block_scales(f"{role}.weight", MatrixType(other, 32)) is None
    assert source.block_scales("embedding.tokens.weight", type_) is None
