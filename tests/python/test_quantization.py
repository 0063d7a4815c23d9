"""Weights of 8 and 4 bits: their layout, what quantising loses, and that plain ORT runs them."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
from plain_ort import PlainModel

from kvcache_export import quantization
from kvcache_export.cli import main
from kvcache_export.errors import ExportError
from kvcache_export.precision import MatrixType
from kvcache_export.quantization import quantize, zero_point

IDS = np.arange(20)[None]


def test_the_largest_value_of_a_block():
    weight = np.float32([[1], [-2], [0.5], [8]] * 4)
    eight, scales = quantize(weight, MatrixType("int8", 16), "w")
    assert eight[:4, 0].tolist() == [128 - 16, 128 + 32, 128 - 8, 0]
    assert scales.tolist() == [[-8 / 128]]
    alone = np.float32([[0], [0], [0], [8]] * 4)
    four, scales = quantize(alone, MatrixType("int4", 16), "w")
    assert four[:4, 0].tolist() == [8, 8, 8, 0]
    assert scales.tolist() == [[-1]]


def test_four_bits_take_the_scale_with_the_least_weighted_error():
    """Nearly that of all scales, and never worse than cutting nothing off."""
    weight = np.random.default_rng(0).standard_normal((32, 400)).astype(np.float32)
    weight[:, ::7] *= np.random.default_rng(1).standard_normal((32, 58)) ** 2  # longer tails

    def error(scales: np.ndarray) -> np.ndarray:
        values = np.rint(weight / scales).clip(-8, 7)
        return (weight**2 * (weight - values * scales) ** 2).sum(axis=0)

    values, scales = quantize(weight, MatrixType("int4", 32), "w")
    scales = scales[0].astype(np.float32)
    found = (weight**2 * (weight - (values - 8.0) * scales) ** 2).sum(axis=0)
    whole = np.take_along_axis(weight, np.abs(weight).argmax(axis=0)[None], axis=0)[0] / -8
    best = np.min([error(whole * f) for f in np.linspace(0.3, 1.2, 300)], axis=0)
    assert (found <= error(whole) * 1.0001).all()
    assert (found / best).mean() < 1.03
    assert (found / error(whole)).mean() < 0.92


def test_minimums_follow_scales():
    """Weights on such a grid come back as they are, scales and minimums in turns."""
    generator = np.random.default_rng(2)
    scales = generator.uniform(0.01, 1, (3, 1, 5)).astype(np.float16)
    minimums = generator.standard_normal((3, 1, 5)).astype(np.float16)
    values = generator.integers(0, 16, (3, 32, 5))
    values[:, 0], values[:, 1] = 0, 15
    weight = (values * scales.astype(np.float32) + minimums.astype(np.float32)).reshape(96, 5)
    both = np.stack([scales[:, 0], minimums[:, 0]], axis=1).reshape(6, 5)
    for given in (None, both):
        found, found_scales = quantize(weight, MatrixType("uint4", 32), "w", given)
        np.testing.assert_array_equal(found.reshape(3, 32, 5), values)
        np.testing.assert_allclose(found_scales, both, rtol=2e-3, atol=2e-3)
    np.testing.assert_array_equal(found_scales, both)


def test_minimums_lower_the_weighted_error():
    """Nearly to that of all ranges about the middle, and never above the whole range's."""
    generator = np.random.default_rng(3)
    weight = (generator.standard_normal((32, 400)) + generator.standard_normal(400)).astype("f4")

    def error(line: np.ndarray, values: np.ndarray) -> np.ndarray:
        found = line[0].astype(np.float32) * values + line[1].astype(np.float32)
        return (weight**2 * (weight - found) ** 2).sum(axis=0)

    values, line = quantize(weight, MatrixType("uint4", 32), "w")
    low, high = weight.min(axis=0), weight.max(axis=0)
    whole = np.stack([(high - low) / 15, low])
    of_whole = error(whole, np.rint((weight - low) / whole[0]))
    four, scale = quantize(weight, MatrixType("int4", 32), "w")
    symmetric = error(np.stack([scale[0], 0 * scale[0]]), four - 8.0)
    assert (error(line, values) <= of_whole * 1.01).all()
    assert error(line, values).sum() < 0.85 * of_whole.sum()
    assert error(line, values).sum() < 0.5 * symmetric.sum()


TYPES = [MatrixType("int8", 16), MatrixType("int4", 16), MatrixType("uint4", 16)]


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.weights)
def test_a_block_of_zeros(type_: MatrixType):
    values, scales = quantize(np.zeros((16, 1), np.float32), type_, "w")
    assert (values == zero_point(type_)).all()
    assert not scales.any()


@pytest.mark.parametrize("weights", ["int8", "int4", "uint4"])
def test_columns_are_quantised_some_at_a_time(monkeypatch: pytest.MonkeyPatch, weights: str):
    """What is in memory beside the largest weight of a model is little; the values are the same."""
    type_ = MatrixType(weights, 32, "int8")
    weight = np.random.default_rng(5).standard_normal((100, 777), dtype=np.float32)
    values, scales = quantize(weight, type_, "x")
    monkeypatch.setattr(quantization, "QUANTIZED_AT_ONCE", 1000)
    for known in (None, scales):
        found = quantize(weight, type_, "x", known)
        assert found[0].dtype == values.dtype
        assert found[1].dtype == scales.dtype
        assert np.array_equal(found[0], values)
        assert np.array_equal(found[1], scales)


@pytest.mark.parametrize("type_", TYPES, ids=lambda type_: type_.weights)
def test_scales_that_do_not_fit_are_refused(type_: MatrixType):
    with pytest.raises(ExportError, match="'w' does not fit float16"):
        quantize(np.full((16, 1), 1e8, np.float32), type_, "w")


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("checkpoint")
    return checkpoints.write_random(directory, n_layer=1, tie_word_embeddings=request.param)


@pytest.fixture(scope="module")
def float32_logits(export, checkpoint: Path) -> np.ndarray:
    return PlainModel(export("--model", checkpoint)).run(IDS)[0]


@pytest.mark.parametrize("activations", ["int8", "float32"])
@pytest.mark.parametrize(
    ("weights", "block_size"), [("int8", None), ("int8", 16), ("int4", None), ("uint4", None)]
)
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
    assert fields["block_size"] == (block_size or {"int8": 64}.get(weights, 32))
    assert fields["activations"] == activations
    assert found.dtype == np.float32
    limit = fields["rounding"]["max_abs_logit_diff"]
    assert 0 < np.abs(found - float32_logits).max() < 3 * limit


def test_overrides_leave_layers_wider(export, small_checkpoint: Path, tmp_path: Path):
    overrides = tmp_path / "overrides.json"
    overrides.write_text(json.dumps({"layers.0.*": "float32", "transformer.wte": "float16"}))
    narrow = ["--model", small_checkpoint, "--weights", "int8", "--block-size", 16]
    all_int8 = export(*narrow)
    mixed = export(*narrow, "--weights-overrides", overrides)
    cost, wider = (json.loads((path / "config.json").read_text()) for path in (all_int8, mixed))
    assert wider["weights_overrides"] == {
        "layers.0.*": "float32",
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
