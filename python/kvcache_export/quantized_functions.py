"""The bodies of what the nodes with weights of 8 or 4 bits have in common.

They compute what the library's kernels do, the rounding of activations included, in float32:
sums of a block's products are integers below 2^24, so only the sum over blocks rounds differently.
A constant weight is unpacked once, when a program loads the model.
"""

from __future__ import annotations

import onnx_ir as ir
from onnxscript import OpBuilder

from .packing import PANEL_COLUMNS

INT8_ACCURACY = 4  # the attribute accuracy_level, after MatMulNBits; 1 is float32
LARGEST_INT8 = 127.0
SMALLEST_MAXIMUM = 1e-30  # kSmallestMaximum of src/kernels/cpu/quantize_tokens-inl.hpp


def attribute(op: OpBuilder, name: str) -> ir.Value:
    """An attribute of the function as an int64 scalar."""
    return op.Constant(value_int=ir.RefAttr("value_int", name, ir.AttributeType.INT))


def attribute_axis(op: OpBuilder, name: str) -> ir.Value:
    """An attribute of the function as a shape of one axis."""
    return op.Reshape(attribute(op, name), [1])


def dequantized(op: OpBuilder, values: ir.Value, scales: ir.Value) -> ir.Value:
    """uint8 [..., inputs filled up], float16 [..., blocks] to float32 [..., inputs filled up]."""
    zero_point = op.Pow(2.0, op.Sub(op.Cast(attribute(op, "bits"), to=ir.DataType.FLOAT), 1.0))
    centred = op.Sub(op.Cast(values, to=ir.DataType.FLOAT), zero_point)
    in_blocks = op.Concat(op.Shape(scales), attribute_axis(op, "block_size"), axis=0)
    blocks = op.Reshape(centred, in_blocks, allowzero=1)
    scaled = op.Mul(blocks, op.Unsqueeze(op.Cast(scales, to=ir.DataType.FLOAT), [-1]))
    return op.Reshape(scaled, op.Shape(values), allowzero=1)


def unpacked(
    op: OpBuilder, weight: ir.Value, scales: ir.Value, outputs: ir.Value
) -> tuple[ir.Value, ir.Value]:
    """Values uint8 [outputs, inputs filled up] and scales float16 [outputs, blocks]."""
    bits = attribute(op, "bits")
    shifts = op.Cast(op.Range(0, 8, bits), to=ir.DataType.UINT8)
    largest = op.Sub(op.Pow(2.0, op.Cast(bits, to=ir.DataType.FLOAT)), 1.0)
    mask = op.Cast(largest, to=ir.DataType.UINT8)
    # [panels, groups, 64, 4] to [panels, groups, 64, 4, values of a byte]
    apart = op.BitShift(op.Unsqueeze(weight, [4]), shifts, direction="RIGHT")
    apart = op.BitwiseAnd(apart, mask)
    rows = op.Concat(op.Mul(op.Shape(weight, start=0, end=1), [PANEL_COLUMNS]), [-1], axis=0)
    values = op.Reshape(op.Transpose(apart, perm=[0, 2, 1, 4, 3]), rows)
    scales = op.Reshape(op.Transpose(scales, perm=[0, 2, 1]), rows)
    return op.Slice(values, [0], outputs, [0]), op.Slice(scales, [0], outputs, [0])


def product(
    op: OpBuilder, x: ir.Value, weight: ir.Value, scales: ir.Value, outputs: ir.Value
) -> ir.Value:
    """x [batch, seq_len, inputs] · weight: [batch, seq_len, outputs]; `outputs` has one element."""
    values, row_scales = unpacked(op, weight, scales, outputs)
    rows = dequantized(op, values, row_scales)
    return op.MatMul(_in_blocks(op, x, scales), op.Transpose(rows, perm=[1, 0]))


def _in_blocks(op: OpBuilder, x: ir.Value, scales: ir.Value) -> ir.Value:
    """x with its inputs filled up to whole blocks and, at that accuracy, rounded to int8."""
    blocks, block_size = op.Shape(scales, start=1, end=2), attribute_axis(op, "block_size")
    inputs = op.Mul(blocks, block_size)
    missing = op.Sub(inputs, op.Shape(x, start=2, end=3))
    filled = op.Pad(x, op.Concat([0, 0, 0, 0, 0], missing, axis=0))
    batch_and_seq = op.Shape(x, start=0, end=2)
    parts = op.Reshape(filled, op.Concat(batch_and_seq, blocks, block_size, axis=0), allowzero=1)
    largest = op.Max(op.ReduceMax(op.Abs(parts), [-1]), SMALLEST_MAXIMUM)
    values = op.Round(op.Mul(parts, op.Div(LARGEST_INT8, largest)))
    rounded = op.Mul(values, op.Div(largest, LARGEST_INT8))
    is_int8 = op.Equal(attribute(op, "accuracy_level"), INT8_ACCURACY)
    chosen = op.Where(is_int8, rounded, parts)
    return op.Reshape(chosen, op.Concat(batch_and_seq, inputs, axis=0), allowzero=1)


def embedding(op: OpBuilder, ids: ir.Value, weight: ir.Value, scales: ir.Value) -> ir.Value:
    """Outputs `ids` [batch, seq_len] of the weight, as rows [batch, seq_len, inputs]."""
    values, row_scales = unpacked(op, weight, scales, attribute_axis(op, "outputs"))
    rows = dequantized(op, op.Gather(values, ids, axis=0), op.Gather(row_scales, ids, axis=0))
    return op.Slice(rows, [0], attribute_axis(op, "inputs"), [2])
