"""Parameters as the description has them, however a checkpoint names and stores them."""

from __future__ import annotations

from pathlib import Path

import checkpoints
import numpy as np
import reference_toy
import toy_family

from kvcache_export import sources


def test_gpt2_stores_them_as_they_are(small_checkpoint: Path):
    source = sources.from_checkpoint(str(small_checkpoint))
    source.check()
    stored = checkpoints.weights(checkpoints.SMALL)
    for parameter, name in (
        ("embedding.tokens.weight", "transformer.wte.weight"),
        ("layers.1.attention.qkv.weight", "transformer.h.1.attn.c_attn.weight"),
        ("layers.1.mlp.up.bias", "transformer.h.1.mlp.c_fc.bias"),
    ):
        np.testing.assert_array_equal(source.read(parameter), stored[name])
        assert source.stored_name(parameter) == name


def test_others_are_transposed_and_joined(tmp_path: Path):
    config = toy_family.SMALL
    tensors = reference_toy.weights(config, 0)
    source = sources.from_checkpoint(str(checkpoints.write(tmp_path, config, tensors)))
    source.check()
    for parameter, shape in source.spec.parameters().items():
        assert source.read(parameter).shape == shape
    names = [f"model.layers.1.self_attn.{part}_proj.weight" for part in "qkv"]
    joined = np.concatenate([tensors[name].T for name in names], axis=1)
    np.testing.assert_array_equal(source.read("layers.1.attention.qkv.weight"), joined)
    assert source.stored_name("layers.1.attention.qkv.weight") == " + ".join(names)
    table = tensors["model.embed_tokens.weight"]
    np.testing.assert_array_equal(source.read("embedding.tokens.weight"), table)


def test_the_checkpoint_names_of_every_matrix(tmp_path: Path):
    config = toy_family.SMALL
    checkpoints.write(tmp_path, config, reference_toy.weights(config, 0))
    names = sources.from_checkpoint(str(tmp_path)).matrix_names()
    assert names["layers.0.mlp.up"] == (
        "model.layers.0.mlp.gate_proj",
        "model.layers.0.mlp.up_proj",
    )
    assert names["head"] == ("lm_head",)
