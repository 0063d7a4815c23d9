"""A second family, which is one file: its models compute what they should, by the ordinary way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import onnx
import pytest
import reference_toy
import toy_family
from plain_ort import PlainModel, relative_difference

CONFIG, VARIANTS = toy_family.SMALL, toy_family.VARIANTS

# A float32 has 24 bits; each logit is the end of some hundreds of additions one after the other
# (two layers of sums over 24 to 70 elements), each of which may lose half of a last bit. GPT-2's
# comparison with its reference allows as much.
TOLERANCE = 1e-5

TOKENS = 20


def write(directory: Path, seed: int, **fields: Any) -> tuple[Path, dict, dict]:
    """A random checkpoint, its config and its tensors."""
    config = {**CONFIG, **fields}
    tensors = reference_toy.weights(config, seed)
    return checkpoints.write(directory, config, tensors), config, tensors


def in_steps(model: PlainModel, ids: np.ndarray, sizes: list[int]) -> np.ndarray:
    past, parts = None, []
    for step in np.split(ids, np.cumsum(sizes)[:-1]):
        logits, past = model.run(step[None], past)
        parts.append(logits[0])
    return np.concatenate(parts)


def test_it_is_one_short_file():
    assert len(Path(toy_family.__file__).read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    ("variant", "seed"),
    [
        *((name, 0) for name in VARIANTS),
        *((name, seed) for name in ("plain", "all of it") for seed in (1, 2)),
    ],
)
def test_logits_agree_with_the_reference(tmp_path: Path, export, variant: str, seed: int):
    """Of a prefill, and of steps over the cache."""
    directory, config, tensors = write(tmp_path, seed, **VARIANTS[variant])
    model = PlainModel(export("--model", directory))
    ids = np.random.default_rng(seed).integers(config["vocab_size"], size=TOKENS)

    expected = reference_toy.logits(config, tensors, ids.tolist())

    assert relative_difference(model.run(ids[None])[0][0], expected) < TOLERANCE
    for sizes in ([1] * TOKENS, [7, 1, 12], [TOKENS - 1, 1]):
        assert relative_difference(in_steps(model, ids, sizes), expected) < TOLERANCE


@pytest.mark.parametrize("variant", ["plain", "all of it"])
def test_rows_of_a_batch_are_apart(tmp_path: Path, export, variant: str):
    directory, config, _ = write(tmp_path, 3, **VARIANTS[variant])
    model = PlainModel(export("--model", directory))
    ids = np.random.default_rng(3).integers(config["vocab_size"], size=(3, 9))
    together, _ = model.run(ids)
    for row, alone in enumerate(ids):
        assert relative_difference(model.run(alone[None])[0][0], together[row]) < TOLERANCE


@pytest.mark.parametrize("batch", [0, 1, 3])
@pytest.mark.parametrize("seq_len", [0, 1, 5])
@pytest.mark.parametrize("past_len", [0, 1, 7])
def test_every_axis_takes_none_one_and_many(
    all_of_it: PlainModel, batch: int, seq_len: int, past_len: int
):
    ids = np.ones((batch, seq_len), np.int64)
    logits, presents = all_of_it.run(ids, all_of_it.past(batch, past_len))
    assert logits.shape == (batch, seq_len, CONFIG["vocab_size"])
    assert {present.shape for present in presents} == {(batch, 2, past_len + seq_len, 10)}


@pytest.fixture(scope="module")
def all_of_it(tmp_path_factory: pytest.TempPathFactory, export) -> PlainModel:
    directory, *_ = write(tmp_path_factory.mktemp("toy"), 4, **VARIANTS["all of it"])
    return PlainModel(export("--model", directory))


@pytest.mark.parametrize(
    "options",
    [
        ("--weights", "float16"),
        ("--weights", "bfloat16", "--activations", "bfloat16"),
        ("--weights", "int8", "--activations", "float32"),
        ("--weights", "int8", "--cache-dtype", "int8"),
        ("--weights", "int4"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("variant", [pytest.param("plain", marks=pytest.mark.full), "all of it"])
def test_narrow_weights_cost_what_config_json_says(
    tmp_path: Path, export, variant: str, options: tuple[str, ...]
):
    directory, config, tensors = write(tmp_path, 5, **VARIANTS[variant])
    narrow = export("--model", directory, *options)
    ids = np.random.default_rng(5).integers(config["vocab_size"], size=TOKENS)
    found = PlainModel(narrow).run(ids[None])[0][0]
    expected = reference_toy.logits(config, tensors, ids.tolist())
    cost = json.loads((narrow / "config.json").read_text())["rounding"]["max_abs_logit_diff"]
    assert 0 < np.abs(found - expected).max() < 3 * cost


@pytest.mark.parametrize("variant", ["plain", "all of it"])
def test_float16(tmp_path: Path, export, variant: str):
    directory, config, tensors = write(tmp_path, 6, **VARIANTS[variant])
    model = PlainModel(export("--model", directory, "--dtype", "float16"))
    ids = np.random.default_rng(6).integers(config["vocab_size"], size=TOKENS)
    found = model.run(ids[None])[0][0]
    expected = reference_toy.logits(config, tensors, ids.tolist())
    assert found.dtype == np.float16
    assert relative_difference(found, expected) < 2e-2  # 13 bits less than float32


def test_what_is_written(tmp_path: Path, export):
    directory, *_ = write(tmp_path, 0, **VARIANTS["all of it"])
    model = export("--model", directory)
    config = json.loads((model / "config.json").read_text())
    assert (config["model_type"], config["model_file"]) == ("toy", "toy_with_cache.onnx")
    layer = config["spec"]["layers"][0]
    assert layer["attention"]["rotary"] == {
        **{"dims": 8, "base": 10000.0, "interleaved": True, "scaling": None}
    }
    assert layer["attention"]["qk_norm"] == {"kind": "rms_norm", "epsilon": 1e-6, "bias": False}
    graph = onnx.load(model / "toy_with_cache.onnx", load_external_data=False).graph
    nodes = {node.name: node for node in graph.node}
    assert nodes["layers.0.attention"].input[8:] == [
        *("position_ids", "rotary.0.cos", "rotary.0.sin"),
        *("layers.0.attention.q_norm.weight", "layers.0.attention.k_norm.weight"),
    ]
    attributes = [
        {
            a.name: onnx.helper.get_attribute_value(a)
            for a in nodes[f"layers.{i}.attention"].attribute
        }
        for i in range(2)
    ]
    common = {"num_heads": 6, "num_kv_heads": 2, "scale": pytest.approx(10**-0.5)}
    common |= {"rotary_interleaved": 1, "soft_cap": 2.0, "epsilon": pytest.approx(1e-6)}
    assert attributes == [common | {"window": 5}, common]
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    assert shapes["layers.0.mlp.up.weight"] == [4, 24, 64]
    assert shapes["rotary.0.cos"] == [32, 4]


def test_the_exporter_says_what_it_is(tmp_path: Path, export, capsys: pytest.CaptureFixture):
    directory, *_ = write(tmp_path, 0)
    export("--model", directory)
    assert "\n  Heads: 6\n  Head dimension: 10\n" in capsys.readouterr().out


def test_a_missing_part_of_a_joined_matrix_is_named(tmp_path: Path, export, capsys):
    name = "model.layers.1.self_attn.k_proj.weight"
    tensors = reference_toy.weights(CONFIG, 0)
    del tensors[name]
    with pytest.raises(AssertionError):
        export("--model", checkpoints.write(tmp_path, CONFIG, tensors))
    assert f"missing tensor {name!r}" in capsys.readouterr().err


def test_random_weights(export, tmp_path: Path):
    (tmp_path / "toy.json").write_text(json.dumps(CONFIG))
    model = PlainModel(export("--random-init", tmp_path / "toy.json"))
    assert np.isfinite(model.run(np.arange(5)[None])[0]).all()
