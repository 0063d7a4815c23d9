"""Qwen2 and 2.5: Llama's architecture with biases of queries, keys and values."""

from collections.abc import Mapping
from typing import Any

from .. import spec as of
from ..family import Config
from ..gated import GatedConfig, family, windows
from . import register

DEFAULTS = {"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    bias = of.AttentionBias(qkv=True, output=False)
    rotary = config.rotary()
    attentions = [
        config.attention(rotary=rotary, bias=bias, window=window) for window in windows(config)
    ]
    return config.config(attentions, config.mlp())


register(family("qwen2", "Qwen2", parse))
