"""`Linear`: a product, with the norm before it and all that follows it up to the residual.

In this order: norm of x, rounding of x, product, + bias, activation, gate, norm of the result,
+ residual.
"""

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, axis, norm, quantized
from .activation import BODIES

ALWAYS = frozenset({"x", "weight", "inputs", "outputs", "bits", "block_size", "epsilon"})


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    x = inputs["x"]
    if "norm" in parts:
        x = norm.normalized(op, parts["norm"], x, inputs)
    y = _product(op, x, inputs, parts)
    if "bias" in inputs:
        y = op.Add(y, inputs["bias"])
    activation = BODIES[parts.get("activation", "identity")]
    if "gated" in parts:
        gate, up = op.Split(y, axis=-1, num_outputs=2, _outputs=2)
        y = op.Mul(activation(op, gate), up)
    elif "activation" in parts:
        y = activation(op, y)
    if "post_norm_weight" in inputs:
        y = norm.rms_normed(op, y, inputs["post_norm_weight"])
    if "residual" in inputs:
        y = op.Add(inputs["residual"], y)
    return [y]


LINEAR = NodeType(
    "Linear",
    (
        *("x", "weight", "weight_scales", "bias", "norm_weight", "norm_bias", "residual"),
        "post_norm_weight",
    ),
    ("y",),
    _body,
    ALWAYS,
)


def rounded(op: OpBuilder, x: ir.Value, parts: Parts) -> ir.Value:
    """What a weight that is not quantised is multiplied with."""
    if parts.get("round_input") == "bfloat16":
        return op.CastLike(op.Cast(x, to=ir.DataType.BFLOAT16), x)
    return x


def _product(op: OpBuilder, x: ir.Value, inputs: Inputs, parts: Parts) -> ir.Value:
    """x · unpacked weight; ONNX Runtime unpacks a constant weight once, at load."""
    gated, outputs = "gated" in parts, axis(op, "outputs")
    if "weight_scales" in inputs:
        return quantized.product(op, x, inputs, parts, outputs, gated=gated)
    x = rounded(op, x, parts)
    weight = op.CastLike(inputs["weight"], x)
    of_inputs = op.Concat(op.Shape(weight, start=1, end=2), [-1], axis=0)
    side_by_side = op.Reshape(op.Transpose(weight, perm=[1, 0, 2]), of_inputs)
    if gated:
        rows = quantized.apart(op, op.Transpose(side_by_side, perm=[1, 0]), outputs)
        return op.MatMul(x, op.Transpose(rows, perm=[1, 0]))
    return op.MatMul(x, op.Slice(side_by_side, [0], outputs, [1]))
