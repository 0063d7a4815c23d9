"""The bodies of what the nodes with weights of 8 or 4 bits have in common.

They compute what the library's kernels do, the rounding of activations included, in float32:
sums of a block's products are integers below 2^24, so only the sum over blocks rounds differently.
A constant weight is unpacked once, when a program loads the model.
"""

import onnx_ir as ir
from onnxscript import OpBuilder

from ..packing import PANEL_COLUMNS
from . import Inputs, Parts, axis, number

LARGEST_INT8 = 127.0
SMALLEST_MAXIMUM = 1e-30  # kSmallestMaximum of src/kernels/cpu/quantize_tokens-inl.hpp


def dequantized(op: OpBuilder, values: ir.Value, scales: ir.Value, parts: Parts) -> ir.Value:
    """uint8 [..., inputs filled up], float16 [..., blocks] to float32 [..., inputs filled up].

    Where a block has a minimum, it follows its scale: [..., 2 * blocks].
    """
    wide, minimums = op.Cast(scales, to=ir.DataType.FLOAT), None
    if "minimums" in parts:
        in_pairs = op.Concat(op.Shape(wide, end=-1), [-1, 2], axis=0)
        wide, minimums = op.Split(
            op.Reshape(wide, in_pairs, allowzero=1), axis=-1, num_outputs=2, _outputs=2
        )
    else:
        wide = op.Unsqueeze(wide, [-1])
    in_blocks = op.Concat(op.Shape(wide, end=-1), axis(op, "block_size"), axis=0)
    blocks = op.Reshape(op.Cast(values, to=ir.DataType.FLOAT), in_blocks, allowzero=1)
    if minimums is None:
        zero_point = op.Pow(2.0, op.Sub(op.Cast(number(op, "bits"), to=ir.DataType.FLOAT), 1.0))
        scaled = op.Mul(op.Sub(blocks, zero_point), wide)
    else:
        scaled = op.Add(op.Mul(blocks, wide), minimums)
    return op.Reshape(scaled, op.Shape(values), allowzero=1)


def unpacked(op: OpBuilder, weight: ir.Value, scales: ir.Value) -> tuple[ir.Value, ir.Value]:
    """Values uint8 [whole panels, inputs filled up], scales float16 [whole panels, blocks]."""
    bits = number(op, "bits")
    shifts = op.Reshape(op.Cast(op.Range(0, 8, bits), to=ir.DataType.UINT8), [-1, 1, 1, 1, 1])
    largest = op.Sub(op.Pow(2.0, op.Cast(bits, to=ir.DataType.FLOAT)), 1.0)
    mask = op.Cast(largest, to=ir.DataType.UINT8)
    # [panels, groups, 64, 4] to [values of a byte, panels, groups, 64, 4]
    apart = op.BitShift(op.Unsqueeze(weight, [0]), shifts, direction="RIGHT")
    apart = op.BitwiseAnd(apart, mask)
    rows = op.Concat(op.Mul(op.Shape(weight, start=0, end=1), [PANEL_COLUMNS]), [-1], axis=0)
    values = op.Reshape(op.Transpose(apart, perm=[1, 3, 2, 0, 4]), rows)
    scales = op.Reshape(op.Transpose(scales, perm=[0, 2, 1]), rows)
    return values, scales


def apart(op: OpBuilder, rows: ir.Value, outputs: ir.Value) -> ir.Value:
    """Rows of two matrices whose panels alternate: those of the one, then those of the other."""
    inputs = op.Shape(rows, start=1, end=2)
    in_panels = op.Reshape(rows, op.Concat([-1, 2, PANEL_COLUMNS], inputs, axis=0))
    matrices = op.Reshape(
        op.Transpose(in_panels, perm=[1, 0, 2, 3]), op.Concat([2, -1], inputs, axis=0)
    )
    return op.Reshape(op.Slice(matrices, [0], outputs, [1]), op.Concat([-1], inputs, axis=0))


def product(
    op: OpBuilder,
    x: ir.Value,
    inputs: Inputs,
    parts: Parts,
    outputs: ir.Value,
    *,
    gated: bool = False,
) -> ir.Value:
    """x [batch, seq_len, inputs] · weight: [batch, seq_len, outputs], twice those where `gated`."""
    scales = inputs["weight_scales"]
    values, row_scales = (
        apart(op, rows, outputs) if gated else op.Slice(rows, [0], outputs, [0])
        for rows in unpacked(op, inputs["weight"], scales)
    )
    rows = dequantized(op, values, row_scales, parts)
    to_int8 = parts.get("round_input") == "int8"
    blocks = op.Div(op.Shape(rows, start=1, end=2), axis(op, "block_size"))
    return op.MatMul(_in_blocks(op, x, blocks, to_int8), op.Transpose(rows, perm=[1, 0]))


def _in_blocks(op: OpBuilder, x: ir.Value, blocks: ir.Value, to_int8: bool) -> ir.Value:
    """x with its inputs filled up to whole blocks and, where asked for, rounded to int8."""
    block_size = axis(op, "block_size")
    inputs = op.Mul(blocks, block_size)
    missing = op.Sub(inputs, op.Shape(x, start=2, end=3))
    filled = op.Pad(x, op.Concat([0, 0, 0, 0, 0], missing, axis=0))
    if not to_int8:
        return filled
    batch_and_seq = op.Shape(x, start=0, end=2)
    parts = op.Reshape(filled, op.Concat(batch_and_seq, blocks, block_size, axis=0), allowzero=1)
    largest = op.Max(op.ReduceMax(op.Abs(parts), [-1]), SMALLEST_MAXIMUM)
    values = op.Round(op.Mul(parts, op.Div(LARGEST_INT8, largest)))
    rounded = op.Mul(values, op.Div(largest, LARGEST_INT8))
    return op.Reshape(rounded, op.Concat(batch_and_seq, inputs, axis=0), allowzero=1)


def embedding(
    op: OpBuilder, ids: ir.Value, weight: ir.Value, scales: ir.Value, parts: Parts
) -> ir.Value:
    """Outputs `ids` [batch, seq_len] of the weight, as rows [batch, seq_len, inputs]."""
    values, row_scales = unpacked(op, weight, scales)
    chosen = (op.Gather(each, ids, axis=0) for each in (values, row_scales))
    rows = dequantized(op, *chosen, parts)
    return op.Slice(rows, [0], axis(op, "inputs"), [2])
