"""Element types of a model, and weights rounded to them, refusing what would not survive."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from .errors import ExportError

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}

CACHE_TYPES = {**DTYPES, "int8": ir.DataType.INT8}

QUANTIZED_BITS = {"int8": 8, "int4": 4}
WEIGHTS = (*DTYPES, *QUANTIZED_BITS)
BLOCK_SIZES = (16, 32, 64, 128, 256)
DEFAULT_BLOCK_SIZES = {"int8": 64, "int4": 32}
ACCURACY_LEVELS = {"float32": 1, "int8": 4}  # after MatMulNBits' attribute accuracy_level

PANEL_COLUMNS = 64  # outputs of a quantised weight are filled up to whole panels
SCALE_BYTES = 2  # float16


@dataclass(frozen=True)
class Precision:
    """The element types of a model.

    `dtype` is that of arithmetic and logits, and of norms and biases. `weights` is that of the
    matrices that decoding reads: the products', the token embedding's and the head's. They are the
    same, or the weights are narrower than float32. `overrides` has other types of weights for the
    matrices whose names match its patterns; the first that matches counts. `cache_dtype` is that of
    keys and values (None: as `dtype`), which may be narrower than float32 too; those of int8 have a
    scale for each row, the key or value of one token and one head.

    Where weights are int8 or int4, `block_size` consecutive inputs share a scale (None: as is best
    for the type), and `activations` is what they are multiplied with: float32, or int8 by blocks of
    a token.
    """

    dtype: str
    weights: str
    block_size: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    activations: str = "int8"
    cache_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.cache_dtype is None:
            object.__setattr__(self, "cache_dtype", self.dtype)
        if self.dtype not in (self.cache_dtype, "float32"):
            raise ExportError(
                f"--cache-dtype {self.cache_dtype} with --dtype {self.dtype}: keys and values of"
                " another type than the model's are widened to float32; use --dtype float32, or"
                " leave --cache-dtype out"
            )
        if self.dtype not in (self.weights, "float32"):
            raise ExportError(
                f"--weights {self.weights} with --dtype {self.dtype}: weights of another type than"
                " the model's are widened to float32; use --dtype float32, or leave --weights out"
            )
        if self.block_size is not None and self.block_size not in BLOCK_SIZES:
            raise ExportError(
                f"--block-size is {self.block_size}, must be one of"
                f" {', '.join(map(str, BLOCK_SIZES))}"
            )
        if self.block_size is None and self.quantized:
            object.__setattr__(self, "block_size", DEFAULT_BLOCK_SIZES[self.weights])
        for pattern, weights in self.overrides.items():
            if weights not in WEIGHTS:
                raise ExportError(
                    f"--weights-overrides: {weights!r} for {pattern!r}, must be one of"
                    f" {', '.join(WEIGHTS)}"
                )

    @property
    def mixed(self) -> bool:
        """Whether weights are narrower than what is computed with them."""
        return self.weights != self.dtype

    @property
    def narrow_cache(self) -> bool:
        """Whether keys and values are narrower than what is computed with them."""
        return self.cache_dtype != self.dtype

    @property
    def quantized_cache(self) -> bool:
        """Whether keys and values are integers with scales."""
        return self.cache_dtype == "int8"

    @property
    def quantized(self) -> bool:
        """Whether weights are integers with scales."""
        return self.weights in QUANTIZED_BITS

    @property
    def bits(self) -> int:
        return QUANTIZED_BITS[self.weights]

    @property
    def rounds_activations(self) -> bool:
        """Whether some matrix is multiplied with activations rounded to int8."""
        types = {self.weights, *self.overrides.values()}
        return self.activations == "int8" and not types.isdisjoint(QUANTIZED_BITS)

    @property
    def accuracy_level(self) -> int:
        return ACCURACY_LEVELS[self.activations]

    def of(self, matrix: str) -> Precision:
        """The precision of one matrix, given by its name without `.weight`."""
        for pattern, weights in self.overrides.items():
            if fnmatchcase(matrix, pattern):
                return replace(self, weights=weights, overrides={})
        return self

    def check_overrides(self, matrices: Iterable[str]) -> None:
        """Raises ExportError for a pattern that matches none of the model's matrices."""
        names = list(matrices)
        for pattern in self.overrides:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ExportError(
                    f"--weights-overrides: no matrix of the model is called {pattern!r}; there are"
                    f" {', '.join(names[:5])}, … {names[-1]}"
                )

    def matrix_bytes(self, inputs: int, outputs: int) -> int:
        """What a matrix takes, its scales included."""
        if not self.quantized:
            return inputs * outputs * DTYPES[self.weights].numpy().itemsize
        blocks = math.ceil(inputs / self.block_size)
        columns = math.ceil(outputs / PANEL_COLUMNS) * PANEL_COLUMNS
        return blocks * columns * (self.block_size * self.bits // 8 + SCALE_BYTES)


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
