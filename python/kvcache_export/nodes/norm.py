"""Norms of the last axis, which nodes begin with; their attribute `epsilon` is the norm's."""

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, number, reference


def normalized(op: OpBuilder, kind: str, x: ir.Value, inputs: Inputs) -> ir.Value:
    """x normed with the node's `norm_weight` and, where there is one, `norm_bias`."""
    weight, bias = inputs["norm_weight"], inputs.get("norm_bias")
    if kind == "rms_norm":
        return rms_normed(op, x, weight)
    # Mean and variance are computed in float32 whatever the type.
    parameters = (weight,) if bias is None else (weight, bias)
    epsilon = reference("epsilon", float)
    return op.LayerNormalization(x, *parameters, axis=-1, epsilon=epsilon)


def rms_normed(op: OpBuilder, x: ir.Value, weight: ir.Value) -> ir.Value:
    """x / sqrt(mean of its squares + epsilon), computed in float32, times the weight."""
    wide = op.Cast(x, to=ir.DataType.FLOAT)
    mean = op.ReduceMean(op.Mul(wide, wide), [-1])
    divisor = op.Sqrt(op.Add(mean, number(op, "epsilon", float)))
    return op.Mul(op.CastLike(op.Div(wide, divisor), x), weight)
