"""A description: what derives from it, and what has no meaning and is refused."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from kvcache_export.errors import ExportError
from kvcache_export.families import gpt2
from kvcache_export.spec import (
    Attention,
    AttentionBias,
    DecoderSpec,
    Embedding,
    Head,
    LayerSpec,
    Layout,
    Matrix,
    Mlp,
    MlpBias,
    Norm,
    Rotary,
    ValueHead,
)

RMS = Norm("rms_norm", 1e-6)
ATTENTION = Attention(
    num_heads=6,
    num_kv_heads=2,
    head_dim=10,
    scale=0.5,
    bias=AttentionBias(qkv=True, output=False),
    rotary=Rotary(8, 1e4),
    window=4,
    soft_cap=30.0,
    qk_norm=RMS,
)
LAYER = LayerSpec(RMS, ATTENTION, Mlp(70, "silu", gated=True, bias=MlpBias(up=True, down=False)))
VALUE_HEAD = ValueHead((9, 5), Norm("layer_norm", 1e-5, bias=True), "relu", "tanh")
SPEC = DecoderSpec(24, 61, 32, Embedding(), (LAYER, LAYER), RMS, Head(tied=False))


def test_matrices_are_known_by_their_roles():
    one = replace(SPEC, layers=(LAYER,))
    assert one.matrices() == {
        "embedding.tokens": Matrix(24, (61,), Layout.ROWS),
        "layers.0.attention.qkv": Matrix(24, (60, 20, 20), Layout.PANELS),
        "layers.0.attention.output": Matrix(60, (24,), Layout.PANELS),
        "layers.0.mlp.up": Matrix(24, (70, 70), Layout.ALTERNATING_PANELS),
        "layers.0.mlp.down": Matrix(70, (24,), Layout.PANELS),
        "head": Matrix(24, (61,), Layout.ROWS),
    }


def test_parameters_in_the_order_a_token_meets_them():
    one = replace(SPEC, layers=(LAYER,))
    assert list(one.parameters().items()) == [
        ("embedding.tokens.weight", (61, 24)),
        ("layers.0.attention.norm.weight", (24,)),
        ("layers.0.attention.qkv.weight", (24, 100)),
        ("layers.0.attention.qkv.bias", (100,)),
        ("layers.0.attention.q_norm.weight", (10,)),
        ("layers.0.attention.k_norm.weight", (10,)),
        ("layers.0.attention.output.weight", (60, 24)),
        ("layers.0.mlp.norm.weight", (24,)),
        ("layers.0.mlp.up.weight", (24, 140)),
        ("layers.0.mlp.up.bias", (140,)),
        ("layers.0.mlp.down.weight", (70, 24)),
        ("final_norm.weight", (24,)),
        ("head.weight", (61, 24)),
    ]


def test_parameters_of_gpt2():
    spec = gpt2.parse({}).spec
    parameters = spec.parameters()
    assert sum(math.prod(shape) for shape in parameters.values()) == 124_439_808
    assert parameters["embedding.positions.weight"] == (1024, 768)
    assert parameters["final_norm.bias"] == (768,)
    assert "head.weight" not in parameters


def test_parameters_of_a_value_head():
    of = replace(SPEC, value_head=VALUE_HEAD).parameters()
    assert {name: shape for name, shape in of.items() if name.startswith("value_head.")} == {
        "value_head.0.weight": (9, 24),
        "value_head.0.bias": (9,),
        "value_head.0.norm.weight": (9,),
        "value_head.0.norm.bias": (9,),
        "value_head.1.weight": (5, 9),
        "value_head.1.bias": (5,),
        "value_head.1.norm.weight": (5,),
        "value_head.1.norm.bias": (5,),
        "value_head.output.weight": (1, 5),
        "value_head.output.bias": (1,),
    }
    plain = replace(SPEC, value_head=ValueHead((), None, "relu", "identity")).parameters()
    assert list(plain)[-2:] == ["value_head.output.weight", "value_head.output.bias"]
    assert plain["value_head.output.weight"] == (1, 24)


def test_a_description_is_json():
    spec = replace(SPEC, value_head=VALUE_HEAD)
    text = json.dumps(spec.to_json())
    assert json.loads(text) == spec.to_json()
    assert spec.to_json()["value_head"]["inner_sizes"] == [9, 5]
    attention = json.loads(text)["layers"][1]["attention"]
    assert attention["rotary"] == {
        **{"dims": 8, "base": 10000.0, "interleaved": False, "scaling": None}
    }
    assert attention["qk_norm"] == {"kind": "rms_norm", "epsilon": 1e-6, "bias": False}


def with_attention(**fields: object) -> dict:
    return {"layers": (LAYER, replace(LAYER, attention=replace(ATTENTION, **fields)))}


def with_value_head(**fields: object) -> dict:
    return {"value_head": replace(VALUE_HEAD, **fields)}


def with_mlp(**fields: object) -> dict:
    return {"layers": (LAYER, replace(LAYER, mlp=replace(LAYER.mlp, **fields)))}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be a positive integer, not 0"),
        ({"vocab_size": 2**31}, "vocab_size must be at most 2147483647, not 2147483648"),
        ({"max_seq_len": 1.5}, "max_seq_len must be a positive integer, not 1.5"),
        ({"layers": ()}, "there must be 1 to 1000 layers, not 0"),
        ({"layers": (LAYER,) * 1001}, "there must be 1 to 1000 layers, not 1001"),
        ({"embedding": Embedding(scale=math.nan)}, "embedding.scale must be a positive number"),
        ({"embedding": Embedding(positions="sinusoidal")}, "unsupported embedding.positions"),
        ({"final_norm": Norm("batch_norm", 1e-5)}, "unsupported final_norm.kind 'batch_norm'"),
        ({"final_norm": Norm("rms_norm", 1e-5, bias=True)}, "rms_norm, which has no bias"),
        ({"final_norm": Norm("layer_norm", 0)}, "final_norm.epsilon must be a positive number"),
        ({"head": Head(tied=True, soft_cap=-1.0)}, "head.soft_cap must be a positive number"),
        (with_attention(num_kv_heads=4), "num_heads 6 is not a multiple of num_kv_heads 4"),
        (with_attention(num_kv_heads=12), "num_heads 6 is not a multiple of num_kv_heads 12"),
        (with_attention(head_dim=0), "layers.1.attention.head_dim must be a positive integer"),
        (with_attention(scale=math.inf), "layers.1.attention.scale must be between"),
        (with_attention(rotary=Rotary(7, 1e4)), "rotary.dims must be even, not 7"),
        (with_attention(rotary=Rotary(12, 1e4)), "rotary.dims must be at most 10, not 12"),
        (with_attention(rotary=Rotary(8, 0)), "rotary.base must be a positive number, not 0"),
        (with_attention(window=0), "layers.1.attention.window must be a positive integer"),
        (with_attention(soft_cap=0.0), "layers.1.attention.soft_cap must be a positive number"),
        (
            with_attention(qk_norm=Norm("layer_norm", 1e-5)),
            "unsupported layers.1.attention.qk_norm.kind 'layer_norm' (supported: rms_norm)",
        ),
        (with_mlp(inner_size=-1), "layers.1.mlp.inner_size must be a positive integer, not -1"),
        (with_mlp(activation="gelu_new"), "unsupported layers.1.mlp.activation 'gelu_new'"),
        (with_value_head(inner_sizes=(4, 0)), "value_head.inner_sizes must be a positive integer"),
        (with_value_head(inner_sizes=(4,) * 4), "inner_sizes [4, 4, 4, 4] must be at most 3 sizes"),
        (with_value_head(activation="prelu"), "unsupported value_head.activation 'prelu'"),
        (with_value_head(output_activation=""), "unsupported value_head.output_activation ''"),
        (
            with_value_head(norm=Norm("layer_norm", math.nan)),
            "value_head.norm.epsilon must be a positive number, not nan",
        ),
        (
            {"hidden_size": 2**25, "vocab_size": 2**20},
            "embedding.tokens.weight [1048576, 33554432] would make a tensor of 35184372088832",
        ),
    ],
)
def test_what_has_no_meaning_is_refused(change: dict, message: str):
    with pytest.raises(ExportError) as error:
        replace(SPEC, **change)
    assert message in str(error.value)
