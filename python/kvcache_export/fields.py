"""Checked values of a file's fields: each is what it must be, or an ExportError names the field."""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import ExportError
from .json_file import shown

# What the library's integers hold.
MAX_SIZE = 2**31 - 1

FLOAT32 = np.finfo(np.float32)


def is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def size(name: str, value: Any, largest: int = MAX_SIZE) -> int:
    """A positive integer up to `largest`."""
    if not is_integer(value) or value < 1:
        raise ExportError(f"{name} must be a positive integer, not {shown(value)}")
    if value > largest:
        raise ExportError(f"{name} must be at most {largest}, not {shown(value)}")
    return value


def positive(name: str, value: Any) -> float:
    """A positive number that float32 holds with full precision."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not value > 0:  # NaN too
        raise ExportError(f"{name} must be a positive number, not {shown(value)}")
    if not float(FLOAT32.tiny) <= value <= float(FLOAT32.max):
        raise ExportError(
            f"{name} must be between {FLOAT32.tiny:.3g} and {FLOAT32.max:.3g}, the numbers of"
            f" float32, not {shown(value)}"
        )
    return float(value)


def flag(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise ExportError(f"{name} must be true or false, not {shown(value)}")
    return value


def token(name: str, value: Any, vocab_size: int) -> int | None:
    """A token id, or None where there is none that the vocabulary holds.

    Small models often keep GPT-2's 50256, which lies beyond their vocabulary: no usable token.
    """
    if value is None:
        return None
    if not is_integer(value):
        raise ExportError(f"unsupported {name}: {shown(value)} (supported: token ids or null)")
    return value if 0 <= value < vocab_size else None
