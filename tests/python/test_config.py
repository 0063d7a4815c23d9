"""Every GPT-2 config is honoured, or refused by the name of the field."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from kvcache_export.config import PRESETS, Gpt2Config, parse_config, read_config
from kvcache_export.errors import ExportError


def parse(**fields: object) -> Gpt2Config:
    return parse_config({"model_type": "gpt2", **fields})


def test_defaults_are_gpt2():
    assert parse() == PRESETS["gpt2"] == Gpt2Config()


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_have_the_sizes_of_the_published_models(preset: str):
    config = PRESETS[preset]
    assert config.head_dim == 64
    assert config.n_inner == 4 * config.n_embd


@pytest.mark.parametrize(
    ("alias", "field"),
    [
        ("n_ctx", "n_positions"),
        ("max_position_embeddings", "n_positions"),
        ("num_hidden_layers", "n_layer"),
    ],
)
def test_other_spellings_of_a_field(alias: str, field: str):
    assert getattr(parse(**{alias: 7}), field) == 7


def test_hidden_size_and_heads_by_their_other_names():
    config = parse(hidden_size=60, num_attention_heads=5)
    assert (config.n_embd, config.n_head, config.head_dim, config.n_inner) == (60, 5, 12, 240)


def test_n_positions_wins_over_n_ctx():
    assert parse(n_positions=8, n_ctx=9).n_positions == 8


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
    config = parse(**fields)
    assert [config.attention_scale(layer) for layer in range(3)] == pytest.approx(scales)


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
    config = parse(vocab_size=10, bos_token_id=value, eos_token_id=value)
    assert config.bos_token_id == expected
    assert config.eos_token_ids == (() if expected is None else (expected,))


def test_a_list_of_end_tokens_without_those_outside_the_vocabulary():
    config = parse(vocab_size=10, bos_token_id=1, eos_token_id=[7, 50256, 3, 7])
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
        ({"model_type": "llama"}, "not a GPT-2: model_type is 'llama'"),
        ({"model_type": None}, "not a GPT-2: it has neither model_type nor n_embd"),
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
        ({"n_embd": 2**31 - 1, "n_head": 1}, "make a tensor of"),
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
        (json.dumps({"model_type": "bert"}), "config.json: not a GPT-2"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, content: str, message: str):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(ExportError) as error:
        read_config(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


def test_missing_file_is_named(tmp_path: Path):
    with pytest.raises(ExportError, match=r"cannot read .*config\.json: No such file"):
        read_config(tmp_path / "config.json")
