"""How much inputs count: against GPT-2 in numpy, and that what counts more is rounded better."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel

from kvcache_export import calibration, sources, stand_ins
from kvcache_export.cli import main
from kvcache_export.precision import MatrixType
from kvcache_export.quantization import quantize

ROWS = np.random.default_rng(5).integers(61, size=(3, 8))
# What a role is called in the reference.
NAMES = {
    "attention.qkv": "attn.c_attn",
    "attention.output": "attn.c_proj",
    "mlp.up": "mlp.c_fc",
    "mlp.down": "mlp.c_proj",
}
LLAMA = {
    "model_type": "llama",
    "vocab_size": 61,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
}


def _importance(source: sources.Source, directory: Path) -> dict[str, np.ndarray]:
    said: list[str] = []
    with stand_ins.in_float32(directory / "model.onnx", source, said.append) as wide:
        found = calibration.importance(wide, ROWS, said.append)
    assert said[-len(ROWS) :] == [f"calibrating, {n} of 24 tokens" for n in (0, 8, 16)]
    return found


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("seed", range(3))
def test_mean_squares_of_every_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, tied: bool, seed: int
):
    checkpoint = checkpoints.write_random(tmp_path / "c", seed=seed, tie_word_embeddings=tied)
    inputs: dict[str, list[np.ndarray]] = {}
    linear = reference_gpt2._linear

    def noting(x: np.ndarray, w: dict[str, np.ndarray], name: str) -> np.ndarray:
        inputs.setdefault(name, []).append(x)
        return linear(x, w, name)

    monkeypatch.setattr(reference_gpt2, "_linear", noting)
    config = {**checkpoints.SMALL, "tie_word_embeddings": tied}
    weights = checkpoints.weights(config, seed)
    head = [reference_gpt2.hidden_states(config, weights, list(row)) for row in ROWS]
    expected = {"embedding.tokens" if tied else "head": head}
    for layer in range(config["n_layer"]):
        for role, name in NAMES.items():
            expected[f"layers.{layer}.{role}"] = inputs[f"transformer.h.{layer}.{name}"]

    found = _importance(sources.from_checkpoint(str(checkpoint)), tmp_path)
    assert found.keys() == expected.keys()
    for role, parts in expected.items():
        mean = (np.concatenate(parts) ** 2).mean(axis=0)
        assert found[role].dtype == np.float32
        # GELU's tail is a difference in float32: exact to the largest, not to itself.
        atol = 1e-8 * mean.max()
        np.testing.assert_allclose(
            found[role], mean, rtol=1e-4, atol=atol, err_msg=f"{role}, seed {seed}"
        )


def test_mean_squares_behind_an_rms_norm(tmp_path: Path, export):
    """Of a gated family: the head's are those of the hidden states that the file computes."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA))
    found = _importance(sources.from_seed(str(config), 4), tmp_path)
    whole = PlainModel(export("--random-init", config, "--seed", 4, "--hidden-states"))
    hidden = np.concatenate([whole.run(row[None])[1][0] for row in ROWS])
    (head,) = (role for role in found if not role.startswith("layers."))
    np.testing.assert_allclose(found[head], (hidden**2).mean(axis=(0, 1)), rtol=1e-4)
    sizes = {role.rpartition(".")[2]: of.size for role, of in found.items()}
    assert sizes["down"] == 40
    assert sizes["qkv"] == sizes["output"] == sizes["up"] == 24


def _quantized(weight: np.ndarray, type_: MatrixType, importance: np.ndarray | None) -> np.ndarray:
    """The weight as a product has it, float32."""
    values, scales = quantize(weight, type_, "w", importance=importance)
    blocks = scales.astype(np.float32).reshape(-1, 2 if type_.minimums else 1, 1, weight.shape[1])
    apart = values.reshape(len(blocks), -1, weight.shape[1]).astype(np.float32)
    apart = apart * blocks[:, 0] + blocks[:, 1] if type_.minimums else (apart - 8) * blocks[:, 0]
    return apart.reshape(-1, weight.shape[1])[: len(weight)]


@pytest.mark.parametrize("weights", ["int4", "uint4"])
@pytest.mark.parametrize("seed", range(5))
def test_a_product_loses_less_where_it_was_calibrated(weights: str, seed: int):
    """By its error on inputs of such sizes; to one size for all, nothing changes."""
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((70, 200)).astype(np.float32)  # no whole number of blocks
    squares = np.exp(generator.normal(0, 2, 70)).astype(np.float32)
    type_ = MatrixType(weights, 32)

    def error(found: np.ndarray) -> float:
        return float((squares[:, None] * weight**2 * (found - weight) ** 2).sum())

    plain = _quantized(weight, type_, None)
    assert (_quantized(weight, type_, np.full(70, 4, np.float32)) == plain).all()
    assert error(_quantized(weight, type_, squares)) < 0.95 * error(plain), f"seed {seed}"


@pytest.mark.parametrize("weights", ["int4", "uint4"])
def test_an_input_that_is_always_zero_counts_nothing(weights: str):
    """And a block of such inputs is quantised nevertheless, to within a step of its range."""
    weight = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    importance = np.zeros(32, np.float32)
    type_ = MatrixType(weights, 16)
    steps = np.ptp(weight.reshape(2, 16, 8), axis=1).max() / 15
    largest = np.abs(weight).max() / 8
    found = _quantized(weight, type_, importance)
    assert np.abs(found - weight).max() < max(steps, largest) * 1.01
    importance[:16] = 1
    weight[5] = 100  # counts: its block must reach it
    np.testing.assert_allclose(_quantized(weight, type_, importance)[5], 100, rtol=2e-3)


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    path = tmp_path / "ids.json"
    path.write_text(json.dumps(ROWS.reshape(-1).tolist()))
    return path


def test_an_export_is_calibrated_on_its_text(export, small_checkpoint: Path, ids: Path):
    """Only the values and scales of int4 are others, and they are the same each time."""
    options = ["--model", small_checkpoint, "--weights", "int4", "--block-size", 16]
    plain, *calibrated = (export(*options, *more) for more in ([], ["--calibration-ids", ids]) * 2)
    first, _, second = calibrated
    (name,) = (path.name for path in plain.glob("*.data"))
    of_plain, once, again = ((each / name).read_bytes() for each in (plain, first, second))
    assert once == again
    assert len(once) == len(of_plain)
    assert once != of_plain
    assert not list(first.glob("*calibration*"))


@pytest.mark.parametrize(
    ("text", "weights", "message"),
    [
        (None, "int4", "--calibration-ids: cannot read"),
        ('"text"', "int4", "must hold a list of integers"),
        ("[]", "int4", "--calibration-ids holds no token id; at least one is needed"),
        ("[3, 61]", "int4", "--calibration-ids: token 1 is 61, must be in [0, 61)"),
        (
            "[3]",
            "int8",
            "--calibration-ids with weights of int8: only the scales of int4 and uint4",
        ),
        (
            "[3]",
            "float32",
            "--calibration-ids with weights of float32: only the scales of int4 and",
        ),
    ],
)
def test_bad_calibration_ids(
    small_checkpoint: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    *,
    text: str | None,
    weights: str,
    message: str,
):
    path = tmp_path / "bad.json"
    if text is not None:
        path.write_text(text)
    options = ["--model", str(small_checkpoint), "--output-dir", str(tmp_path / "out")]
    assert main([*options, "--weights", weights, "--calibration-ids", str(path)]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
