"""A family for the tests, in the style of Llama: described as the exporter's own families are.

Grouped heads, RMS norms, rotary positions, a gate and no bias. The rest is as its config says:
which pairs turn, windows, soft caps, norms of queries and keys, a scale of the embedding.
"""

import math
from collections.abc import Mapping
from typing import Any

from kvcache_export import fields as checked
from kvcache_export import spec as of
from kvcache_export.families import register
from kvcache_export.family import Config, Family

SMALL = {
    "model_type": "toy",
    "architectures": ["ToyForCausalLM"],
    "vocab_size": 61,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 10,  # not hidden_size / num_attention_heads
    "intermediate_size": 70,  # two panels, the second not full
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "hidden_act": "silu",
}

# By what is special about them: what the config has beside SMALL.
VARIANTS = {
    "plain": {},
    "interleaved": {"interleaved": True},
    "some dims turn": {"rotary_dims": 6},
    "some interleaved dims turn": {"rotary_dims": 6, "interleaved": True},
    "one key for all": {"num_key_value_heads": 1},
    "a key for each": {"num_key_value_heads": 6},
    "windows": {"windows": [None, 4]},
    "a window of one": {"windows": [1, 3]},
    "soft caps": {"attention_soft_cap": 2.0, "final_soft_cap": 3.0},
    "norms of queries and keys": {"qk_norm": True},
    "scaled embedding": {"embedding_scale": 24**0.5},
    "tied head": {"tie_word_embeddings": True},
    "gelu gate": {"hidden_act": "gelu_pytorch_tanh"},
    "exact gelu gate": {"hidden_act": "gelu"},
    "all of it": {
        "interleaved": True,
        "rotary_dims": 8,
        "windows": [5, None],
        "attention_soft_cap": 2.0,
        "final_soft_cap": 3.0,
        "qk_norm": True,
        "embedding_scale": 2.0,
        "hidden_act": "gelu_pytorch_tanh",
    },
}

MODULES = {
    "embedding.tokens": "model.embed_tokens",
    "layers.{}.attention.norm": "model.layers.{}.input_layernorm",
    "layers.{}.attention.qkv": (
        "model.layers.{}.self_attn.q_proj",
        "model.layers.{}.self_attn.k_proj",
        "model.layers.{}.self_attn.v_proj",
    ),
    "layers.{}.attention.q_norm": "model.layers.{}.self_attn.q_norm",
    "layers.{}.attention.k_norm": "model.layers.{}.self_attn.k_norm",
    "layers.{}.attention.output": "model.layers.{}.self_attn.o_proj",
    "layers.{}.mlp.norm": "model.layers.{}.post_attention_layernorm",
    "layers.{}.mlp.up": ("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
    "layers.{}.mlp.down": "model.layers.{}.mlp.down_proj",
    "final_norm": "model.norm",
    "head": "lm_head",
}


def parse(fields: Mapping[str, Any]) -> Config:
    def size(name: str) -> int:
        return checked.size(name, fields.get(name))

    vocab_size, layers = size("vocab_size"), size("num_hidden_layers")
    heads, head_dim = size("num_attention_heads"), size("head_dim")
    norm = of.Norm("rms_norm", checked.positive("rms_norm_eps", fields["rms_norm_eps"]))

    def attention(layer: int) -> of.Attention:
        return of.Attention(
            num_heads=heads,
            num_kv_heads=size("num_key_value_heads"),
            head_dim=head_dim,
            scale=1 / math.sqrt(head_dim),
            bias=of.AttentionBias(qkv=False, output=False),
            rotary=of.Rotary(
                fields.get("rotary_dims", head_dim),
                checked.positive("rope_theta", fields["rope_theta"]),
                fields.get("interleaved", False),
            ),
            window=fields.get("windows", [None] * layers)[layer],
            soft_cap=fields.get("attention_soft_cap"),
            qk_norm=norm if fields.get("qk_norm") else None,
        )

    mlp = of.Mlp(
        size("intermediate_size"),
        checked.activation("hidden_act", fields["hidden_act"]),
        gated=True,
        bias=of.MlpBias(up=False, down=False),
    )
    spec = of.DecoderSpec(
        hidden_size=size("hidden_size"),
        vocab_size=vocab_size,
        max_seq_len=size("max_position_embeddings"),
        embedding=of.Embedding(scale=fields.get("embedding_scale", 1.0)),
        layers=tuple(of.LayerSpec(norm, attention(layer), mlp) for layer in range(layers)),
        final_norm=norm,
        head=of.Head(fields.get("tie_word_embeddings", False), fields.get("final_soft_cap")),
    )
    eos = checked.tokens("eos_token_id", fields.get("eos_token_id"), vocab_size)
    return Config(spec, None, eos, lambda parameter: 0.02)


register(
    Family(
        model_type="toy",
        model_file="toy_with_cache.onnx",
        architectures=("ToyForCausalLM",),
        parse=parse,
        modules=MODULES,
        inputs_first=False,
        prefix="model.",
    )
)
