"""What matrices are multiplied with: against GPT-2 in numpy; exports rounded by it."""

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


def _inputs(source: sources.Source, directory: Path) -> dict[str, np.ndarray]:
    """Of all matrices, [tokens, inputs], in files that lie there."""
    said: list[tuple[object, ...]] = []

    def say(*step: object) -> None:
        said.append(step)

    with stand_ins.in_float32(directory / "model.onnx", source, say) as wide:
        roles = source.spec.matrices()
        found = calibration.inputs(wide, roles, ROWS, directory / "inputs", say)
    assert said[-len(ROWS) :] == [(f"calibrating, {n} of 24 tokens", n, 24) for n in (0, 8, 16)]
    return found


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("seed", range(3))
def test_inputs_of_every_product(
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

    found = _inputs(sources.from_checkpoint(str(checkpoint)), tmp_path)
    assert found.keys() == expected.keys()
    for role, parts in expected.items():
        of_role = np.concatenate(parts)
        assert found[role].dtype == np.float32
        # GELU's tail is a difference in float32: exact to the largest, not to itself.
        atol = 1e-5 * np.abs(of_role).max()
        np.testing.assert_allclose(
            found[role], of_role, rtol=1e-4, atol=atol, err_msg=f"{role}, seed {seed}"
        )


def test_inputs_of_some_matrices(tmp_path: Path, small_checkpoint: Path):
    source = sources.from_checkpoint(str(small_checkpoint))
    asked = ["layers.1.mlp.down", "layers.0.attention.qkv"]
    with stand_ins.in_float32(tmp_path / "model.onnx", source, lambda *_: None) as wide:
        found = calibration.inputs(wide, asked, ROWS, tmp_path / "inputs", lambda *_: None)
    assert found.keys() == set(asked)


def test_inputs_behind_an_rms_norm(tmp_path: Path, export):
    """Of a gated family: the head's are the hidden states that the file computes."""
    config = tmp_path / "config.json"
    config.write_text(json.dumps(LLAMA))
    found = _inputs(sources.from_seed(str(config), 4), tmp_path)
    whole = PlainModel(export("--random-init", config, "--seed", 4, "--hidden-states"))
    hidden = np.concatenate([whole.run(row[None])[1][0] for row in ROWS])
    (head,) = (role for role in found if not role.startswith("layers."))
    np.testing.assert_allclose(
        found[head], hidden.reshape(24, -1), rtol=1e-3, atol=1e-5 * np.abs(hidden).max()
    )
    sizes = {role.rpartition(".")[2]: of.shape[1] for role, of in found.items()}
    assert sizes["down"] == 40
    assert sizes["qkv"] == sizes["output"] == sizes["up"] == 24


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
            "--calibration-ids with weights of int8: only int4 and uint4 are rounded",
        ),
        (
            "[3]",
            "float32",
            "--calibration-ids with weights of float32: only int4 and uint4",
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
