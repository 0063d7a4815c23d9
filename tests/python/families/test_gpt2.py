"""Every GPT-2 config is honoured, or refused by the name of the field."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest

from kvcache_export import families
from kvcache_export.errors import ExportError
from kvcache_export.families.gpt2 import FAMILY
from kvcache_export.family import Config
from kvcache_export.spec import DecoderSpec, Norm, ValueHead


def parse_config(fields: dict) -> Config:
    """As an export does it: the family found, then its fields."""
    return families.find(fields).parse(fields)


def parse(**fields: object) -> DecoderSpec:
    return parse_config({"model_type": "gpt2", **fields}).spec


def test_defaults_are_gpt2():
    spec = parse()
    assert (spec.hidden_size, spec.vocab_size, spec.max_seq_len) == (768, 50257, 1024)
    assert (len(spec.layers), spec.layers[0].attention.num_heads) == (12, 12)
    assert spec.layers[0].mlp.inner_size == 3072


@pytest.mark.parametrize(
    ("preset", "layers", "hidden"),
    [
        ("gpt2", 12, 768),
        ("gpt2-medium", 24, 1024),
        ("gpt2-large", 36, 1280),
        ("gpt2-xl", 48, 1600),
    ],
)
def test_presets_have_the_sizes_of_the_published_models(preset: str, layers: int, hidden: int):
    family, fields = families.presets()[preset]
    spec = family.parse(fields).spec
    assert family is FAMILY
    assert (len(spec.layers), spec.hidden_size) == (layers, hidden)
    assert spec.layers[-1].attention.head_dim == 64
    assert spec.layers[-1].mlp.inner_size == 4 * hidden


def test_what_makes_a_gpt2():
    """Learned positions, biases everywhere, a key for every query, nothing else."""
    spec = parse(n_layer=1)
    assert spec.to_json() == {
        "hidden_size": 768,
        "vocab_size": 50257,
        "max_seq_len": 1024,
        "embedding": {"scale": 1.0, "positions": "learned"},
        "layers": [
            {
                "norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": True},
                "attention": {
                    "num_heads": 12,
                    "num_kv_heads": 12,
                    "head_dim": 64,
                    "scale": 0.125,
                    "bias": {"qkv": True, "output": True},
                    "rotary": None,
                    "window": None,
                    "soft_cap": None,
                    "qk_norm": None,
                },
                "mlp": {
                    "inner_size": 3072,
                    "activation": "gelu_tanh",
                    "gated": False,
                    "bias": {"up": True, "down": True},
                },
                "post_norm": None,
            }
        ],
        "final_norm": {"kind": "layer_norm", "epsilon": 1e-5, "bias": True},
        "head": {"tied": True, "soft_cap": None},
        "value_head": None,
    }


@pytest.mark.parametrize(("preset", "hidden"), [("trigo-64", 64), ("trigo-256", 256)])
def test_presets_of_trigo(preset: str, hidden: int):
    family, fields = families.presets()[preset]
    config = family.parse(fields)
    spec = config.spec
    assert (spec.hidden_size, spec.vocab_size, spec.max_seq_len) == (hidden, 128, 8192)
    assert (len(spec.layers), spec.layers[5].attention.num_heads) == (6, 8)
    assert spec.layers[5].mlp.inner_size == 4 * hidden
    assert spec.head.tied
    assert spec.value_head == ValueHead((128, 64), Norm("layer_norm", 1e-5, True), "relu", "tanh")
    assert (config.bos_token_id, config.eos_token_ids) == (1, (2,))


@pytest.mark.parametrize("name", ["value_head", "value_head_config"])
def test_a_value_head_by_both_its_names(name: str):
    sizes = {"intermediate_dim": 8, "bottleneck_dim": 4, "hidden_dim": 768}
    assert parse(**{name: sizes}).value_head.inner_sizes == (8, 4)
    message = f"{name}.hidden_dim 24 must be the model's width, 768"
    with pytest.raises(ExportError, match=re.escape(message)):
        parse(**{name: {**sizes, "hidden_dim": 24}})


@pytest.mark.parametrize("alias", ["n_ctx", "max_position_embeddings"])
def test_other_spellings_of_the_positions(alias: str):
    assert parse(**{alias: 7}).max_seq_len == 7


def test_hidden_size_heads_and_layers_by_their_other_names():
    spec = parse(hidden_size=60, num_attention_heads=5, num_hidden_layers=7)
    assert (spec.hidden_size, len(spec.layers)) == (60, 7)
    attention = spec.layers[0].attention
    assert (attention.num_heads, attention.head_dim) == (5, 12)
    assert spec.layers[0].mlp.inner_size == 240


def test_n_positions_wins_over_n_ctx():
    assert parse(n_positions=8, n_ctx=9).max_seq_len == 8


@pytest.mark.parametrize(
    ("fields", "scales"),
    [
        ({}, [0.125, 0.125, 0.125]),
        ({"scale_attn_weights": False}, [1, 1, 1]),
        ({"scale_attn_by_inverse_layer_idx": True}, [0.125, 0.0625, 0.125 / 3]),
        ({"scale_attn_weights": False, "scale_attn_by_inverse_layer_idx": True}, [1, 0.5, 1 / 3]),
    ],
)
def test_attention_scale_holds_both_scalings(fields: dict, scales: list[float]):
    layers = parse(**fields, n_layer=3).layers
    assert [layer.attention.scale for layer in layers] == pytest.approx(scales)


def test_fields_without_effect_on_inference_are_accepted():
    parse(
        reorder_and_upcast_attn=True,
        attn_pdrop=0.5,
        summary_type="mean",
        use_cache=False,
        architectures=["GPT2LMHeadModel"],
        task_specific_params={"text-generation": {"do_sample": True}},
    )


@pytest.mark.parametrize(
    ("value", "expected"), [(5, 5), (50256, None), (None, None), (-1, None), (10**400, None)]
)
def test_token_ids_outside_the_vocabulary_are_none(value, expected):
    fields = {"vocab_size": 10, "bos_token_id": value, "eos_token_id": value}
    config = parse_config({"model_type": "gpt2", **fields})
    assert config.bos_token_id == expected
    assert config.eos_token_ids == (() if expected is None else (expected,))


def test_a_list_of_end_tokens_without_those_outside_the_vocabulary():
    config = parse_config({"n_head": 12, "vocab_size": 10, "eos_token_id": [7, 50256, 3, 7]})
    assert config.eos_token_ids == (7, 3)


@pytest.mark.parametrize(
    "fields",
    [{"n_head": 2}, {"architectures": ["GPT2LMHeadModel"]}, {"model_type": None, "n_layer": 1}],
)
def test_model_type_may_be_missing_where_something_else_tells_a_gpt2(fields: dict):
    parse_config(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"model_type": "bert"}, "unsupported model_type: 'bert' (supported: "),
        ({"model_type": []}, "unsupported model_type: []"),
        (
            {"model_type": None},
            "no model of a known family: it has neither model_type nor n_embd, n_head, n_layer",
        ),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "unsupported architectures"),
        ({"architectures": 1}, "unsupported architectures 1"),
        ({"add_cross_attention": True}, "unsupported add_cross_attention: True"),
        ({"is_encoder_decoder": True}, "unsupported is_encoder_decoder: True"),
        ({"pruned_heads": {"0": [1]}}, "unsupported pruned_heads"),
        ({"quantization_config": {"bits": 4}}, "unsupported quantization_config"),
        ({"activation_function": "prelu"}, "unsupported activation_function 'prelu'"),
        ({"activation_function": ["relu"]}, "unsupported activation_function"),
        ({"eos_token_id": [1, 2.0]}, "unsupported eos_token_id: 2.0"),
        ({"eos_token_id": [[1]]}, "unsupported eos_token_id: [1]"),
        ({"bos_token_id": [1, 2]}, "unsupported bos_token_id: [1, 2]"),
        ({"bos_token_id": True}, "unsupported bos_token_id: True"),
        ({"n_head": 5}, "n_embd 768 is not a multiple of n_head 5"),
        ({"n_layer": 0}, "n_layer must be a positive integer, not 0"),
        ({"n_ctx": 1.5}, "n_ctx must be a positive integer, not 1.5"),
        ({"n_inner": -1}, "n_inner must be a positive integer, not -1"),
        ({"vocab_size": True}, "vocab_size must be a positive integer, not True"),
        ({"layer_norm_epsilon": "x"}, "layer_norm_epsilon must be a positive number, not 'x'"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon must be a positive number, not 0"),
        ({"layer_norm_epsilon": math.nan}, "layer_norm_epsilon must be a positive number, not nan"),
        ({"layer_norm_epsilon": True}, "layer_norm_epsilon must be a positive number, not True"),
        (
            {"layer_norm_epsilon": 10**400},
            "layer_norm_epsilon must be between 1.18e-38 and 3.4e+38",
        ),
        ({"layer_norm_epsilon": 1e-300}, "layer_norm_epsilon must be between"),
        ({"initializer_range": math.inf}, "initializer_range must be between"),
        ({"vocab_size": 10**12}, "vocab_size must be at most 2147483647, not 1000000000000"),
        ({"n_layer": 10**6}, "n_layer must be at most 1000, not 1000000"),
        ({"n_embd": 2**31 - 1, "n_head": 1, "n_inner": 1}, "would make a tensor of"),
        ({"n_embd": 2**31 - 1, "n_head": 1}, "inner_size must be at most 2147483647, not 85899345"),
        ({"n_head": []}, "n_head must be a positive integer, not []"),
        ({"n_head": "x" * 10**6}, "n_head must be a positive integer, not 'xxxx"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false, not 'yes'"),
    ],
)
def test_refused_by_the_name_of_the_field(fields: dict, message: str):
    with pytest.raises(ExportError) as error:
        parse_config({"model_type": "gpt2", **fields})
    assert message in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not a JSON object"),
        (json.dumps({"model_type": "bert"}), "config.json: unsupported model_type: 'bert'"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, content: str, message: str):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ExportError) as error:
        families.read_config(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ExportError, match=r"cannot read .*config\.json: No such file"):
        families.read_config(tmp_path / "config.json")
