"""Llama 2, 3, 3.1 and 3.2, and what has their architecture: SmolLM and SmolLM2 among others."""

from collections.abc import Mapping
from typing import Any

from ..family import Config
from ..gated import GatedConfig, family
from . import register

PRESETS = {
    "llama-3.2-1b": {
        **{"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192},
        **{"num_hidden_layers": 16, "num_attention_heads": 32, "num_key_value_heads": 8},
        **{"head_dim": 64, "max_position_embeddings": 131072, "rms_norm_eps": 1e-5},
        "rope_theta": 500000.0,
        "rope_scaling": {
            **{"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0},
            **{"high_freq_factor": 4.0, "original_max_position_embeddings": 8192},
        },
        **{"tie_word_embeddings": True, "bos_token_id": 128000, "eos_token_id": 128001},
    },
    "smollm2-135m": {
        **{"vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536},
        **{"num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3},
        **{"max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 100000.0},
        **{"tie_word_embeddings": True, "bos_token_id": 1, "eos_token_id": 2},
    },
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, {"bos_token_id": 1, "eos_token_id": 2})
    attention = config.attention(rotary=config.rotary(), bias=config.attention_bias())
    return config.config([attention] * config.num_layers, config.mlp(bias=config.flag("mlp_bias")))


register(family("llama", "Llama", parse, presets=PRESETS))
