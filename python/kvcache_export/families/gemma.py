"""Gemma: Llama's architecture with a scaled embedding, and norms that multiply by 1 + weight."""

import math
from collections.abc import Mapping
from typing import Any

from .. import spec as of
from ..family import Config
from ..gated import GatedConfig, family
from . import register

DEFAULTS = {
    **{"vocab_size": 256000, "hidden_size": 3072, "intermediate_size": 24576},
    **{"num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 16},
    **{"head_dim": 256, "hidden_act": "gelu_pytorch_tanh", "max_position_embeddings": 8192},
    **{"tie_word_embeddings": True, "bos_token_id": 2, "eos_token_id": 1},
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    attention = config.attention(rotary=config.rotary(), bias=config.attention_bias())
    return config.config(
        [attention] * config.num_layers,
        config.mlp(),
        embedding=of.Embedding(math.sqrt(config.hidden)),
    )


register(family("gemma", "Gemma", parse, norm_offset=1.0))
