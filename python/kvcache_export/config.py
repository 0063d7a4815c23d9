"""A GPT-2 checkpoint's config.json, honoured or refused field by field.

Field names, defaults and aliases are those of Hugging Face's `GPT2Config`.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .activations import ACTIVATIONS
from .errors import ExportError

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
    bos_token_id: int | None = 50256
    eos_token_id: int | None = 50256

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
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ExportError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ExportError(f"{path} is not a JSON object")
    try:
        return parse_config(fields)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def parse_config(fields: dict[str, Any]) -> Gpt2Config:
    """Checks every field that bears on inference; ExportError names the first it can't honour."""
    model_type = fields.get("model_type")
    if model_type != "gpt2":
        raise ExportError(f"not a GPT-2: model_type is {model_type!r}, expected 'gpt2'")
    architectures = fields.get("architectures")
    if architectures and not (
        isinstance(architectures, list) and any(name in LANGUAGE_MODELS for name in architectures)
    ):
        raise ExportError(
            f"unsupported architectures {architectures!r}: not a language model"
            f" (supported: {', '.join(LANGUAGE_MODELS)})"
        )
    for name, accepted in REFUSED_UNLESS.items():
        if name in fields and fields[name] not in accepted:
            raise ExportError(f"unsupported {name}: {fields[name]!r}")

    n_embd = _size(fields, "n_embd")
    n_head = _size(fields, "n_head")
    if n_embd % n_head:
        raise ExportError(f"n_embd {n_embd} is not a multiple of n_head {n_head}")
    vocab_size = _size(fields, "vocab_size")
    return Gpt2Config(
        vocab_size=vocab_size,
        n_positions=_size(fields, "n_positions"),
        n_embd=n_embd,
        n_layer=_size(fields, "n_layer"),
        n_head=n_head,
        n_inner=4 * n_embd if fields.get("n_inner") is None else _size(fields, "n_inner"),
        activation_function=_activation(fields),
        layer_norm_epsilon=_positive(fields, "layer_norm_epsilon"),
        initializer_range=_positive(fields, "initializer_range"),
        scale_attn_weights=_flag(fields, "scale_attn_weights"),
        scale_attn_by_inverse_layer_idx=_flag(fields, "scale_attn_by_inverse_layer_idx"),
        tie_word_embeddings=_flag(fields, "tie_word_embeddings"),
        bos_token_id=_token(fields, "bos_token_id", vocab_size),
        eos_token_id=_token(fields, "eos_token_id", vocab_size),
    )


def _field(fields: dict[str, Any], name: str) -> tuple[str, Any]:
    """The field's name as the file spells it, and its value or GPT-2's default."""
    for spelling in (name, *ALIASES.get(name, ())):
        if fields.get(spelling) is not None:
            return spelling, fields[spelling]
    return name, getattr(Gpt2Config, name)


def _size(fields: dict[str, Any], name: str) -> int:
    spelling, value = _field(fields, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ExportError(f"{spelling} must be a positive integer, not {value!r}")
    return value


def _positive(fields: dict[str, Any], name: str) -> float:
    _, value = _field(fields, name)
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value < math.inf:
        raise ExportError(f"{name} must be a positive number, not {value!r}")
    return float(value)


def _flag(fields: dict[str, Any], name: str) -> bool:
    _, value = _field(fields, name)
    if not isinstance(value, bool):
        raise ExportError(f"{name} must be true or false, not {value!r}")
    return value


def _activation(fields: dict[str, Any]) -> str:
    _, value = _field(fields, "activation_function")
    if not isinstance(value, str) or value not in ACTIVATIONS:
        raise ExportError(
            f"unsupported activation_function {value!r} (supported: {', '.join(ACTIVATIONS)})"
        )
    return value


def _token(fields: dict[str, Any], name: str, vocab_size: int) -> int | None:
    """A token id, or None where the config has none that its own vocabulary holds.

    Small models often keep GPT-2's 50256, which lies beyond their vocabulary: no usable token.
    """
    value = fields.get(name, getattr(Gpt2Config, name))
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        raise ExportError(f"unsupported {name}: {value!r} (supported: one token id or null)")
    return value if 0 <= value < vocab_size else None
