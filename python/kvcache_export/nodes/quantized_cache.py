"""Keys and values of int8, in the bodies of standard operators.

A key/value vector, of one token and one head, is int8 [head_dim + 2]: its values, then their
scale, the two bytes of a bfloat16, the lower one first. The operators can't look at a number's
bits, so bytes are made of numbers and numbers of bytes by arithmetic that is exact. They compute
what src/kernels/cpu/quantized_vectors-inl.hpp does, to the bit.
"""

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

SCALE_BYTES = 2
LARGEST = 127.0  # what a vector's largest magnitude becomes
SMALLEST_MAXIMUM = 1e-30  # kSmallestVectorMaximum of src/kernels/cpu/quantized_vectors-inl.hpp

# A bfloat16: sign (0 here), 8 bits of exponent, 7 of mantissa.
MANTISSAS = 128
NAN_BITS = 0x7FC1


def encoded(op: OpBuilder, vectors: ir.Value) -> ir.Value:
    """float32 [..., head_dim] to int8 [..., head_dim + 2]."""
    largest = op.Max(op.ReduceMax(op.Abs(vectors), [-1]), SMALLEST_MAXIMUM)
    not_finite = op.ReduceSum(op.Mul(vectors, 0.0), [-1])  # NaN where one is NaN or Inf, else 0
    wide = op.Add(op.Div(largest, LARGEST), not_finite)
    powers = _powers(op)
    at_most = op.Cast(op.GreaterOrEqual(wide, powers), to=ir.DataType.INT32)
    exponent = op.Sub(op.ReduceSum(at_most, [-1]), 1)
    unit = op.Div(op.Gather(powers, op.Squeeze(exponent, [-1])), float(MANTISSAS))
    unit = op.Unsqueeze(unit, [-1])
    mantissa = op.Round(op.Div(wide, unit))  # 128 to 256: eight bits, to nearest even
    scale = op.Mul(mantissa, unit)

    # A mantissa of 256 is carried into the exponent by the sum.
    bits = op.Add(op.Mul(exponent, MANTISSAS), op.Cast(mantissa, to=ir.DataType.INT32))
    bits = op.Where(op.IsNaN(wide), NAN_BITS, op.Sub(bits, MANTISSAS))
    values = op.Round(op.Mul(vectors, op.Div(1.0, scale)))
    parts = (values, bits, op.Div(bits, 256))  # Cast keeps the lower byte of an integer
    return op.Concat(*(op.Cast(part, to=ir.DataType.INT8) for part in parts), axis=-1)


def decoded(op: OpBuilder, vectors: ir.Value) -> ir.Value:
    """int8 [..., head_dim + 2] to float32 [..., head_dim], exactly: 7 bits times 8."""
    values, low, high = (
        op.Slice(vectors, [first], [end], [-1]) for first, end in ((0, -2), (-2, -1), (-1, 2**31))
    )
    low = op.Cast(op.Cast(low, to=ir.DataType.UINT8), to=ir.DataType.INT32)
    bits = op.Add(op.Mul(op.Cast(high, to=ir.DataType.INT32), 256), low)
    exponent = op.Div(bits, MANTISSAS)
    mantissa = op.Add(op.Sub(bits, op.Mul(exponent, MANTISSAS)), MANTISSAS)
    power = op.Unsqueeze(op.Gather(_powers(op), op.Squeeze(exponent, [-1])), [-1])
    scale = op.Mul(op.Div(op.Cast(mantissa, to=ir.DataType.FLOAT), float(MANTISSAS)), power)
    return op.Mul(op.Cast(values, to=ir.DataType.FLOAT), scale)


def _powers(op: OpBuilder) -> ir.Value:
    """float32 [256]: 2 to the exponent that a bfloat16's bits say; NaN for that of NaN and Inf.

    The scales' exponents are far from the ends, where a bfloat16 is subnormal.
    """
    powers = np.exp2(np.arange(256, dtype=np.float64) - 127)
    powers[0], powers[255] = 0, np.nan
    return op.Constant(value=ir.tensor(powers.astype(np.float32)))
