#!/usr/bin/env python3
"""Makes the goldens of the families beside GPT-2 anew: tiny models with Hugging Face's logits.

Needs torch and transformers, which nothing else here does, and is therefore run by hand:
    python tests/goldens/make_family_goldens.py [NAME ...]
What a directory holds, and why the deviation is large, make_goldens.py says.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from make_goldens import DEVIATION, TOKENS, make
from transformers import AutoConfig, AutoModelForCausalLM

FAMILIES = Path(__file__).parent / "families"

# Sizes are what all directories together have room for: 300 kB. 12 is no whole vector.
SMALL = {
    **{"vocab_size": 37, "hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2},
    **{"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64},
    **{
        "head_dim": 8,
        "initializer_range": 1.3 * DEVIATION,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    },
}


def rope(kind: str, theta: float = 10000.0, **fields: object) -> dict:
    return {"rope_parameters": {"rope_type": kind, "rope_theta": theta, **fields}}


# Of variants that differ in positions or windows alone, which need no more.
SMALLER = {"num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 8}
ONE_LAYER = {**SMALLER, "num_hidden_layers": 1}
YARN = rope("yarn", factor=4.0, original_max_position_embeddings=16)
LLAMA3 = rope(
    "llama3",
    500.0,
    **{"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    original_max_position_embeddings=16,
)

VARIANTS = {
    "llama": {"model_type": "llama"},
    "llama-biases-tied": {
        "model_type": "llama",
        **{"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        **{"num_key_value_heads": 1, "head_dim": 6},
    },
    "llama-rope-llama3": {"model_type": "llama", **ONE_LAYER, **LLAMA3},
    "llama-rope-linear": {"model_type": "llama", **ONE_LAYER, **rope("linear", factor=4.0)},
    "llama-rope-dynamic": {"model_type": "llama", **ONE_LAYER, **rope("dynamic", factor=2.0)},
    "llama-rope-yarn": {"model_type": "llama", **ONE_LAYER, **YARN},
    "mistral-window": {"model_type": "mistral", **SMALLER, "sliding_window": 7},
    "qwen2": {"model_type": "qwen2"},
    "qwen2-windows": {
        "model_type": "qwen2",
        **{"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1},
        **SMALLER,
    },
    "qwen3": {"model_type": "qwen3", "head_dim": 12},
    # What a GPU runs as one kernel a token: heads of 64, sizes that are multiples of 32.
    "qwen3-heads-of-64": {
        "model_type": "qwen3",
        **{"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "head_dim": 64},
        **{"num_attention_heads": 2, "num_key_value_heads": 1},
    },
    "smollm3": {"model_type": "smollm3", **SMALLER, "num_hidden_layers": 4},
    "phi3": {"model_type": "phi3"},
    "phi3-longrope": {
        "model_type": "phi3",
        **{"hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1},
        "original_max_position_embeddings": 64,
        **rope(
            "longrope",
            partial_rotary_factor=0.75,
            short_factor=[1.0, 1.2, 1.7],
            long_factor=[2.0, 3.0, 5.0],
            original_max_position_embeddings=64,
        ),
    },
    "gemma": {"model_type": "gemma", "tie_word_embeddings": False},
    "gemma2": {
        "model_type": "gemma2",
        **SMALLER,
        **{"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 2},
        "initializer_range": 0.08,
        **{"attn_logit_softcapping": 5.0, "final_logit_softcapping": 12.0},
    },
    "gemma3": {
        "model_type": "gemma3_text",
        **SMALLER,
        **{"head_dim": 8, "sliding_window": 5, "query_pre_attn_scalar": 2},
        "initializer_range": 0.12,
        "num_hidden_layers": 3,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
    },
}


# The element type of the checkpoint, where it isn't float16.
STORED_AS = {"llama-rope-dynamic": torch.float32, "qwen2": torch.bfloat16}


def main() -> None:
    for name in sys.argv[1:] or VARIANTS:
        config = AutoConfig.for_model(**{**SMALL, **VARIANTS[name]})
        config._attn_implementation = "eager"  # the definition, which all families have
        make(FAMILIES / name, config, STORED_AS.get(name, torch.float16), random_model)


def random_model(config, seed: int) -> tuple[torch.nn.Module, list[int]]:
    """A model whose norms and biases, too, are random, and random token ids for it."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(".bias") or "norm" in name:
                parameter.add_(0.2 * torch.randn_like(parameter))
        model.tie_weights()
    return model, torch.randint(1, config.vocab_size, (TOKENS,)).tolist()


if __name__ == "__main__":
    main()
