"""Gemma 3, its text: Gemma 2 with norms of queries and keys in place of the cap of scores, and a
rotary base for local layers, of which each sixth is none."""

import math
from collections.abc import Mapping
from typing import Any

from .. import rope
from .. import spec as of
from ..errors import ExportError
from ..family import Config
from ..gated import (
    FULL,
    MODULES,
    QK_NORMS,
    SANDWICH_NORMS,
    SLIDING,
    GatedConfig,
    alternating,
    family,
)
from ..json_file import shown
from . import gemma2, register

DEFAULTS = gemma2.DEFAULTS | {"vocab_size": 262208, "max_position_embeddings": 131072}
BASES = {FULL: ("rope_theta", 1e6), SLIDING: ("rope_local_base_freq", 1e4)}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    if config.flag("use_bidirectional_attention"):
        raise ExportError("use_bidirectional_attention: tokens that see later ones are not cached")
    alike = {
        "bias": config.attention_bias(),
        "scale": gemma2.scale(config),
        "soft_cap": gemma2.soft_cap(fields, "attn_logit_softcapping", None),
        "qk_norm": config.norm,
    }
    rotary = {each: _rotary(fields, config, each) for each in (FULL, SLIDING)}
    types = config.layer_types(alternating(config.size("sliding_window_pattern", 6)))
    attentions = [
        config.attention(**alike, rotary=rotary[each], window=window)
        for each, window in zip(types, config.windows(types), strict=True)
    ]
    return config.config(
        attentions,
        config.mlp("hidden_activation"),
        embedding=of.Embedding(math.sqrt(config.hidden)),
        post_norm=config.norm,
        logits_soft_cap=gemma2.soft_cap(fields, "final_logit_softcapping", None),
    )


def _rotary(fields: Mapping[str, Any], config: GatedConfig, layer_type: str) -> of.Rotary:
    """An object for each type of layer or, in older configs, two bases and one scaling."""
    field, base = BASES[layer_type]
    found = {"rope_theta": fields.get(field) or base}
    found["trained_positions"] = config.positions
    every = fields.get("rope_parameters")
    if every is None:
        older = fields.get("rope_scaling") if layer_type == FULL else None
        found |= _object("rope_scaling", older)
    else:
        found |= _object("rope_parameters", _object("rope_parameters", every).get(layer_type))
    return rope.read_parameters(
        f"rope_parameters.{layer_type}", found, config.head_dim, config.positions
    )


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ExportError(f"{name} must be an object or null, not {shown(value)}")
    return value


register(
    family(
        "gemma3_text",
        "Gemma3",
        parse,
        MODULES | SANDWICH_NORMS | QK_NORMS,
        architectures=("Gemma3ForCausalLM", "Gemma3TextModel"),
        norm_offset=1.0,
    )
)
