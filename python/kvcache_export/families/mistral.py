"""Mistral: Llama's architecture, where a window slides in every layer of the first version."""

from collections.abc import Mapping
from typing import Any

from .. import fields as checked
from ..family import Config
from ..gated import GatedConfig, family
from . import register

DEFAULTS = {
    **{"num_key_value_heads": 8, "intermediate_size": 14336, "max_position_embeddings": 131072},
    **{"bos_token_id": 1, "eos_token_id": 2},
}
WINDOW = 4096  # where a config says nothing; null is none


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    window = fields.get("sliding_window", WINDOW)
    if window is not None:
        window = checked.size("sliding_window", window)
    attention = config.attention(rotary=config.rotary(), window=window)
    return config.config([attention] * config.num_layers, config.mlp())


register(family("mistral", "Mistral", parse))
