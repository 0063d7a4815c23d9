"""The config of a training of trigoRL's: a GPT-2's fields, or a refusal by the name of a field."""

from __future__ import annotations

import copy
import re

import pytest

from kvcache_export.errors import ExportError
from kvcache_export.families import gpt2
from kvcache_export.sources.training_config import gpt2_fields

MODEL = {
    **{"vocab_size": 128, "hidden_size": 24, "num_layers": 2, "num_heads": 3, "max_seq_len": 40},
    **{"dropout": 0.1, "activation": "gelu_new", "layer_norm_eps": 1e-4, "use_cache": True},
}
HEAD = {"hidden_dim": 24, "intermediate_dim": 10, "bottleneck_dim": 6, "dropout": 0.1}
NESTED = {
    "training": {"epochs": 10},
    "model": {
        "type": "ValueCausalLoss",
        "config": {
            "model_config": {"type": "GPT2CausalLM", "config": MODEL},
            "value_head_config": HEAD,
            "lambda_value": 0.5,
        },
    },
}


def test_its_fields_are_a_gpt2s():
    config = gpt2.parse(gpt2_fields(NESTED))
    spec = config.spec
    assert (spec.vocab_size, spec.hidden_size, spec.max_seq_len) == (128, 24, 40)
    assert (len(spec.layers), spec.layers[0].attention.num_heads) == (2, 3)
    assert spec.layers[0].mlp.inner_size == 96
    assert spec.final_norm.epsilon == 1e-4
    assert spec.value_head.inner_sizes == (10, 6)
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))


def test_flat_and_without_a_loss():
    inner = {"model_type": "GPT2CausalLM", "model_config": MODEL, "value_head_config": HEAD}
    flat = {"model": {"type": "ValueCausalLoss", "config": inner}}
    assert gpt2_fields(flat) == gpt2_fields(NESTED)
    alone = gpt2_fields({"model": {"type": "GPT2CausalLM", "config": MODEL}})
    assert alone == {**gpt2_fields(NESTED), "value_head_config": None}


def test_defaults_are_those_of_trigorl():
    spec = gpt2.parse(gpt2_fields({"model": {"type": "GPT2CausalLM", "config": {}}})).spec
    assert (spec.vocab_size, spec.hidden_size, spec.max_seq_len) == (259, 256, 2048)
    assert (len(spec.layers), spec.layers[0].attention.num_heads) == (6, 8)
    assert spec.layers[0].mlp.activation == "gelu_tanh"
    assert spec.value_head is None


def changed(*path: str, to: object) -> dict:
    """NESTED with the field at `path` changed."""
    config = copy.deepcopy(NESTED)
    place = config
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = to
    return config


OF_MODEL = ("model", "config", "model_config")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "config must be an object, not None"),
        ({}, "config.model must be an object, not None"),
        (changed("model", to=[]), "config.model must be an object, not []"),
        (changed("model", "config", to=None), "config.model.config must be an object, not None"),
        (changed(*OF_MODEL, to=7), "config.model.config.model_config must be an object, not 7"),
        (
            changed(*OF_MODEL, "type", to="LlamaCausalLM"),
            "unsupported type of model: 'LlamaCausalLM' (supported: GPT2CausalLM)",
        ),
        (changed(*OF_MODEL, "type", to=None), "unsupported type of model: None"),
        (
            changed(*OF_MODEL, "config", "rope_theta", to=1e4),
            "unsupported config.model.config.model_config.config.rope_theta (supported: activation",
        ),
        ({"model": {"type": "RWKVCausalLM", "config": {}}}, "unsupported type of model: 'RWKVCaus"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused_by_name(config: object, message: str):
    with pytest.raises(ExportError, match=re.escape(message)):
        gpt2_fields(config)
