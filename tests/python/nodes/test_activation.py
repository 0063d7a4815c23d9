"""Every activation is the function that Hugging Face means by its name."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file

from kvcache_export.fields import ACTIVATIONS
from kvcache_export.nodes.activation import BODIES
from kvcache_export.spec import ACTIVATIONS as OURS


def test_all_are_covered():
    assert ACTIVATIONS.keys() == reference_gpt2.ACTIVATIONS.keys()
    assert {*ACTIVATIONS.values()} == {*OURS} == BODIES.keys()


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float16", 1e-2)])
def test_logits_agree_with_the_reference(
    tmp_path: Path, export, name: str, dtype: str, tolerance: float
):
    fields = {"activation_function": name, "n_layer": 1}
    directory = checkpoints.write_random(tmp_path, **fields)
    ids = np.random.default_rng(0).integers(checkpoints.SMALL["vocab_size"], size=20)

    logits, _ = PlainModel(export("--model", directory, "--dtype", dtype)).run(ids[None])

    config = {**checkpoints.SMALL, **fields}
    weights = load_file(directory / "model.safetensors")
    expected = reference_gpt2.logits(config, weights, ids.tolist())
    assert relative_difference(logits[0], expected) < tolerance
