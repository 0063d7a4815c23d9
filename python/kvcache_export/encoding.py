"""What a matrix is in the file: one tensor, or packed integers and their scales."""

import math

import numpy as np
import onnx_ir as ir

from . import packing, quantization
from .packing import PANEL_COLUMNS
from .precision import DTYPES, MatrixType, convert
from .spec import Layout, Matrix, Shape

# What a quantised matrix's role is followed by; another's has the first only. Where a block has a
# minimum, it follows its scale.
WEIGHT, SCALES = ".weight", ".weight_scales"


def tensors(matrix: Matrix, type_: MatrixType) -> dict[str, tuple[ir.DataType, Shape]]:
    """Element type and shape of each tensor, by what follows the role in its name."""
    panels = _panels(matrix)
    if not type_.quantized:
        rows = matrix.layout is Layout.ROWS
        shape = matrix.shape if rows else (panels, matrix.inputs, PANEL_COLUMNS)
        return {WEIGHT: (DTYPES[type_.weights], shape)}
    blocks = math.ceil(matrix.inputs / type_.block_size)
    values_of_a_byte = quantization.BYTE_BITS // type_.bits
    groups = blocks * type_.block_size // (values_of_a_byte * quantization.GROUP_INPUTS)
    values = (panels, groups, PANEL_COLUMNS, quantization.GROUP_INPUTS)
    return {
        WEIGHT: (ir.DataType.UINT8, values),
        SCALES: (ir.DataType.FLOAT16, (panels, blocks * quantization.rows(type_), PANEL_COLUMNS)),
    }


def encoded(
    matrix: Matrix,
    type_: MatrixType,
    weight: np.ndarray,
    name: str,
    scales: np.ndarray | None = None,
    *,
    inputs: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """The same tensors' values, of the weight as a parameter; `name` is what an error calls it.

    `scales` are those of a weight that was quantised before, as `quantization.quantize` has them;
    `inputs` are what the matrix is multiplied with in a text, as they are there.
    """
    weight = convert(weight, "float32" if type_.quantized else type_.weights, name)
    if matrix.layout is Layout.ALTERNATING_PANELS:
        weight = packing.alternating(weight, matrix.parts)
        scales = None if scales is None else packing.alternating(scales, matrix.parts)
    rows = matrix.layout is Layout.ROWS
    if not type_.quantized:
        return {WEIGHT: weight if rows else packing.pack(weight)}
    by_inputs = weight.T if rows else weight
    values, scales = quantization.quantize(by_inputs, type_, name, scales, inputs=inputs)
    return {WEIGHT: quantization.pack(values, type_), SCALES: packing.pack(scales)}


def size(matrix: Matrix, type_: MatrixType) -> int:
    """The bytes that decoding reads of it: what fills up panels counts in those of integers."""
    if not type_.quantized:
        return matrix.inputs * matrix.outputs * DTYPES[type_.weights].numpy().itemsize
    found = tensors(matrix, type_).values()
    return sum(math.prod(shape) * dtype.numpy().itemsize for dtype, shape in found)


def _panels(matrix: Matrix) -> int:
    apart = matrix.layout is Layout.ALTERNATING_PANELS
    parts = matrix.parts if apart else (matrix.outputs,)
    return sum(math.ceil(part / PANEL_COLUMNS) for part in parts)
