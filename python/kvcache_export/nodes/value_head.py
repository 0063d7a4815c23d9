"""`ValueHead`: a number for each position asked for, of the final norm, as an output of its own."""

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, norm, reference
from .activation import BODIES
from .head import SELECT_TOKENS

MOST_LAYERS = 3

LAYER_INPUTS = tuple(
    f"{part}_{layer}"
    for layer in range(MOST_LAYERS)
    for part in ("weight", "bias", "layer_norm_weight", "layer_norm_bias")
)


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    x = op.call(SELECT_TOKENS, inputs["x"], inputs["positions"])
    x = norm.normalized(op, parts["norm"], x, inputs)
    for layer in range(MOST_LAYERS):
        if f"weight_{layer}" in inputs:
            x = _product(op, x, inputs[f"weight_{layer}"], inputs[f"bias_{layer}"])
            x = _normed(op, x, layer, inputs)
            x = BODIES[parts["activation"]](op, x)
    x = _product(op, x, inputs["output_weight"], inputs["output_bias"])
    return [BODIES[parts["output_activation"]](op, x)]


def _product(op: OpBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Value:
    return op.Add(op.MatMul(x, op.Transpose(weight, perm=[1, 0])), bias)


def _normed(op: OpBuilder, x: ir.Value, layer: int, inputs: Inputs) -> ir.Value:
    weight = inputs.get(f"layer_norm_weight_{layer}")
    if weight is None:
        return x
    epsilon = reference("layer_epsilon", float, within="epsilon")
    return op.LayerNormalization(
        x, weight, inputs[f"layer_norm_bias_{layer}"], axis=-1, epsilon=epsilon
    )


VALUE_HEAD = NodeType(
    "ValueHead",
    (
        *("x", "norm_weight", "norm_bias", "positions", "output_weight", "output_bias"),
        *LAYER_INPUTS,
    ),
    ("value",),
    _body,
    frozenset({"x", "norm_weight", "epsilon", "positions", "output_weight", "output_bias"})
    | {*LAYER_INPUTS, "layer_epsilon"},
    (SELECT_TOKENS,),
)
