"""The output `hidden_states`: what the head multiplies, for tokens whose logits are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_toy
import toy_family
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file

TOLERANCE = 1e-5  # of float32 sums over some tens of products


@pytest.fixture(scope="module", params=["layer_norm", "rms_norm"])
def checkpoint(request, small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GPT-2, or the toy family, whose norm has no bias; both with a tied head."""
    if request.param == "layer_norm":
        return small_checkpoint
    config = {**toy_family.SMALL, "tie_word_embeddings": True}
    directory = tmp_path_factory.mktemp("toy")
    return checkpoints.write(directory, config, reference_toy.weights(config, 0))


@pytest.mark.parametrize("positions", [[], [3], [0, 2, 2]], ids=str)
def test_the_head_multiplies_them(export, checkpoint: Path, positions: list[int]):
    model = PlainModel(export("--model", checkpoint, "--hidden-states"))
    of = model.config["spec"]
    size, vocabulary = of["hidden_size"], of["vocab_size"]
    (weight,) = (
        tensor
        for tensor in load_file(checkpoint / "model.safetensors").values()
        if tensor.shape == (vocabulary, size)
    )
    ids = np.random.default_rng(0).integers(vocabulary, size=(1, 5))
    logits, (states, *_) = model.run(ids, logits_positions=np.array(positions, np.int64))
    assert states.shape == (1, len(positions) or 5, size)
    assert relative_difference(states @ weight.T, logits) < TOLERANCE


def test_config_lists_them_and_other_models_have_none(export, small_checkpoint: Path):
    having = json.loads(
        (export("--model", small_checkpoint, "--hidden-states") / "config.json").read_text()
    )
    size = having["spec"]["hidden_size"]
    assert having["outputs"] == [
        {"name": "logits", "shape": ["tokens", "vocab_size"], "tokens": "selected"},
        {"name": "hidden_states", "shape": ["tokens", size], "tokens": "selected"},
    ]
    without = PlainModel(export("--model", small_checkpoint))
    assert without.config["outputs"] == having["outputs"][:1]
    assert "hidden_states" not in {output.name for output in without.session.get_outputs()}


@pytest.mark.parametrize(
    "options",
    [("--dtype", "float16"), ("--weights", "int8"), ("--cache-dtype", "int8")],
    ids=" ".join,
)
def test_beside_narrow_types(export, small_checkpoint: Path, options: tuple[str, ...]):
    """They are of the model's element type, whatever the matrices are."""
    model = PlainModel(export("--model", small_checkpoint, "--hidden-states", *options))
    _, (states, *_) = model.run(np.array([[1, 2, 3]]))
    assert states.dtype == np.dtype(model.config["dtype"])
    assert np.isfinite(states).all()
