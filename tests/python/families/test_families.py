"""The family of a config: by its model_type, or by what else tells it."""

from __future__ import annotations

import pkgutil

import pytest
import toy_family

from kvcache_export import families
from kvcache_export.errors import ExportError
from kvcache_export.families import gpt2


def test_every_file_is_a_family_that_is_found():
    for module in pkgutil.iter_modules(families.__path__):
        model_type = {"gemma3": "gemma3_text"}.get(module.name, module.name)
        assert families.find({"model_type": model_type}).model_type == model_type
    assert families.find({"model_type": "gpt2"}) is gpt2.FAMILY


@pytest.mark.parametrize(
    ("fields", "family"),
    [
        ({"model_type": "toy"}, "toy"),
        ({"architectures": ["ToyForCausalLM"]}, "toy"),
        ({"architectures": ["GPT2Model"]}, "gpt2"),
        ({"architectures": ["LlamaForCausalLM"]}, "llama"),
        ({"n_embd": 4}, "gpt2"),
    ],
)
def test_found_by(fields: dict, family: str):
    assert toy_family  # it has registered itself
    assert families.find(fields).model_type == family


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, "unsupported model_type: 'bert' (supported: gemma, gemma2, "),
        ({}, "no model of a known family: it has neither model_type nor n_embd"),
        ({"architectures": ["BertForMaskedLM"]}, "no model of a known family"),
        ({"model_type": "toy", "architectures": ["GPT2Model"]}, "unsupported architectures"),
        ({"model_type": "toy", "is_encoder_decoder": True}, "unsupported is_encoder_decoder"),
    ],
)
def test_not_found(fields: dict, message: str):
    with pytest.raises(ExportError) as error:
        families.find(fields)
    assert message in str(error.value)


def test_names_of_a_role():
    assert gpt2.FAMILY.tensors("layers.11.attention.qkv.bias") == (
        "transformer.h.11.attn.c_attn.bias",
    )
    assert gpt2.FAMILY.tensors("final_norm.weight") == ("transformer.ln_f.weight",)
    assert gpt2.FAMILY.bare_parts == {"wte", "wpe", "h", "ln_f"}


def test_every_parameter_has_a_name():
    spec = gpt2.parse({"tie_word_embeddings": False}).spec
    names = [gpt2.FAMILY.tensors(parameter) for parameter in spec.parameters()]
    assert len(set(names)) == len(names) == 12 * 12 + 5
