"""Qwen3: norms of each query and key, and a head_dim apart from hidden_size / heads."""

import re
from collections.abc import Mapping
from typing import Any

from .. import spec as of
from ..family import Config, Family
from ..gated import HARMLESS, MODULES, QK_NORMS, GatedConfig, windows
from . import register

DEFAULTS = {
    **{"vocab_size": 151936, "intermediate_size": 22016, "max_position_embeddings": 32768},
    **{"head_dim": 128, "num_key_value_heads": 32},
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    bias = config.flag("attention_bias")
    alike = {
        "rotary": config.rotary(),
        "bias": of.AttentionBias(qkv=bias, output=bias),
        "qk_norm": config.norm,
    }
    attentions = [config.attention(**alike, window=window) for window in windows(config)]
    return config.config(attentions, config.mlp())


register(
    Family(
        model_type="qwen3",
        model_file="model_with_cache.onnx",
        architectures=("Qwen3ForCausalLM", "Qwen3Model"),
        parse=parse,
        modules=MODULES | QK_NORMS,
        inputs_first=False,
        prefix="model.",
        harmless=re.compile(HARMLESS, re.DOTALL),
    )
)
