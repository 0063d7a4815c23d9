"""Architectures of GGUF files: what llama.cpp calls the tensors of each, and what it changed.

Names and metadata are those of its converter (convert_hf_to_gguf.py, gguf/constants.py). What the
metadata does not say, llama.cpp knows by the architecture, and so does this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

# Names of modules, of a layer where they begin with blk, as Hugging Face's checkpoints have them.
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "blk.{}.attn_norm": "model.layers.{}.input_layernorm",
    "blk.{}.attn_q": "model.layers.{}.self_attn.q_proj",
    "blk.{}.attn_k": "model.layers.{}.self_attn.k_proj",
    "blk.{}.attn_v": "model.layers.{}.self_attn.v_proj",
    "blk.{}.attn_output": "model.layers.{}.self_attn.o_proj",
    "blk.{}.ffn_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_gate": "model.layers.{}.mlp.gate_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.up_proj",
    "blk.{}.ffn_down": "model.layers.{}.mlp.down_proj",
}
QK_NORMS = {
    "blk.{}.attn_q_norm": "model.layers.{}.self_attn.q_norm",
    "blk.{}.attn_k_norm": "model.layers.{}.self_attn.k_norm",
}
SANDWICH_NORMS = {
    "blk.{}.post_attention_norm": "model.layers.{}.post_attention_layernorm",
    "blk.{}.ffn_norm": "model.layers.{}.pre_feedforward_layernorm",
    "blk.{}.post_ffw_norm": "model.layers.{}.post_feedforward_layernorm",
}
FUSED = {
    "blk.{}.attn_qkv": "model.layers.{}.self_attn.qkv_proj",
    "blk.{}.ffn_up": "model.layers.{}.mlp.gate_up_proj",
}

# Reads a key of the metadata, without the architecture's name; the second is what a missing one is.
Metadata = Callable[..., Any]


@dataclass(frozen=True)
class Architecture:
    model_type: str  # of its family
    names: Mapping[str, str] = field(default_factory=dict)  # beside and instead of NAMES
    # Whether rows of queries and keys have the two of a rotary pair beside each other; Hugging
    # Face has the halves apart.
    pairs: bool = False
    norm_offset: float = 0.0  # what the converter added to the weights of norms
    fields: Callable[[Metadata], Mapping[str, Any]] = lambda of: {}  # of the config, beside all's

    def name(self, tensor: str) -> str:
        """A tensor's name in a checkpoint; one that is not known stays, and is refused later."""
        module, _, kind = tensor.rpartition(".")
        first, _, rest = module.partition(".")
        number, _, part = rest.partition(".")
        layer = first == "blk" and number.isdecimal()
        known = {**NAMES, **self.names}.get(f"blk.{{}}.{part}" if layer else module)
        return tensor if known is None else f"{known.format(number)}.{kind}"


def _partial_rotary(of: Metadata) -> dict[str, Any]:
    head_dim = of("attention.key_length", of("embedding_length") / of("attention.head_count"))
    return {
        "partial_rotary_factor": of("rope.dimension_count") / head_dim,
        "sliding_window": of("attention.sliding_window", 0) or None,
    }


def _query_scale(of: Metadata, largest: int) -> float:
    """`query_pre_attn_scalar`: a head's size but for the largest model, known by its layers."""
    if of("block_count") == largest:
        return of("embedding_length") / of("attention.head_count")
    return of("attention.key_length")


def _gemma2(of: Metadata) -> dict[str, Any]:
    return {
        "attn_logit_softcapping": of("attn_logit_softcapping", 50.0),
        "final_logit_softcapping": of("final_logit_softcapping", 30.0),
        "sliding_window": of("attention.sliding_window", 4096),
        "query_pre_attn_scalar": _query_scale(of, 46),
    }


def _gemma3(of: Metadata) -> dict[str, Any]:
    return {
        "sliding_window": of("attention.sliding_window"),
        "rope_local_base_freq": of("rope.freq_base_swa", 10000.0),
        "rope_theta": of("rope.freq_base", 1000000.0),
        "query_pre_attn_scalar": _query_scale(of, 62),
        "final_logit_softcapping": of("final_logit_softcapping", None),
    }


ARCHITECTURES = {
    "llama": Architecture("llama", pairs=True),
    "qwen2": Architecture("qwen2"),
    "qwen3": Architecture("qwen3", QK_NORMS),
    "smollm3": Architecture("smollm3", pairs=True),
    "phi3": Architecture("phi3", FUSED, fields=_partial_rotary),
    "gemma": Architecture("gemma", norm_offset=1.0),
    "gemma2": Architecture("gemma2", SANDWICH_NORMS, norm_offset=1.0, fields=_gemma2),
    "gemma3": Architecture(
        "gemma3_text", SANDWICH_NORMS | QK_NORMS, norm_offset=1.0, fields=_gemma3
    ),
}
