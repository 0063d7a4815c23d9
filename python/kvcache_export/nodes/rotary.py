"""Rotary position embedding: the tables of its angles, and queries and keys turned by them."""

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..spec import Rotary


def tables(rotary: Rotary, positions: int) -> dict[str, np.ndarray]:
    """`cos` and `sin` of every angle, float32 [positions, dims / 2]."""
    turns = rotary.base ** (-np.arange(0, rotary.dims, 2) / rotary.dims)
    angles = np.arange(positions)[:, None] * turns
    return {"cos": np.cos(angles).astype(np.float32), "sin": np.sin(angles).astype(np.float32)}


def rotated(
    op: OpBuilder, x: ir.Value, cos: ir.Value, sin: ir.Value, *, interleaved: bool
) -> ir.Value:
    """x [batch, heads, seq_len, head_dim], its pairs turned by angles [batch, seq_len, dims / 2].

    What of head_dim is beyond dims stays as it is.
    """
    half = op.Shape(cos, start=2, end=3)
    dims = op.Add(half, half)
    cos, sin = (op.CastLike(op.Unsqueeze(table, [1]), x) for table in (cos, sin))
    if interleaved:
        one, other = (op.Slice(x, [first], dims, [3], [2]) for first in (0, 1))
    else:
        one, other = op.Slice(x, [0], half, [3]), op.Slice(x, half, dims, [3])
    turned = (
        op.Sub(op.Mul(one, cos), op.Mul(other, sin)),
        op.Add(op.Mul(other, cos), op.Mul(one, sin)),
    )
    if interleaved:
        pairs = op.Concat(*(op.Unsqueeze(part, [4]) for part in turned), axis=4)
        shape = op.Concat(op.Shape(x, start=0, end=3), dims, axis=0)
        turned = (op.Reshape(pairs, shape, allowzero=1),)
    return op.Concat(*turned, op.Slice(x, dims, [2**31], [3]), axis=3)
