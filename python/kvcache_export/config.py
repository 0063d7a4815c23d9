"""A GPT-2 checkpoint's config.json, honoured or refused field by field.

Field names, defaults and aliases are those of Hugging Face's `GPT2Config`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import fields as checked
from . import json_file
from .activations import ACTIVATIONS
from .errors import ExportError
from .json_file import shown

# Other spellings of the same field. `n_ctx` comes last: where it differs from n_positions, it is
# n_positions that counts the rows of the position embedding.
ALIASES = {
    "n_embd": ("hidden_size",),
    "n_positions": ("max_position_embeddings", "n_ctx"),
    "n_head": ("num_attention_heads",),
    "n_layer": ("num_hidden_layers",),
}

LANGUAGE_MODELS = ("GPT2LMHeadModel", "GPT2Model", "GPT2DoubleHeadsModel")

# Fields that would change what the model computes, and the values that leave it a plain GPT-2.
REFUSED_UNLESS = {
    "add_cross_attention": (False, None),
    "is_encoder_decoder": (False, None),
    "pruned_heads": ({}, None),
    "quantization_config": (None,),
}

# Fields that no other family spells so.
OWN_NAMES = {"n_embd", "n_layer", "n_head"}

# Far more than any GPT-2 has; a mistaken number would otherwise build graphs for hours.
MAX_LAYERS = 1000
MAX_ELEMENTS = 2**40

GPT2_END_OF_TEXT = 50256

EMBEDDING = "transformer.wte"
HEAD = "lm_head"


@dataclass(frozen=True)
class Gpt2Config:
    """What of a GPT-2 config bears on inference. Dropout and summary fields don't."""

    vocab_size: int = 50257
    n_positions: int = 1024
    n_embd: int = 768
    n_layer: int = 12
    n_head: int = 12
    n_inner: int = 3072
    activation_function: str = "gelu_new"
    layer_norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scale_attn_weights: bool = True
    scale_attn_by_inverse_layer_idx: bool = False
    tie_word_embeddings: bool = True
    bos_token_id: int | None = GPT2_END_OF_TEXT
    eos_token_ids: tuple[int, ...] = (GPT2_END_OF_TEXT,)

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    def attention_scale(self, layer: int) -> float:
        """What the scores q·k of a layer (counted from 0) are multiplied by."""
        scale = 1 / math.sqrt(self.head_dim) if self.scale_attn_weights else 1.0
        return scale / (layer + 1) if self.scale_attn_by_inverse_layer_idx else scale

    def matrices(self) -> dict[str, tuple[int, int]]:
        """The inputs and outputs of every matrix that decoding reads, by its checkpoint's name."""
        hidden, inner = self.n_embd, self.n_inner
        of_a_layer = {
            "attn.c_attn": (hidden, 3 * hidden),
            "attn.c_proj": (hidden, hidden),
            "mlp.c_fc": (hidden, inner),
            "mlp.c_proj": (inner, hidden),
        }
        found = {
            f"transformer.h.{layer}.{name}": shape
            for layer in range(self.n_layer)
            for name, shape in of_a_layer.items()
        }
        found[EMBEDDING] = (hidden, self.vocab_size)
        if not self.tie_word_embeddings:
            found[HEAD] = (hidden, self.vocab_size)
        return found


PRESETS = {
    "gpt2": Gpt2Config(),
    "gpt2-medium": Gpt2Config(n_embd=1024, n_layer=24, n_head=16, n_inner=4096),
    "gpt2-large": Gpt2Config(n_embd=1280, n_layer=36, n_head=20, n_inner=5120),
    "gpt2-xl": Gpt2Config(n_embd=1600, n_layer=48, n_head=25, n_inner=6400),
}


def read_config(path: Path) -> Gpt2Config:
    """Reads a config.json; raises ExportError naming the file or the field."""
    fields = json_file.read_object(path)
    try:
        return parse_config(fields)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def parse_config(fields: dict[str, Any]) -> Gpt2Config:
    """Checks every field that bears on inference; ExportError names the first it can't honour."""
    _check_family(fields)
    for name, accepted in REFUSED_UNLESS.items():
        if name in fields and fields[name] not in accepted:
            raise ExportError(f"unsupported {name}: {shown(fields[name])}")

    n_embd = checked.size(*_field(fields, "n_embd"))
    n_head = checked.size(*_field(fields, "n_head"))
    if n_embd % n_head:
        raise ExportError(f"n_embd {n_embd} is not a multiple of n_head {n_head}")
    vocab_size = checked.size(*_field(fields, "vocab_size"))
    config = Gpt2Config(
        vocab_size=vocab_size,
        n_positions=checked.size(*_field(fields, "n_positions")),
        n_embd=n_embd,
        n_layer=checked.size(*_field(fields, "n_layer"), largest=MAX_LAYERS),
        n_head=n_head,
        n_inner=4 * n_embd
        if fields.get("n_inner") is None
        else checked.size("n_inner", fields["n_inner"]),
        activation_function=_activation(fields),
        layer_norm_epsilon=checked.positive(*_field(fields, "layer_norm_epsilon")),
        initializer_range=checked.positive(*_field(fields, "initializer_range")),
        scale_attn_weights=checked.flag(*_field(fields, "scale_attn_weights")),
        scale_attn_by_inverse_layer_idx=checked.flag(
            *_field(fields, "scale_attn_by_inverse_layer_idx")
        ),
        tie_word_embeddings=checked.flag(*_field(fields, "tie_word_embeddings")),
        bos_token_id=checked.token("bos_token_id", _token(fields, "bos_token_id"), vocab_size),
        eos_token_ids=_end_tokens(fields, vocab_size),
    )
    largest = n_embd * max(3 * n_embd, config.n_inner, vocab_size, config.n_positions)
    if largest > MAX_ELEMENTS:
        raise ExportError(
            f"n_embd {n_embd}, n_inner {config.n_inner}, vocab_size {vocab_size} and n_positions"
            f" {config.n_positions} make a tensor of {largest} elements, must be at most"
            f" {MAX_ELEMENTS}"
        )
    return config


def _check_family(fields: dict[str, Any]) -> None:
    """That it is the config of a GPT-2 with a language model's head, or of one without any.

    `model_type` may be missing, as in configs made by hand, where something else tells a GPT-2.
    """
    model_type = fields.get("model_type")
    architectures = fields.get("architectures")
    if model_type is None and not architectures and not fields.keys() & OWN_NAMES:
        raise ExportError("not a GPT-2: it has neither model_type nor n_embd, n_layer or n_head")
    if model_type not in (None, "gpt2"):
        raise ExportError(f"not a GPT-2: model_type is {shown(model_type)}, expected 'gpt2'")
    if architectures and not (
        isinstance(architectures, list) and any(name in LANGUAGE_MODELS for name in architectures)
    ):
        raise ExportError(
            f"unsupported architectures {shown(architectures)}: not a language model"
            f" (supported: {', '.join(LANGUAGE_MODELS)})"
        )


def _field(fields: dict[str, Any], name: str) -> tuple[str, Any]:
    """The field's name as the file spells it, and its value or GPT-2's default."""
    for spelling in (name, *ALIASES.get(name, ())):
        if fields.get(spelling) is not None:
            return spelling, fields[spelling]
    return name, getattr(Gpt2Config, name)


def _activation(fields: dict[str, Any]) -> str:
    _, value = _field(fields, "activation_function")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ExportError(
            f"unsupported activation_function {shown(value)} (supported: {', '.join(ACTIVATIONS)})"
        )
    return value


def _token(fields: dict[str, Any], name: str) -> Any:
    """The field's value; null says that there is no such token, and absence that it is GPT-2's."""
    return fields.get(name, GPT2_END_OF_TEXT)


def _end_tokens(fields: dict[str, Any], vocab_size: int) -> tuple[int, ...]:
    value = _token(fields, "eos_token_id")
    values = value if isinstance(value, list) else [value]
    tokens = [checked.token("eos_token_id", each, vocab_size) for each in values]
    return tuple(dict.fromkeys(token for token in tokens if token is not None))
