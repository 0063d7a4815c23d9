"""Bodies of the kvcache nodes: what they compute, and refuse as only the library's kernels can."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import onnx
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
from plain_ort import BFLOAT16, PlainModel, run_function

from kvcache_export import functions
from kvcache_export.functions import GUARD_NAME
from kvcache_export.packing import pack
from kvcache_export.precision import Product

IN_PLACE = {
    "block_table": np.zeros((1, 1), np.int32),
    "past_lengths": np.zeros(1, np.int32),
    "append_positions": np.zeros(1, np.int32),
    "row_offsets": np.zeros(2, np.int32),
    "tree_parents": np.zeros(3, np.int32),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_in_place_inputs_are_refused_by_an_error_that_says_so(small_model: PlainModel, name: str):
    with pytest.raises(Fail, match=GUARD_NAME):
        small_model.run(np.ones((1, 3)), **{name: IN_PLACE[name]})


def test_empty_in_place_inputs_are_as_good_as_none(small_model: PlainModel):
    ids = np.arange(6).reshape(2, 3)
    empty = {name: value[..., :0] for name, value in IN_PLACE.items()}
    for found, expected in zip(
        small_model.run(ids, **empty)[1], small_model.run(ids)[1], strict=True
    ):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("cache_dtype", ["float16", "int8"])
def test_keys_and_values_are_rounded_once_and_attended_to_as_they_are_kept(
    export, small_checkpoint, cache_dtype: str
):
    """So that logits do not depend on which tokens one run computed: cached = uncached."""
    model = PlainModel(export("--model", small_checkpoint, "--cache-dtype", cache_dtype))
    ids = np.arange(12)[None]
    at_once, presents = model.run(ids)
    first, past = model.run(ids[:, :7])
    second, grown = model.run(ids[:, 7:], past)
    assert {present.dtype for present in (*presents, *grown)} == {np.dtype(cache_dtype)}
    np.testing.assert_allclose(np.concatenate([first, second], axis=1), at_once, atol=1e-4)
    for found, expected in zip(grown, presents, strict=True):
        if cache_dtype == "int8":  # a value, and the lower byte of the scale, by one
            assert found.shape[3] == model.config["head_dim"] + 2
            np.testing.assert_allclose(found.astype(int), expected.astype(int), atol=1)
        else:
            np.testing.assert_array_max_ulp(found, expected, maxulp=1)


def test_positions_outside_the_sequence_are_refused(small_model: PlainModel):
    with pytest.raises(InvalidArgument, match="indices element out of data bounds"):
        small_model.run(np.ones((1, 3)), logits_positions=np.array([3]))


@pytest.mark.parametrize("name", ["BFloat16Linear", "BFloat16LinearGelu", "BFloat16Head"])
@pytest.mark.parametrize("shape", [(2, 3, 41), (1, 0, 41)])
def test_products_of_bfloat16_round_what_they_multiply(name: str, shape: tuple[int, ...]):
    """To nearest even, which 1 + 2^-8 shows; and nothing else, which double precision shows."""
    random = np.random.default_rng(5)
    inputs, outputs = shape[-1], 70
    x = random.standard_normal(shape, np.float32)
    x[..., :2] = 1 + 2.0**-8, 1 + 3 * 2.0**-8
    weight = random.standard_normal((inputs, outputs), np.float32).astype(BFLOAT16)
    bias = random.standard_normal(outputs, np.float32)
    rounded = x.astype(BFLOAT16).astype(np.float64)
    assert (rounded[..., :2] == [1, 1 + 2.0**-6]).all()
    expected = rounded @ weight.astype(np.float64)
    if name == "BFloat16Head":
        found = run_function(functions.head(Product.BFLOAT16), {"x": x, "weight": weight.T}, {})
    else:
        is_gelu = name == "BFloat16LinearGelu"
        function = (functions.linear_gelu if is_gelu else functions.linear)(Product.BFLOAT16)
        feeds = {"x": x, "weight": pack(weight), "bias": bias}
        found = run_function(function, feeds, {})
        expected += bias
        if is_gelu:
            inner = np.sqrt(2 / np.pi) * (expected + 0.044715 * expected**3)
            expected = 0.5 * expected * (1 + np.tanh(inner))
    np.testing.assert_allclose(found, expected, atol=2e-5)


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
    layer = ["NormLinear", "CachedAttention", "LinearResidual", "NormLinearGelu", "LinearResidual"]
    last = [name if name == "CachedAttention" else f"BFloat16{name}" for name in layer]
    nodes = [node.op_type for node in graph.node if node.domain == functions.DOMAIN]
    assert nodes == ["TokenEmbedding", *last[:3], *layer[3:], *last, "BFloat16SelectNormHead"]
