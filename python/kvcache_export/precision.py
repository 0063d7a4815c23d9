"""Weights from the checkpoint's element type to the model's, refusing what would not survive."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from .errors import ExportError

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}


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
