"""Checked values of a file's fields: each is what it must be, or an ExportError names the field."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .errors import ExportError
from .json_file import shown

# Hugging Face's names of activation functions (`ACT2FN`), and ours. Those of the tanh approximation
# differ in how torch computes it, not in the function. `prelu` and `xielu`, with weights of their
# own, are not here.
ACTIVATIONS = {
    **dict.fromkeys(("gelu_new", "gelu_pytorch_tanh", "gelu_python_tanh"), "gelu_tanh"),
    **dict.fromkeys(("gelu_fast", "gelu_accurate"), "gelu_tanh"),
    **{"gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_10": "gelu_clipped"},
    **{"quick_gelu": "quick_gelu", "relu": "relu", "relu2": "relu_squared", "relu6": "relu6"},
    **{"leaky_relu": "leaky_relu", "silu": "silu", "swish": "silu", "hardswish": "hard_swish"},
    **{"mish": "mish", "laplace": "laplace", "sqrtsoftplus": "sqrt_softplus"},
    **{"sigmoid": "sigmoid", "tanh": "tanh", "linear": "identity"},
}

# What the library's integers hold.
MAX_SIZE = 2**31 - 1

FLOAT32 = np.finfo(np.float32)


def is_file_name(value: Any) -> bool:
    """Whether it is the name of a file beside the one that names it."""
    if not isinstance(value, str) or value in ("", ".", ".."):
        return False
    return value.isprintable() and not set(value) & {"/", "\\"}


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


def tokens(name: str, value: Any, vocab_size: int) -> tuple[int, ...]:
    """One token id, several or none, each as `token` has it; every one once."""
    values = value if isinstance(value, list) else [value]
    found = [token(name, each, vocab_size) for each in values]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise ExportError(f"unsupported {name} {shown(value)} (supported: {', '.join(known)})")
    return value


def activation(name: str, value: Any) -> str:
    """Our name of the function that Hugging Face calls `value`."""
    return ACTIVATIONS[one_of(name, value, ACTIVATIONS)]
