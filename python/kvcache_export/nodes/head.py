"""`Head`: the logits of the positions asked for, of the final norm of x.

`SelectTokens` within it is a node of its own: the library has a kernel of it where it has none of
Head, so that a prefill of many tokens that needs the last logits computes one row of them.
"""

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, axis, norm, quantized, soft_capped
from .linear import ALWAYS, rounded


def _select_tokens(op: OpBuilder, inputs: Inputs, _: Parts) -> Outputs:
    """hidden [batch, seq_len, n] at positions [num_logits], all of them if that is empty."""
    hidden, positions = inputs["hidden"], inputs["positions"]
    # Every position if none is given, else no position; followed by those given. This needs no If.
    none_given = op.Cast(op.Equal(op.Size(positions), 0), to=ir.DataType.INT64)
    seq_len = op.Squeeze(op.Shape(hidden, start=1, end=2))
    everything = op.Range(0, op.Mul(seq_len, none_given), 1)
    return [op.Gather(hidden, op.Concat(everything, positions, axis=0), axis=1)]


SELECT_TOKENS = NodeType(
    "SelectTokens",
    ("hidden", "positions"),
    ("selected",),
    _select_tokens,
    frozenset({"hidden", "positions"}),
).function(["hidden", "positions"], {})


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    x = op.call(SELECT_TOKENS, inputs["x"], inputs["positions"])
    x = norm.normalized(op, parts["norm"], x, inputs)
    if "weight_scales" in inputs:
        logits = quantized.product(op, x, inputs, parts, axis(op, "outputs"))
    else:
        logits = _by_rows(op, rounded(op, x, parts), inputs["weight"])
    return [soft_capped(op, logits) if "soft_cap" in parts else logits]


def _by_rows(op: OpBuilder, x: ir.Value, weight: ir.Value) -> ir.Value:
    """x [batch, num_logits, inputs] · weight [outputs, inputs], the embedding's layout.

    Only Gemm multiplies by a transposed matrix without a copy of it, and it wants two axes.
    """
    batch_and_count = op.Shape(x, start=0, end=2)
    rows = op.ReduceProd(batch_and_count, keepdims=1)
    flat = op.Reshape(x, op.Concat(rows, op.Shape(weight, start=1, end=2), axis=0), allowzero=1)
    logits = op.Gemm(flat, op.CastLike(weight, x), transB=1)
    shape = op.Concat(batch_and_count, op.Shape(weight, start=0, end=1), axis=0)
    return op.Reshape(logits, shape, allowzero=1)


HEAD = NodeType(
    "Head",
    ("x", "weight", "weight_scales", "bias", "norm_weight", "norm_bias", "positions"),
    ("logits",),
    _body,
    ALWAYS | {"positions"},
    (SELECT_TOKENS,),
)
