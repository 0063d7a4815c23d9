"""Element types of a model, and weights rounded to them, refusing what would not survive."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

import numpy as np
import onnx_ir as ir

from .errors import ExportError
from .json_file import shown

DTYPES = {
    "float32": ir.DataType.FLOAT,
    "float16": ir.DataType.FLOAT16,
    "bfloat16": ir.DataType.BFLOAT16,
}

CACHE_TYPES = {**DTYPES, "int8": ir.DataType.INT8}

# Integers around zero with a scale for each block, and those from a block's minimum on.
QUANTIZED_BITS = {"int8": 8, "int4": 4, "uint4": 4}
WITH_MINIMUMS = ("uint4",)
WEIGHTS = (*DTYPES, *QUANTIZED_BITS)
BLOCK_SIZES = (16, 32, 64, 128, 256)
DEFAULT_BLOCK_SIZES = {"int8": 64, "int4": 32, "uint4": 32}
# What tokens become and what the next is chosen by, where rounding costs the most for its bytes.
FINER_MATRICES = {"uint4": {"embedding.tokens": "int8", "head": "int8"}}
ACTIVATIONS = {  # that weights of a type may be multiplied with; the first is the default
    "int8": ("int8", "float32"),
    "int4": ("int8", "float32"),
    "uint4": ("int8", "float32"),
    "bfloat16": ("float32", "bfloat16"),
}


@dataclass(frozen=True)
class MatrixType:
    """How one matrix is stored, and what it is multiplied with."""

    weights: str  # of WEIGHTS
    block_size: int | None = None  # inputs that share a scale, of quantised weights
    round_input: str | None = None  # what its input is rounded to, "int8" or "bfloat16"

    @property
    def quantized(self) -> bool:
        """Whether it is integers with scales."""
        return self.weights in QUANTIZED_BITS

    @property
    def bits(self) -> int:
        return QUANTIZED_BITS[self.weights]

    @property
    def minimums(self) -> bool:
        """Whether a block has a minimum beside its scale, that 0 stands for."""
        return self.weights in WITH_MINIMUMS


@dataclass(frozen=True)
class Precision:
    """The element types of a model.

    `dtype` is that of arithmetic and logits, and of norms and biases. `weights` is that of the
    matrices that decoding reads: the products', the token embedding's and the head's. They are the
    same, or the weights are narrower than float32. `overrides` has other types of weights for the
    matrices whose names match its patterns; the first that matches counts. `cache_dtype` is that of
    keys and values (None: as `dtype`), which may be narrower than float32 too; those of int8 have a
    scale for each row, the key or value of one token and one head.

    Where weights are int8, int4 or uint4, `block_size` consecutive inputs share a scale (None: as
    is best for the type). `activations` is what narrower weights are multiplied with (None: as is
    best for the type): float32; int8 by blocks of a token, for weights of int8, int4 and uint4; or
    bfloat16, for weights of bfloat16.
    """

    dtype: str
    weights: str
    block_size: int | None = None
    overrides: Mapping[str, str] = field(default_factory=dict)
    activations: str | None = None
    cache_dtype: str | None = None

    def __post_init__(self) -> None:
        if self.cache_dtype is None:
            object.__setattr__(self, "cache_dtype", self.dtype)
        if self.dtype not in (self.cache_dtype, "float32"):
            raise ExportError(
                f"--cache-dtype {self.cache_dtype} with --dtype {self.dtype}: keys and values of"
                " another type than the model's are converted to float32; use --dtype float32, or"
                " leave --cache-dtype out"
            )
        if self.dtype not in (self.weights, "float32"):
            raise ExportError(
                f"--weights {self.weights} with --dtype {self.dtype}: weights of another type than"
                " the model's are converted to float32; use --dtype float32, or leave --weights out"
            )
        if self.block_size is not None and self.block_size not in BLOCK_SIZES:
            raise ExportError(
                f"--block-size is {self.block_size}, must be one of"
                f" {', '.join(map(str, BLOCK_SIZES))}"
            )
        self._check_activations()
        if self.block_size is None and self.quantized:
            object.__setattr__(self, "block_size", DEFAULT_BLOCK_SIZES[self.weights])
        for pattern, weights in self.overrides.items():
            if weights not in WEIGHTS:
                raise ExportError(
                    f"--weights-overrides: {shown(weights)} for {pattern!r}, must be one of"
                    f" {', '.join(WEIGHTS)}"
                )

    def _check_activations(self) -> None:
        if self.activations is None:
            return
        asked = f"--activations {self.activations} with --weights {self.weights}"
        known = ACTIVATIONS.get(self.weights, ()) if self.mixed else ()
        if not known:
            raise ExportError(
                f"{asked}, --dtype {self.dtype}: such weights are multiplied with what the model"
                f" computes; use --weights {', '.join(ACTIVATIONS)} with --dtype float32, or leave"
                " --activations out"
            )
        if self.activations not in known:
            raise ExportError(
                f"{asked}: they are multiplied with {' or '.join(known)}; use one of these, or"
                " leave --activations out"
            )
        quantized = [name for name in self.overrides.values() if name in QUANTIZED_BITS]
        if self.activations == "bfloat16" and quantized:
            raise ExportError(
                f"{asked} and {quantized[0]} for some in --weights-overrides: only bfloat16 weights"
                " are multiplied with bfloat16; override with float32, float16 or bfloat16, or"
                " leave --activations out"
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
    def rounded_activations(self) -> str | None:
        """The type, int8 or bfloat16, that activations are rounded to for some matrix."""
        types = {self.weights, *self.overrides.values()}
        found = {self._activations_for(weights) for weights in types} - {self.dtype}
        return found.pop() if found else None  # of the two only one, as checked

    def _activations_for(self, weights: str) -> str:
        """What a matrix of this type is multiplied with."""
        if weights == self.dtype or weights not in ACTIVATIONS:
            return self.dtype
        known = ACTIVATIONS[weights]
        return self.activations if self.activations in known else known[0]

    def of_matrices(self, names: Mapping[str, Iterable[str]]) -> dict[str, MatrixType]:
        """The type of each matrix, given by its role and other names that patterns may match.

        Raises ExportError for a pattern that matches none.
        """
        for pattern in self.overrides:
            # Not printable, that is also half of a surrogate pair, which config.json cannot repeat.
            if not pattern.isprintable() or not any(
                _matches(pattern, role, others) for role, others in names.items()
            ):
                roles = list(names)
                raise ExportError(
                    f"--weights-overrides: no matrix of the model is called {pattern!r}; there are"
                    f" {', '.join(roles[:5])}, … {roles[-1]}"
                )
        return {role: self.of_matrix(role, others) for role, others in names.items()}

    def of_matrix(self, role: str, others: Iterable[str]) -> MatrixType:
        """That of the matrix with this role and other names."""
        return self._matrix_type(self._override(role, others) or self.weights)

    def with_finer_matrices(self, names: Mapping[str, Iterable[str]]) -> "Precision":
        """With overrides for FINER_MATRICES that are among `names` and that no pattern matches."""
        finer = {
            role: weights
            for role, weights in FINER_MATRICES.get(self.weights, {}).items()
            if role in names and self._override(role, names[role]) is None
        }
        return replace(self, overrides={**self.overrides, **finer})

    def _override(self, role: str, others: Iterable[str]) -> str | None:
        """The type that the first matching pattern has."""
        matching = (
            weights
            for pattern, weights in self.overrides.items()
            if _matches(pattern, role, others)
        )
        return next(matching, None)

    def _matrix_type(self, weights: str) -> MatrixType:
        activations = self._activations_for(weights)
        block_size = None
        if weights in QUANTIZED_BITS:
            block_size = self.block_size or DEFAULT_BLOCK_SIZES[weights]
        return MatrixType(weights, block_size, None if activations == self.dtype else activations)


def _matches(pattern: str, role: str, others: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for name in (role, *others))


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
