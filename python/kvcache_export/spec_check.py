"""What of a description has a meaning: sizes, kinds and what goes together."""

import math

from . import fields
from .errors import ExportError
from .spec import (
    ACTIVATIONS,
    NORMS,
    POSITIONS,
    SCALINGS,
    Attention,
    DecoderSpec,
    Norm,
    RotaryScaling,
    ValueHead,
)

# Far more than any model has; a mistaken number would otherwise build graphs for hours.
MAX_LAYERS = 1000
MAX_ELEMENTS = 2**40
MAX_VALUE_HEAD_LAYERS = 3  # of a node that has them all


def check(spec: DecoderSpec) -> None:
    """Raises ExportError naming the first field that can't be honoured."""
    for name in ("hidden_size", "vocab_size", "max_seq_len"):
        fields.size(name, getattr(spec, name))
    if not 0 < len(spec.layers) <= MAX_LAYERS:
        raise ExportError(f"there must be 1 to {MAX_LAYERS} layers, not {len(spec.layers)}")
    fields.positive("embedding.scale", spec.embedding.scale)
    fields.one_of("embedding.positions", spec.embedding.positions, POSITIONS)
    for layer, of in spec.named_layers():
        _check_norm(f"{layer}.norm", of.norm)
        if of.post_norm is not None:
            _check_norm(f"{layer}.post_norm", of.post_norm)
            fields.one_of(f"{layer}.post_norm.kind", of.post_norm.kind, ("rms_norm",))
        _check_attention(f"{layer}.attention", of.attention)
        fields.size(f"{layer}.mlp.inner_size", of.mlp.inner_size)
        fields.one_of(f"{layer}.mlp.activation", of.mlp.activation, ACTIVATIONS)
    _check_norm("final_norm", spec.final_norm)
    if spec.head.soft_cap is not None:
        fields.positive("head.soft_cap", spec.head.soft_cap)
    if spec.value_head is not None:
        _check_value_head(spec.value_head)
    for name, shape in spec.parameters().items():
        if math.prod(shape) > MAX_ELEMENTS:
            raise ExportError(
                f"{name} {list(shape)} would make a tensor of {math.prod(shape)} elements, must be"
                f" at most {MAX_ELEMENTS}"
            )


def _check_norm(name: str, norm: Norm) -> None:
    fields.one_of(f"{name}.kind", norm.kind, NORMS)
    fields.positive(f"{name}.epsilon", norm.epsilon)
    if norm.bias and norm.kind == "rms_norm":
        raise ExportError(f"{name} is an rms_norm, which has no bias")


def _check_scaling(name: str, of: RotaryScaling, dims: int) -> None:
    fields.one_of(f"{name}.kind", of.kind, SCALINGS)
    for part in ("factor", "low", "high", "magnitude"):
        fields.positive(f"{name}.{part}", getattr(of, part))
    if of.kind in ("llama3", "yarn"):
        fields.size(f"{name}.original_positions", of.original_positions)
    if of.kind == "llama3" and of.low == of.high:
        raise ExportError(f"{name}: low_freq_factor and high_freq_factor must differ")
    if of.kind == "longrope":
        if len(of.divisors) != dims // 2:
            raise ExportError(
                f"{name}.divisors must be {dims // 2} numbers, one for each pair, not"
                f" {len(of.divisors)}"
            )
        for divisor in of.divisors:
            fields.positive(f"{name}.divisors", divisor)


def _check_value_head(of: ValueHead) -> None:
    if len(of.inner_sizes) > MAX_VALUE_HEAD_LAYERS:
        raise ExportError(
            f"value_head.inner_sizes {list(of.inner_sizes)} must be at most"
            f" {MAX_VALUE_HEAD_LAYERS} sizes"
        )
    for size in of.inner_sizes:
        fields.size("value_head.inner_sizes", size)
    if of.norm is not None:
        _check_norm("value_head.norm", of.norm)
    for name in ("activation", "output_activation"):
        fields.one_of(f"value_head.{name}", getattr(of, name), ACTIVATIONS)


def _check_attention(name: str, of: Attention) -> None:
    for part in ("num_heads", "num_kv_heads", "head_dim"):
        fields.size(f"{name}.{part}", getattr(of, part))
    if of.num_heads % of.num_kv_heads:
        raise ExportError(
            f"{name}.num_heads {of.num_heads} is not a multiple of num_kv_heads {of.num_kv_heads}"
        )
    fields.positive(f"{name}.scale", of.scale)
    if of.rotary is not None:
        if fields.size(f"{name}.rotary.dims", of.rotary.dims, of.head_dim) % 2:
            raise ExportError(f"{name}.rotary.dims must be even, not {of.rotary.dims}")
        fields.positive(f"{name}.rotary.base", of.rotary.base)
        if of.rotary.scaling is not None:
            _check_scaling(f"{name}.rotary.scaling", of.rotary.scaling, of.rotary.dims)
    if of.window is not None:
        fields.size(f"{name}.window", of.window)
    if of.soft_cap is not None:
        fields.positive(f"{name}.soft_cap", of.soft_cap)
    if of.qk_norm is not None:
        _check_norm(f"{name}.qk_norm", of.qk_norm)
        fields.one_of(f"{name}.qk_norm.kind", of.qk_norm.kind, ("rms_norm",))
