"""Gemma 2: Gemma with norms on both sides of each part, soft caps, and every other layer local."""

import math
from collections.abc import Mapping
from typing import Any

from .. import fields as checked
from .. import spec as of
from ..family import Config
from ..gated import MODULES, SANDWICH_NORMS, GatedConfig, alternating, family
from . import register

DEFAULTS = {
    **{"vocab_size": 256000, "hidden_size": 2304, "intermediate_size": 9216},
    **{"num_hidden_layers": 26, "num_attention_heads": 8, "num_key_value_heads": 4},
    **{"head_dim": 256, "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True},
    **{"max_position_embeddings": 8192, "sliding_window": 4096, "query_pre_attn_scalar": 256},
    **{"bos_token_id": 2, "eos_token_id": 1},
}
SOFT_CAPS = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    caps = {name: soft_cap(fields, name, usual) for name, usual in SOFT_CAPS.items()}
    alike = {
        "rotary": config.rotary(),
        "bias": config.attention_bias(),
        "scale": scale(config),
        "soft_cap": caps["attn_logit_softcapping"],
    }
    windows = config.windows(config.layer_types(alternating(2)))
    attentions = [config.attention(**alike, window=window) for window in windows]
    return config.config(
        attentions,
        config.mlp("hidden_activation"),
        embedding=of.Embedding(math.sqrt(config.hidden)),
        post_norm=config.norm,
        logits_soft_cap=caps["final_logit_softcapping"],
    )


def soft_cap(fields: Mapping[str, Any], name: str, usual: float | None) -> float | None:
    """Null is none."""
    value = fields.get(name, usual)
    return None if value is None else checked.positive(name, value)


def scale(config: GatedConfig) -> float:
    """Of scores: the query's is set apart from the size of a head."""
    name = "query_pre_attn_scalar"
    return 1 / math.sqrt(checked.positive(name, config.get(name)))


register(family("gemma2", "Gemma2", parse, MODULES | SANDWICH_NORMS, norm_offset=1.0))
