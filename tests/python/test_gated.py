"""What Llama and the families after it read of their configs."""

from __future__ import annotations

import pytest

from kvcache_export import families
from kvcache_export.errors import ExportError
from kvcache_export.spec import DecoderSpec


def parse(model_type: str, **fields: object) -> DecoderSpec:
    small = {
        **{"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 6},
        **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    }
    config = {"model_type": model_type, **small, **fields}
    return families.find(config).parse(config).spec


def windows(spec: DecoderSpec) -> list[int | None]:
    return [layer.attention.window for layer in spec.layers]


def test_defaults_are_hugging_faces():
    family = families.find({"model_type": "llama"})
    spec = family.parse({"model_type": "llama"}).spec
    assert (spec.hidden_size, spec.vocab_size, spec.max_seq_len) == (4096, 32000, 2048)
    attention = spec.layers[0].attention
    assert (attention.num_heads, attention.num_kv_heads, attention.head_dim) == (32, 32, 128)
    assert (spec.layers[0].mlp.inner_size, spec.layers[0].mlp.activation) == (11008, "silu")
    assert not spec.head.tied


@pytest.mark.parametrize(
    ("model_type", "fields", "expected"),
    [
        ("llama", {}, [None] * 6),
        ("mistral", {"sliding_window": None}, [None] * 6),
        ("mistral", {}, [4096] * 6),
        ("qwen2", {"sliding_window": 8}, [None] * 6),
        (
            "qwen2",
            {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 4},
            [None] * 4 + [8] * 2,
        ),
        ("gemma2", {"sliding_window": 8}, [8, None] * 3),
        ("gemma3_text", {"sliding_window": 8}, [8] * 5 + [None]),
        ("gemma3_text", {"sliding_window": 8, "sliding_window_pattern": 3}, [8, 8, None] * 2),
        (
            "smollm3",
            {"use_sliding_window": True, "sliding_window": 8},
            [None] * 3 + [8] + [None] * 2,
        ),
    ],
)
def test_windows(model_type: str, fields: dict, expected: list):
    assert windows(parse(model_type, **fields)) == expected


def test_layers_of_smollm3_without_positions():
    turning = [layer.attention.rotary is not None for layer in parse("smollm3").layers]
    assert turning == [True, True, True, False, True, True]
    spec = parse("smollm3", no_rope_layers=[1, 0, 1, 0, 1, 0])
    assert [layer.attention.rotary is not None for layer in spec.layers] == [True, False] * 3


def test_local_layers_of_gemma3_have_a_base_of_their_own():
    older = parse("gemma3_text", rope_theta=5e5, rope_scaling={"rope_type": "linear", "factor": 8})
    local, full = older.layers[0].attention.rotary, older.layers[5].attention.rotary
    assert (local.base, local.scaling) == (1e4, None)
    assert (full.base, full.scaling.factor) == (5e5, 8.0)


@pytest.mark.parametrize(
    ("model_type", "fields", "message"),
    [
        ("llama", {"num_attention_heads": 3}, "is not a multiple of num_attention_heads 3"),
        ("llama", {"num_key_value_heads": 3}, "num_heads 4 is not a multiple of num_kv_heads 3"),
        ("llama", {"hidden_act": "prelu"}, "unsupported hidden_act 'prelu'"),
        ("llama", {"attention_bias": 1}, "attention_bias must be true or false, not 1"),
        ("mistral", {"sliding_window": 0}, "sliding_window must be a positive integer, not 0"),
        ("gemma2", {"layer_types": ["full_attention"]}, "layer_types must be a list of 6"),
        ("gemma2", {"layer_types": ["chunked"] * 6}, "unsupported layer_types 'chunked'"),
        ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention"),
        ("gemma3_text", {"rope_parameters": 1}, "rope_parameters must be an object or null"),
        ("smollm3", {"no_rope_layers": [1, 2]}, "no_rope_layers must be a list of 6 zeros and"),
    ],
)
def test_refused_by_name(model_type: str, fields: dict, message: str):
    with pytest.raises(ExportError) as error:
        parse(model_type, **fields)
    assert message in str(error.value)
