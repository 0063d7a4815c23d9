"""Element types of a model, and weights rounded to them, refusing what would not survive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from .errors import ExportError

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}


@dataclass(frozen=True)
class Precision:
    """The element types of a model.

    `dtype` is that of arithmetic, cache and logits, and of norms and biases. `weights` is that of
    the matrices that decoding reads: the products', the token embedding's and the head's. They are
    the same, or the weights are narrower than float32 and widened where they are used.
    """

    dtype: str
    weights: str

    def __post_init__(self) -> None:
        if self.dtype not in (self.weights, "float32"):
            raise ExportError(
                f"--weights {self.weights} with --dtype {self.dtype}: weights of another type than"
                " the model's are widened to float32; use --dtype float32, or leave --weights out"
            )

    @property
    def mixed(self) -> bool:
        """Whether weights are narrower than what is computed with them."""
        return self.weights != self.dtype


def convert(weight: np.ndarray, dtype: str, name: str) -> np.ndarray:
    """The weight rounded to nearest in `dtype`; ExportError where that is NaN or Inf."""
    finite = np.isfinite(weight)
    if not finite.all():
        bad = weight.size - np.count_nonzero(finite)
        raise ExportError(f"tensor {name!r} holds NaN or Inf ({bad} of {weight.size} values)")
    with np.errstate(over="ignore"):
        converted = weight.astype(DTYPES[dtype].numpy(), copy=False)
    if converted is not weight and not np.isfinite(converted).all():
        raise ExportError(
            f"tensor {name!r} does not fit {dtype}: its largest value is"
            f" {np.abs(weight).max():.4g}; use --dtype float32 or bfloat16"
        )
    return converted
