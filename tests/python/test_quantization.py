"""Weights of 8 and 4 bits: their layout, what quantising loses, and that plain ORT runs them."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from plain_ort import PlainModel, run_function

from kvcache_export import functions
from kvcache_export.cli import main
from kvcache_export.errors import ExportError
from kvcache_export.precision import ACCURACY_LEVELS, Product
from kvcache_export.quantization import (
    LARGEST,
    QuantizedParameter,
    ScalesParameter,
    quantize,
    zero_point,
)

IDS = np.arange(20)[None]


def packed_value(values: np.ndarray, bits: int, i: int, o: int) -> int:
    """Input i of output o less the zero point, as docs/MODEL_FILE.md says where it lies."""
    group = i // 4
    if bits == 8:
        return int(values[o // 64, group, o % 64, i % 4]) - 128
    byte = int(values[o // 64, group // 2, o % 64, i % 4])
    return (byte >> 4 if group % 2 else byte & 15) - 8


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize(("inputs", "outputs", "block_size"), [(40, 5, 16), (64, 130, 32)])
def test_errors_are_at_most_half_a_step(
    inputs: int, outputs: int, block_size: int, bits: int, *, by_rows: bool
):
    shape = (outputs, inputs) if by_rows else (inputs, outputs)
    weight = np.random.default_rng(bits).standard_normal(shape, np.float32)
    parameter = QuantizedParameter(shape, bits, block_size, by_rows=by_rows)
    values, scales = parameter.quantized(weight, "w")
    assert values.shape == tuple(parameter.shape.numpy())
    assert scales.shape == tuple(ScalesParameter(parameter).shape.numpy())
    assert (values.dtype, scales.dtype) == (np.uint8, np.float16)
    for i, o in np.ndindex(inputs, outputs):
        scale = float(scales[o // 64, i // block_size, o % 64])
        found = scale * packed_value(values, bits, i, o)
        # A scale rounded by 2^-11 moves the ends of its range; of 4 bits the upper end is 7.
        most = 0.56 if bits == 8 else 1.01
        assert abs(found - weight[(o, i) if by_rows else (i, o)]) <= most * abs(scale)


def test_what_fills_up_inputs_and_outputs_is_zero():
    values, scales = QuantizedParameter((17, 3), 4, 16).quantized(np.ones((17, 3), np.float32), "w")
    assert all(packed_value(values, 4, i, 0) == 0 for i in range(17, 32))
    assert all(packed_value(values, 4, i, 63) == 0 for i in range(32))
    assert not scales[0, :, 3:].any()


def test_the_largest_value_of_a_block():
    weight = np.float32([[1], [-2], [0.5], [8]] * 4)
    eight, scales = quantize(weight, 8, 16, "w")
    assert eight[:4, 0].tolist() == [128 + 16, 128 - 32, 128 + 8, 128 + LARGEST]
    assert scales.tolist() == [[np.float16(8 / LARGEST)]]
    four, scales = quantize(weight, 4, 16, "w")
    assert four[:4, 0].tolist() == [8 - 1, 8 + 2, 8, 0]
    assert scales.tolist() == [[-1]]


@pytest.mark.parametrize("bits", [8, 4])
def test_a_block_of_zeros(bits: int):
    values, scales = quantize(np.zeros((16, 1), np.float32), bits, 16, "w")
    assert (values == zero_point(bits)).all()
    assert not scales.any()


@pytest.mark.parametrize("bits", [8, 4])
def test_scales_that_do_not_fit_are_refused(bits: int):
    with pytest.raises(ExportError, match="'w' does not fit float16"):
        quantize(np.full((16, 1), 1e8, np.float32), bits, 16, "w")


def rounded_to_int8(x: np.ndarray, block_size: int) -> np.ndarray:
    """Activations [..., inputs] as docs/MODEL_FILE.md rounds them."""
    result = np.empty_like(x)
    for first in range(0, x.shape[-1], block_size):
        part = x[..., first : first + block_size]
        largest = np.maximum(np.abs(part).max(axis=-1, keepdims=True), np.float32(1e-30))
        values = np.rint(part * (np.float32(127) / largest))
        result[..., first : first + block_size] = values * (largest / np.float32(127))
    return result


@pytest.mark.parametrize("activations", ["int8", "float32"])
@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", [(2, 3, 40), (1, 0, 40), (0, 3, 40)])
def test_the_body_of_a_product(shape: tuple[int, ...], bits: int, activations: str):
    """The function in plain ONNX Runtime, against its definition in double precision."""
    random = np.random.default_rng(bits)
    inputs, outputs, block_size = shape[-1], 70, 16
    x = random.standard_normal(shape, np.float32) * 3
    weight = random.standard_normal((inputs, outputs), np.float32)
    bias = random.standard_normal(outputs, np.float32)
    values, scales = QuantizedParameter(weight.shape, bits, block_size).quantized(weight, "w")
    attributes = {"bits": bits, "block_size": block_size}
    attributes["accuracy_level"] = ACCURACY_LEVELS[activations]
    feeds = {"x": x, "weight": values, "bias": bias, "weight_scales": scales}
    found = run_function(functions.linear(Product.QUANTIZED), feeds, attributes)
    used = rounded_to_int8(x, block_size) if activations == "int8" else x
    widened = [
        [float(scales[o // 64, i // block_size, o % 64]) * packed_value(values, bits, i, o)]
        for i, o in np.ndindex(inputs, outputs)
    ]
    expected = used.astype(np.float64) @ np.reshape(widened, (inputs, outputs)) + bias
    np.testing.assert_allclose(found, expected, atol=2e-5)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    return checkpoints.write_random(directory, tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def float32_logits(export, checkpoint: Path) -> np.ndarray:
    return PlainModel(export("--model", checkpoint)).run(IDS)[0]


@pytest.mark.parametrize("activations", ["int8", "float32"])
@pytest.mark.parametrize(("weights", "block_size"), [("int8", None), ("int8", 16), ("int4", None)])
def test_the_file_runs_in_plain_onnx_runtime(
    export,
    checkpoint: Path,
    float32_logits: np.ndarray,
    *,
    weights: str,
    block_size: int | None,
    activations: str,
):
    """And gives the float32 model's logits but for the rounding that config.json tells."""
    options = [] if block_size is None else ["--block-size", block_size]
    options += ["--activations", activations]
    narrow = export("--model", checkpoint, "--weights", weights, *options)
    found, _ = PlainModel(narrow).run(IDS)
    fields = json.loads((narrow / "config.json").read_text())
    assert fields["block_size"] == (block_size or {"int8": 64, "int4": 32}[weights])
    assert fields["activations"] == activations
    assert found.dtype == np.float32
    limit = fields["rounding"]["max_abs_logit_diff"]
    assert 0 < np.abs(found - float32_logits).max() < 3 * limit


def test_overrides_leave_layers_wider(export, small_checkpoint: Path, tmp_path: Path):
    overrides = tmp_path / "overrides.json"
    overrides.write_text(json.dumps({"transformer.h.0.*": "float32", "transformer.wte": "float16"}))
    narrow = ["--model", small_checkpoint, "--weights", "int8", "--block-size", 16]
    all_int8 = export(*narrow)
    mixed = export(*narrow, "--weights-overrides", overrides)
    cost, wider = (json.loads((path / "config.json").read_text()) for path in (all_int8, mixed))
    assert wider["weights_overrides"] == {
        "transformer.h.0.*": "float32",
        "transformer.wte": "float16",
    }
    assert wider["weight_bytes_per_token"] > cost["weight_bytes_per_token"]
    difference = "mean_abs_logit_diff"
    assert 0 < wider["rounding"][difference] < cost["rounding"][difference]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ('{"transformer.wte": ["int8"]}', "['int8'] for 'transformer.wte', must be one of"),
        ('{"transformer.wt[\\ud800e]": "float32"}', "no matrix of the model is called"),
        (
            '{"transformer.h.9.*": "float32"}',
            "no matrix of the model is called 'transformer.h.9.*'",
        ),
        ('{"transformer.wte": "int3"}', "'int3' for 'transformer.wte', must be one of float32"),
        ("[]", "must hold an object"),
        ("{", "is not valid JSON"),
    ],
)
def test_bad_overrides(
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    overrides: str,
    message: str,
):
    path = tmp_path / "overrides.json"
    path.write_text(overrides)
    options = ["--model", str(small_checkpoint), "--output-dir", str(tmp_path / "model")]
    assert main([*options, "--weights", "int8", "--weights-overrides", str(path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "int8", "--dtype", "float16"], "--weights int8 with --dtype float16"),
        (["--weights", "int8", "--block-size", "48"], "--block-size is 48, must be one of 16, 32"),
        (["--weights", "float16", "--block-size", "32"], "--block-size has a meaning with"),
        (["--activations", "int8"], "--activations int8 with --weights float32, --dtype float32"),
        (["--weights-overrides", "x"], "--weights-overrides has a meaning with"),
    ],
)
def test_options_that_contradict(capsys: pytest.CaptureFixture, options: list[str], message: str):
    try:
        assert main(["--random-init", "gpt2", *options]) == 2
    except SystemExit as stopped:
        assert stopped.code == 2
    assert message in capsys.readouterr().err
