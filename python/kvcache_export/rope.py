"""Rotary positions as Hugging Face's configs say them.

`rope_parameters` of transformers 5, or `rope_theta` and `rope_scaling` before it; a family whose
layers differ has one of these for each type of layer. What each kind computes is that of
transformers' `modeling_rope_utils.py`.
"""

import math
from collections.abc import Mapping
from typing import Any

from . import fields as checked
from .errors import ExportError
from .json_file import shown
from .spec import Rotary, RotaryScaling

# Frequencies that change as a text grows would change what was cached.
KINDS = ("default", "linear", "dynamic", "llama3", "yarn", "longrope")

Fields = Mapping[str, Any]


def read(config: Fields, head_dim: int, positions: int) -> Rotary:
    """The rotary embedding of a config; `positions` are those that the model is exported for."""
    name, of = "rope_scaling", config.get("rope_scaling")
    if config.get("rope_parameters") is not None:
        name, of = "rope_parameters", config["rope_parameters"]
    of = {} if of is None else of
    if not isinstance(of, Mapping):
        raise ExportError(f"{name} must be an object or null, not {shown(of)}")
    return read_parameters(name, {**_defaults(config), **of}, head_dim, positions)


def _defaults(config: Fields) -> dict[str, Any]:
    """What stands beside the object in older configs."""
    found = {"rope_theta": 10000.0}
    for each in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings"):
        if config.get(each) is not None:
            found[each] = config[each]
    found["trained_positions"] = config.get("max_position_embeddings")
    return found


def read_parameters(name: str, of: Fields, head_dim: int, positions: int) -> Rotary:
    """The same of one such object."""
    base = checked.positive(f"{name}.rope_theta", of.get("rope_theta"))
    partial = of.get("partial_rotary_factor")
    share = 1.0 if partial is None else checked.positive(f"{name}.partial_rotary_factor", partial)
    dims = int(head_dim * share)
    if not 0 < dims <= head_dim or dims % 2:
        raise ExportError(
            f"{name}.partial_rotary_factor {share} of {head_dim} makes {dims} elements, must be an"
            f" even number of at most {head_dim}"
        )
    kind = of.get("rope_type", of.get("type", "default"))  # `type` in the oldest ones
    if kind == "su":  # Phi-3's first name of it
        kind = "longrope"
    checked.one_of(f"{name}.rope_type", kind, KINDS)
    return Rotary(dims, base, scaling=_Reader(name, of, dims, positions).scaling(kind))


class _Reader:
    """Reads one kind's fields of the object `name`."""

    def __init__(self, name: str, of: Fields, dims: int, positions: int):
        self.name, self.of, self.dims, self.positions = name, of, dims, positions

    def scaling(self, kind: str) -> RotaryScaling | None:
        return {
            "default": lambda: None,
            "linear": lambda: RotaryScaling("linear", self._number("factor")),
            "dynamic": self._dynamic,
            "llama3": self._llama3,
            "yarn": self._yarn,
            "longrope": self._longrope,
        }[kind]()

    def _number(self, field: str, default: float | None = None) -> float:
        value = self.of.get(field)
        return checked.positive(f"{self.name}.{field}", default if value is None else value)

    def _original(self) -> int:
        field = "original_max_position_embeddings"
        value = self.of.get(field)
        value = self.of.get("trained_positions") if value is None else value
        return checked.size(f"{self.name}.{field}", value)

    def _factor(self, original: int) -> float:
        """By how much more than the original positions the model was trained for."""
        trained = self.of.get("trained_positions")
        return self._number("factor", trained / original if trained else None)

    def _dynamic(self) -> None:
        """Within the trained positions nothing is scaled; beyond them every frequency changes."""
        trained = self.of.get("trained_positions")
        if trained is not None and self.positions > trained:
            raise ExportError(
                f"{self.name}.rope_type dynamic changes all frequencies as a text grows beyond"
                f" {trained} tokens, and with them what is cached: export at most {trained}"
            )

    def _llama3(self) -> RotaryScaling:
        return RotaryScaling(
            "llama3",
            self._number("factor"),
            self._original(),
            self._number("low_freq_factor"),
            self._number("high_freq_factor"),
        )

    def _yarn(self) -> RotaryScaling:
        original = self._original()
        factor = self._factor(original)
        magnitude = self.of.get("attention_factor")
        if magnitude is None:
            one, all_dims = (self.of.get(each) for each in ("mscale", "mscale_all_dim"))
            magnitude = (
                _yarn_magnitude(factor, one) / _yarn_magnitude(factor, all_dims)
                if one and all_dims
                else _yarn_magnitude(factor, 1)
            )
        truncate = self.of.get("truncate", True)
        return RotaryScaling(
            "yarn",
            factor,
            original,
            self._number("beta_slow", 1) if self.of.get("beta_slow") else 1.0,
            self._number("beta_fast", 32) if self.of.get("beta_fast") else 32.0,
            truncate=checked.flag(f"{self.name}.truncate", truncate),
            magnitude=checked.positive(f"{self.name}.attention_factor", magnitude),
        )

    def _longrope(self) -> RotaryScaling:
        """The divisors for texts of the original length, or for longer ones: never both."""
        original = self._original()
        field = "long_factor" if self.positions > original else "short_factor"
        divisors = self.of.get(field)
        if not isinstance(divisors, list):
            raise ExportError(f"{self.name}.{field} must be a list, not {shown(divisors)}")
        factor = self._factor(original)
        magnitude = self.of.get("attention_factor")
        if magnitude is None:
            magnitude = 1.0 if factor <= 1 else math.sqrt(1 + math.log(factor) / math.log(original))
        return RotaryScaling(
            "longrope",
            original_positions=original,
            divisors=tuple(checked.positive(f"{self.name}.{field}", each) for each in divisors),
            magnitude=checked.positive(f"{self.name}.attention_factor", magnitude),
        )


def _yarn_magnitude(factor: float, scale: Any) -> float:
    scale = checked.positive("mscale", scale)
    return 1.0 if factor <= 1 else 0.1 * scale * math.log(factor) + 1
