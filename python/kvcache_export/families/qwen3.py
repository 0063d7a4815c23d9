"""Qwen3: norms of each query and key, and a head_dim apart from hidden_size / heads."""

from collections.abc import Mapping
from typing import Any

from ..family import Config
from ..gated import MODULES, QK_NORMS, GatedConfig, family, windows
from . import register

DEFAULTS = {
    **{"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768},
    **{"head_dim": 128, "num_key_value_heads": 32},
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    alike = {
        "rotary": config.rotary(),
        "bias": config.attention_bias(),
        "qk_norm": config.norm,
    }
    attentions = [config.attention(**alike, window=window) for window in windows(config)]
    return config.config(attentions, config.mlp())


register(family("qwen3", "Qwen3", parse, MODULES | QK_NORMS))
