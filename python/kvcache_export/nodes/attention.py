"""`CachedAttention`, growing mode: the only one of the body.

qkv [batch, seq_len, (num_heads + 2 num_kv_heads) * head_dim] and past_key, past_value
[batch, num_kv_heads, past_len, head_dim] give attention [batch, seq_len, num_heads * head_dim] and
present_key, present_value [batch, num_kv_heads, past_len + seq_len, head_dim]. Keys and values are
of the cache's type; all arithmetic is of qkv's. Those of int8 have their scale behind them:
head_dim + 2.
"""

import math

import onnx_ir as ir
from onnxscript import OpBuilder

from . import Inputs, NodeType, Outputs, Parts, axis, number, quantized_cache, soft_capped
from .norm import rms_normed
from .rotary import rotated

# ONNX Runtime's error message names the failing node, so the name says what is wrong.
GUARD_NAME = "in_place_inputs_need_the_kvcache_library"

IN_PLACE = ("block_table", "past_lengths", "append_positions", "row_offsets", "tree_parents")

# Variants: what the body cannot see of its inputs' types, or of its attributes.
INT8_CACHE, GROUPED, INTERLEAVED = "int8_cache", "grouped", "interleaved"


def _body(op: OpBuilder, inputs: Inputs, parts: Parts) -> Outputs:
    qkv, past_key, past_value = (inputs[name] for name in ("qkv", "past_key", "past_value"))
    past_len = _guarded(
        op, op.Shape(past_key, start=2, end=3), *(inputs[name] for name in IN_PLACE)
    )
    total_len = op.Add(past_len, op.Shape(qkv, start=1, end=2))
    head_dim = op.Shape(past_key, start=3, end=4)
    if INT8_CACHE in parts:
        head_dim = op.Sub(head_dim, [quantized_cache.SCALE_BYTES])
    query, key, value = _heads(op, qkv, head_dim)
    if "q_norm_weight" in inputs:
        query = rms_normed(op, query, inputs["q_norm_weight"])
        key = rms_normed(op, key, inputs["k_norm_weight"])
    if "cos" in inputs:
        tables = [
            op.Gather(inputs[name], inputs["position_ids"], axis=0) for name in ("cos", "sin")
        ]
        query, key = (
            rotated(op, x, *tables, interleaved=INTERLEAVED in parts) for x in (query, key)
        )
    # Rounded once, and attended to as they are kept: a token's logits do not depend on which of the
    # keys and values were computed by the same run.
    if INT8_CACHE in parts:
        key, value = quantized_cache.encoded(op, key), quantized_cache.encoded(op, value)
    present_key = op.Concat(past_key, op.CastLike(key, past_key), axis=2)
    present_value = op.Concat(past_value, op.CastLike(value, past_value), axis=2)
    keys, values = (
        quantized_cache.decoded(op, present) if INT8_CACHE in parts else op.CastLike(present, qkv)
        for present in (present_key, present_value)
    )
    if GROUPED in parts:
        keys, values = _repeated(op, keys), _repeated(op, values)

    # Scaling q instead of the scores is cheaper, and keeps q·k within float16's range.
    query = op.Mul(query, op.CastLike(number(op, "scale", float), qkv))
    scores = op.MatMul(query, op.Transpose(keys, perm=[0, 1, 3, 2]))
    if "soft_cap" in parts:
        scores = soft_capped(op, scores)
    hidden = op.CastLike(op.Constant(value_float=-math.inf), qkv)
    visible = _visible(op, past_len, total_len, windowed="window" in parts)
    scores = op.Where(visible, scores, hidden)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), values)

    width = op.Mul(axis(op, "num_heads"), head_dim)
    joined = op.Concat(op.Shape(qkv, start=0, end=2), width, axis=0)
    attention = op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), joined, allowzero=1)
    return [attention, present_key, present_value]


def _heads(op: OpBuilder, qkv: ir.Value, head_dim: ir.Value) -> list[ir.Value]:
    """Queries, keys and values [batch, heads, seq_len, head_dim]."""
    heads, kv_heads = axis(op, "num_heads"), axis(op, "num_kv_heads")
    every = op.Add(heads, op.Add(kv_heads, kv_heads))
    apart = op.Concat(op.Shape(qkv, start=0, end=2), every, head_dim, axis=0)
    sizes = op.Concat(heads, kv_heads, kv_heads, axis=0)
    split = op.Split(op.Reshape(qkv, apart, allowzero=1), sizes, axis=2, _outputs=3)
    return [op.Transpose(part, perm=[0, 2, 1, 3]) for part in split]


def _repeated(op: OpBuilder, present: ir.Value) -> ir.Value:
    """Each key or value for every query that shares it: [batch, num_heads, length, head_dim]."""
    batch, length_and_dim = op.Shape(present, start=0, end=1), op.Shape(present, start=2)
    heads, kv_heads = axis(op, "num_heads"), op.Shape(present, start=1, end=2)
    shares = op.Concat(batch, kv_heads, op.Div(heads, kv_heads), length_and_dim, axis=0)
    each = op.Expand(op.Unsqueeze(present, [2]), shares)
    return op.Reshape(each, op.Concat(batch, heads, length_and_dim, axis=0), allowzero=1)


def _guarded(
    op: OpBuilder, past_len: ir.Value, block_table: ir.Value, *others: ir.Value
) -> ir.Value:
    """`past_len` [1] as it is, but an error at run time where an in-place input is not empty.

    The body could not honour those inputs, and ignoring them would give wrong logits. Only empty
    tensors can be reshaped to [0]; the result is appended to a value that the outputs depend on, so
    that no optimizer may drop the check.
    """
    table = op.Reshape(block_table, [0], allowzero=1, _name=GUARD_NAME)
    rows = op.Concat(table, *others, axis=0)
    nothing = op.Reshape(rows, [0], allowzero=1, _name=GUARD_NAME + "_too")
    return op.Concat(past_len, op.Cast(nothing, to=ir.DataType.INT64), axis=0)


def _visible(op: OpBuilder, past_len: ir.Value, total_len: ir.Value, *, windowed: bool) -> ir.Value:
    """bool [seq_len, total_len]: a row's token j sees the past and tokens 0…j of its row.

    Of a window, the last `window` of them.
    """
    first, end = op.Squeeze(past_len), op.Squeeze(total_len)
    queries, keys = op.Range(first, end, 1), op.Range(0, end, 1)
    queries = op.Unsqueeze(queries, [1])
    visible = op.LessOrEqual(keys, queries)
    if windowed:
        visible = op.And(visible, op.Greater(keys, op.Sub(queries, number(op, "window"))))
    return visible


CACHED_ATTENTION = NodeType(
    "CachedAttention",
    (
        *("qkv", "past_key", "past_value"),
        *IN_PLACE,
        *("position_ids", "cos", "sin", "q_norm_weight", "k_norm_weight"),
    ),
    ("attention", "present_key", "present_value"),
    _body,
    frozenset({"qkv", "past_key", "past_value", *IN_PLACE})
    | {"num_heads", "num_kv_heads", "scale", "epsilon", "rotary_interleaved"},
)
