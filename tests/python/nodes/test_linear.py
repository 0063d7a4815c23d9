"""`Linear`'s body, against its definition in double precision."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
from packed import INPUTS, OUTPUTS, TYPES, rounded, weight_of
from plain_ort import PlainModel, run_node
from reference_gpt2 import ACTIVATIONS

from kvcache_export.nodes.linear import LINEAR
from kvcache_export.precision import MatrixType
from kvcache_export.spec import Layout, Matrix

BY_OURS = {"gelu_tanh": ACTIVATIONS["gelu_new"], "silu": ACTIVATIONS["silu"]}


@pytest.mark.parametrize("type_", TYPES, ids=lambda of: f"{of.weights}-{of.round_input}")
@pytest.mark.parametrize("activation", [None, "gelu_tanh", "silu"])
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_products(type_: MatrixType, activation: str | None, gated: bool, bias: bool):
    generator = np.random.default_rng(5)
    parts, layout = (OUTPUTS,), Layout.PANELS
    if gated:
        parts, layout = (OUTPUTS, OUTPUTS), Layout.ALTERNATING_PANELS
    feeds, attributes, weight = weight_of(Matrix(INPUTS, parts, layout), type_)
    if bias:
        feeds["bias"] = generator.standard_normal(sum(parts), np.float32)
    attributes |= {"outputs": OUTPUTS}
    attributes |= {"activation": activation} if activation else {}
    attributes |= {"gated": 1} if gated else {}
    attributes |= {"round_input": type_.round_input} if type_.round_input else {}
    function = BY_OURS.get(activation, lambda y: y)
    for shape in ((2, 3), (1, 0), (0, 3)):
        x = generator.standard_normal((*shape, INPUTS), np.float32)
        x[..., :2] = 1 + 2.0**-8, 1 + 3 * 2.0**-8  # which bfloat16 rounds to even
        expected = rounded(x, type_.round_input) @ weight + feeds.get("bias", 0)
        if gated:
            gate, up = np.split(expected, 2, axis=-1)
            expected = function(gate) * up
        else:
            expected = function(expected)
        found = run_node(LINEAR, {"x": x, **feeds}, attributes)
        # Sums of 41 products in float32, of magnitudes up to about 30, or the product of two.
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=5e-4 if gated else 2e-5)


def normed(x: np.ndarray, kind: str, epsilon: float) -> np.ndarray:
    x = x.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True) if kind == "layer_norm" else x
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon)


@pytest.mark.parametrize(
    ("kind", "bias"), [("layer_norm", False), ("layer_norm", True), ("rms_norm", False)]
)
def test_norm_before_and_residual_after(kind: str, bias: bool):
    generator = np.random.default_rng(6)
    feeds, _, weight = weight_of(Matrix(INPUTS, (OUTPUTS,), Layout.PANELS), MatrixType("float32"))
    x = generator.standard_normal((2, 3, INPUTS), np.float32)
    feeds["norm_weight"] = generator.standard_normal(INPUTS, np.float32)
    expected = normed(x, kind, 0.1) * feeds["norm_weight"]
    if bias:
        feeds["norm_bias"] = generator.standard_normal(INPUTS, np.float32)
        expected += feeds["norm_bias"]
    feeds["residual"] = generator.standard_normal((2, 3, OUTPUTS), np.float32)
    attributes = {"outputs": OUTPUTS, "norm": kind, "epsilon": 0.1}
    found = run_node(LINEAR, {"x": x, **feeds}, attributes)
    np.testing.assert_allclose(found, expected @ weight + feeds["residual"], atol=2e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_bfloat16_products_in_plain_onnx_runtime(export, tmp_path: Path, *, tied: bool):
    """Gives the float32 model's logits but for the rounding that config.json tells."""
    config = checkpoints.SMALL | {"tie_word_embeddings": tied}
    checkpoint = checkpoints.write(tmp_path / "checkpoint", config, checkpoints.weights(config))
    overrides = tmp_path / "overrides.json"
    overrides.write_text(json.dumps({"transformer.h.0.mlp.*": "float32"}))
    options = ["--weights", "bfloat16", "--weights-overrides", overrides]
    rounded = export("--model", checkpoint, *options, "--activations", "bfloat16")
    wide = export("--model", checkpoint, *options, "--activations", "float32")
    fields = json.loads((rounded / "config.json").read_text())
    assert fields["activations"] == "bfloat16"
    assert json.loads((wide / "config.json").read_text())["activations"] == "float32"
    ids = np.arange(20)[None]
    found, _ = PlainModel(rounded).run(ids)
    expected, _ = PlainModel(export("--model", checkpoint)).run(ids)
    of_weights, _ = PlainModel(wide).run(ids)
    limit = fields["rounding"]["max_abs_logit_diff"]
    assert 0 < np.abs(found - expected).max() < 3 * limit
    assert np.abs(found - of_weights).max() > 1e-4 * np.abs(expected).max()
    graph = onnx.load(rounded / "gpt2_with_cache.onnx", load_external_data=False).graph
    to = {
        node.name
        for node in graph.node
        for attribute in node.attribute
        if attribute.name == "round_input" and attribute.s == b"bfloat16"
    }
    products = {node.name for node in graph.node if node.op_type in ("Linear", "Head")}
    assert to == products - {"layers.0.mlp.up", "layers.0.mlp.down"}
