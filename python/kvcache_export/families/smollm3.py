"""SmolLM3: Llama's architecture, where every fourth layer has no positions."""

from collections.abc import Mapping
from typing import Any

from ..errors import ExportError
from ..family import Config
from ..gated import FULL, SLIDING, GatedConfig, family
from ..json_file import shown
from . import register

DEFAULTS = {
    **{"vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 36},
    **{"num_attention_heads": 16, "num_key_value_heads": 4, "max_position_embeddings": 32768},
    **{"rope_theta": 2000000.0, "tie_word_embeddings": True},
    **{"bos_token_id": 128000, "eos_token_id": 128001},
}


def parse(fields: Mapping[str, Any]) -> Config:
    config = GatedConfig(fields, DEFAULTS)
    rotary, turning = config.rotary(), _turning_layers(config)
    attentions = [
        config.attention(
            rotary=rotary if turns else None,
            bias=config.attention_bias(),
            window=window,
        )
        for turns, window in zip(turning, _windows(config, turning), strict=True)
    ]
    return config.config(attentions, config.mlp(bias=config.flag("mlp_bias")))


def _windows(config: GatedConfig, turning: list[bool]) -> list[int | None]:
    """A window slides, where there is one, in the layers without positions."""
    if not config.flag("use_sliding_window") or config.get("sliding_window") is None:
        return [None] * config.num_layers
    return config.windows(config.layer_types(lambda layer: FULL if turning[layer] else SLIDING))


def _turning_layers(config: GatedConfig) -> list[bool]:
    """Which layers have rotary positions: `no_rope_layers` has a 1 for each that does."""
    layers = config.get("no_rope_layers")
    if layers is None:
        interval = config.size("no_rope_layer_interval", 4)
        return [(layer + 1) % interval != 0 for layer in range(config.num_layers)]
    if (
        not isinstance(layers, list)
        or len(layers) != config.num_layers
        or any(each not in (0, 1) for each in layers)
    ):
        raise ExportError(
            f"no_rope_layers must be a list of {config.num_layers} zeros and ones, one for each"
            f" layer, not {shown(layers)}"
        )
    return [each == 1 for each in layers]


register(family("smollm3", "SmolLM3", parse))
