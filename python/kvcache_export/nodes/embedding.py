"""`Embedding`: scale * token_weight[input_ids], + position_weight[position_ids] where given.

The result has the model's type, which a narrower token_weight is converted to: that of
position_weight, or what the variant says.
"""

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, number, quantized

AS_FLOAT32 = "as_float32"


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    ids, weight = inputs["input_ids"], inputs["token_weight"]
    if "token_scales" in inputs:
        x = quantized.embedding(op, ids, weight, inputs["token_scales"], parts)
    else:
        x = op.Gather(weight, ids, axis=0)
    if "position_weight" in inputs:
        positions = op.Gather(inputs["position_weight"], inputs["position_ids"], axis=0)
        x = op.CastLike(x, positions)
    elif AS_FLOAT32 in parts:
        x = op.Cast(x, to=ir.DataType.FLOAT)
    if "scale" in parts:
        x = op.Mul(x, op.CastLike(number(op, "scale", float), x))
    return [op.Add(x, positions) if "position_weight" in inputs else x]


EMBEDDING = NodeType(
    "Embedding",
    ("input_ids", "position_ids", "token_weight", "token_scales", "position_weight"),
    ("x",),
    _body,
    frozenset({"input_ids", "position_ids", "token_weight"})
    | {"bits", "block_size", "inputs", "outputs"},
)
