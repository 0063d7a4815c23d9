"""Phi-3 and 3.5: Llama's architecture with q, k and v in one matrix, gate and up in another."""

from collections.abc import Mapping
from typing import Any

from .. import fields as checked
from ..family import Config
from ..gated import MODULES, GatedConfig, family
from . import register

DEFAULTS = {
    **{"vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192},
    **{"max_position_embeddings": 4096, "original_max_position_embeddings": 4096},
    **{"rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 32000},
}

FUSED = {
    "layers.{}.attention.qkv": "model.layers.{}.self_attn.qkv_proj",
    "layers.{}.mlp.up": "model.layers.{}.mlp.gate_up_proj",
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    window = config.get("sliding_window")
    if window is not None:
        window = checked.size("sliding_window", window)
    attention = config.attention(rotary=config.rotary(), window=window)
    return config.config([attention] * config.num_layers, config.mlp())


register(family("phi3", "Phi3", parse, MODULES | FUSED))
