"""`HiddenStates`: the final norm of the positions asked for, as an output beside the logits."""

from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, norm
from .head import SELECT_TOKENS


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    x = op.call(SELECT_TOKENS, inputs["x"], inputs["positions"])
    return [norm.normalized(op, parts["norm"], x, inputs)]


HIDDEN_STATES = NodeType(
    "HiddenStates",
    ("x", "norm_weight", "norm_bias", "positions"),
    ("hidden_states",),
    _body,
    frozenset({"x", "norm_weight", "epsilon", "positions"}),
    (SELECT_TOKENS,),
)
