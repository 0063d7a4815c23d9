"""Quantised weights, and what is multiplied with them, as docs/MODEL_FILE.md describes them."""

from __future__ import annotations

import numpy as np
from plain_ort import BFLOAT16

from kvcache_export.encoding import encoded
from kvcache_export.precision import MatrixType
from kvcache_export.spec import Layout, Matrix

INPUTS, OUTPUTS, BLOCK_SIZE = 41, 70, 16

TYPES = [
    MatrixType("float32"),
    MatrixType("float16"),
    MatrixType("bfloat16", round_input="bfloat16"),
    *(
        MatrixType(f"int{bits}", BLOCK_SIZE, round_input)
        for bits in (8, 4)
        for round_input in (None, "int8")
    ),
]


def packed_value(values: np.ndarray, bits: int, i: int, o: int) -> int:
    """Input i of output o less the zero point, as docs/MODEL_FILE.md says where it lies."""
    group = i // 4
    if bits == 8:
        return int(values[o // 64, group, o % 64, i % 4]) - 128
    byte = int(values[o // 64, group // 2, o % 64, i % 4])
    return (byte >> 4 if group % 2 else byte & 15) - 8


def rounded_to_int8(x: np.ndarray, block_size: int) -> np.ndarray:
    """Activations [..., inputs] as docs/MODEL_FILE.md rounds them."""
    result = np.empty_like(x)
    for first in range(0, x.shape[-1], block_size):
        part = x[..., first : first + block_size]
        largest = np.maximum(np.abs(part).max(axis=-1, keepdims=True), np.float32(1e-30))
        values = np.rint(part * (np.float32(127) / largest))
        result[..., first : first + block_size] = values * (largest / np.float32(127))
    return result


def weight_of(matrix: Matrix, type_: MatrixType) -> tuple[dict, dict, np.ndarray]:
    """What a node with a random weight is fed, its attributes, and what the weight has become."""
    weight = np.random.default_rng(3).standard_normal(matrix.shape, np.float32)
    if not type_.quantized:
        weight = weight.astype(BFLOAT16).astype(np.float32)  # the same in all three types
    feeds = {name[1:]: value for name, value in encoded(matrix, type_, weight, "w").items()}
    if not type_.quantized:
        return feeds, {}, weight.astype(np.float64)
    # What the rounding of the weight loses is not in question here.
    bits, by_inputs = type_.bits, Matrix(matrix.inputs, (matrix.outputs,), Layout.PANELS)
    columns = weight.T if matrix.layout is Layout.ROWS else weight
    plain = encoded(by_inputs, type_, columns, "w")
    return feeds, {"bits": bits, "block_size": BLOCK_SIZE}, dequantized(plain, matrix, bits)


def dequantized(found: dict[str, np.ndarray], matrix: Matrix, bits: int) -> np.ndarray:
    values, scales = found.values()
    wide = [
        float(scales[o // 64, i // BLOCK_SIZE, o % 64]) * packed_value(values, bits, i, o)
        for i, o in np.ndindex(matrix.inputs, matrix.outputs)
    ]
    wide = np.reshape(wide, (matrix.inputs, matrix.outputs))
    return wide.T if matrix.layout is Layout.ROWS else wide


def rounded(x: np.ndarray, to: str | None) -> np.ndarray:
    if to == "int8":
        return rounded_to_int8(x, BLOCK_SIZE).astype(np.float64)
    return (x.astype(BFLOAT16) if to else x).astype(np.float64)
