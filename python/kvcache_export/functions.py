"""The nodes of domain `kvcache`, written as ONNX model-local functions.

Plain ONNX Runtime inlines these bodies. The kvcache library registers kernels under the same domain
and names, and ONNX Runtime then ignores the bodies. docs/MODEL_FILE.md says what both must compute.

There are two levels. The graph is made of the few nodes that the library has kernels for
(`TokenEmbedding`, `NormLinear`, `CachedAttention`, `LinearResidual`, `NormLinearGelu`,
`SelectNormHead`); their bodies are made of smaller ones (`Embedding`, `Linear`, `LinearGelu`,
`SelectTokens`, `Head`), whose bodies are standard operators. ONNX Runtime opens a function until it
finds a kernel. Nodes with a quantised weight are functions of their own
(`QuantizedLinear` and so on): they have its scales as one more input, and attributes that say how
it is packed and what it is multiplied with. So are products whose activations are rounded to
bfloat16 (`BFloat16Linear` and so on), with the inputs and attributes of the plain ones.

Shapes may hold zeros (no batch, no new token, no past), so every Reshape computes its target and
sets `allowzero`: in a target, -1 and a plain 0 are ambiguous once a tensor is empty.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence

import onnx_ir as ir
from onnxscript import OpBuilder, build_function

from . import quantized_cache, quantized_functions
from .precision import Product

DOMAIN = "kvcache"
DOMAIN_VERSION = 1
OPSET_VERSION = 21

# ONNX Runtime's error message names the failing node, so the name says what is wrong.
GUARD_NAME = "in_place_inputs_need_the_kvcache_library"

# The attributes of nodes with quantised weights.
OF_PRODUCT = ("bits", "block_size", "accuracy_level")
OF_HEAD = (*OF_PRODUCT, "outputs")
OF_TABLE = ("bits", "block_size", "inputs", "outputs")


@functools.cache
def cached_attention(quantized: bool) -> ir.Function:
    """`CachedAttention`, growing mode.

    qkv [batch, seq_len, 3 * num_heads * head_dim] and past_key, past_value
    [batch, num_heads, past_len, head_dim] give attention [batch, seq_len, num_heads * head_dim] and
    present_key, present_value [batch, num_heads, past_len + seq_len, head_dim]. Keys and values are
    of the cache's type; all arithmetic is of qkv's. In a quantised cache, of int8, each row has its
    scale behind it: head_dim + 2.
    """
    return build_function(
        functools.partial(_cached_attention_body, quantized),
        [
            ir.Value(name="qkv"),
            ir.Value(name="past_key"),
            ir.Value(name="past_value"),
            ir.Value(name="block_table"),
            ir.Value(name="past_lengths"),
            ir.Value(name="append_positions"),
            ir.Value(name="row_offsets"),
            ir.Value(name="tree_parents"),
        ],
        domain=DOMAIN,
        name="CachedAttention",
        attributes=[
            ir.Attr("num_heads", ir.AttributeType.INT, None),
            ir.Attr("scale", ir.AttributeType.FLOAT, None),
        ],
        opset_imports={"": OPSET_VERSION},
    )


def _cached_attention_body(
    quantized: bool,
    op: OpBuilder,
    qkv: ir.Value,
    past_key: ir.Value,
    past_value: ir.Value,
    *in_place: ir.Value,
) -> tuple[ir.Value, ir.Value, ir.Value]:
    past_len = _guarded(op, op.Shape(past_key, start=2, end=3), *in_place)
    total_len = op.Add(past_len, op.Shape(qkv, start=1, end=2))

    num_heads = op.Constant(value_int=ir.RefAttr("value_int", "num_heads", ir.AttributeType.INT))
    head_dim = op.Shape(past_key, start=3, end=4)
    if quantized:
        head_dim = op.Sub(head_dim, [quantized_cache.SCALE_BYTES])
    batch_and_seq = op.Shape(qkv, start=0, end=2)
    heads_apart = op.Concat(batch_and_seq, op.Reshape(num_heads, [1]), head_dim, axis=0)
    query, key, value = (
        op.Transpose(op.Reshape(part, heads_apart, allowzero=1), perm=[0, 2, 1, 3])
        for part in op.Split(qkv, axis=-1, num_outputs=3, _outputs=3)
    )
    # Rounded once, and attended to as they are kept: a token's logits do not depend on which of the
    # keys and values were computed by the same run.
    if quantized:
        key, value = quantized_cache.encoded(op, key), quantized_cache.encoded(op, value)
    present_key = op.Concat(past_key, op.CastLike(key, past_key), axis=2)
    present_value = op.Concat(past_value, op.CastLike(value, past_value), axis=2)
    keys, values = (
        quantized_cache.decoded(op, present) if quantized else op.CastLike(present, qkv)
        for present in (present_key, present_value)
    )

    # Scaling q instead of the scores is cheaper, and keeps q·k within float16's range.
    scale = op.Constant(value_float=ir.RefAttr("value_float", "scale", ir.AttributeType.FLOAT))
    query = op.Mul(query, op.CastLike(scale, qkv))
    scores = op.MatMul(query, op.Transpose(keys, perm=[0, 1, 3, 2]))
    hidden = op.CastLike(op.Constant(value_float=-math.inf), qkv)
    scores = op.Where(_causal_mask(op, past_len, total_len), scores, hidden)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), values)

    heads_joined = op.Concat(batch_and_seq, op.Mul(num_heads, head_dim), axis=0)
    attention = op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), heads_joined, allowzero=1)
    return _named(attention=attention, present_key=present_key, present_value=present_value)


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


def _causal_mask(op: OpBuilder, past_len: ir.Value, total_len: ir.Value) -> ir.Value:
    """bool [seq_len, total_len]: a row's token j sees the whole past and tokens 0…j of its row."""
    first, end = op.Squeeze(past_len), op.Squeeze(total_len)
    queries, keys = op.Range(first, end, 1), op.Range(0, end, 1)
    return op.LessOrEqual(keys, op.Unsqueeze(queries, [1]))


@functools.cache
def select_tokens() -> ir.Function:
    """`SelectTokens`: hidden [batch, seq_len, n] at positions [num_logits], all if that is empty.

    The result is [batch, num_logits, n].
    """
    return build_function(
        _select_tokens_body,
        [ir.Value(name="hidden"), ir.Value(name="positions")],
        domain=DOMAIN,
        name="SelectTokens",
        opset_imports={"": OPSET_VERSION},
    )


def _select_tokens_body(op: OpBuilder, hidden: ir.Value, positions: ir.Value) -> ir.Value:
    # Every position if none is given, else no position; followed by those given. This needs no If.
    none_given = op.Cast(op.Equal(op.Size(positions), 0), to=ir.DataType.INT64)
    seq_len = op.Squeeze(op.Shape(hidden, start=1, end=2))
    everything = op.Range(0, op.Mul(seq_len, none_given), 1)
    selected = op.Gather(hidden, op.Concat(everything, positions, axis=0), axis=1)
    return _named(selected=selected)[0]


def _function(
    name: str,
    body: Callable[..., ir.Value],
    inputs: Iterable[str],
    *,
    product: Product,
    attributes: Iterable[ir.Attr] = (),
    of_weight: Iterable[str] = OF_PRODUCT,
) -> ir.Function:
    """A node with a weight; a quantised weight's scales are one more input, the last.

    It then has the attributes `of_weight` too.
    """
    inputs, attributes = list(inputs), list(attributes)
    if product is Product.QUANTIZED:
        inputs.append("weight_scales")
        attributes += [ir.Attr(of, ir.AttributeType.INT, None) for of in of_weight]
    return build_function(
        body,
        [ir.Value(name=input_name) for input_name in inputs],
        domain=DOMAIN,
        name=f"{product.value}{name}",
        attributes=attributes,
        opset_imports={"": OPSET_VERSION, DOMAIN: DOMAIN_VERSION},
    )


def _passed_on(names: Iterable[str], scales: Sequence[ir.Value]) -> dict[str, ir.RefAttr]:
    """What a node within a body has of the function's attributes, if its weight has scales."""
    return {name: ir.RefAttr(name, name, ir.AttributeType.INT) for name in names if scales}


@functools.cache
def linear(product: Product) -> ir.Function:
    """`Linear`: x [batch, seq_len, inputs], packed weight and bias [outputs] to [..., outputs]."""
    body = functools.partial(_linear_body, product)
    return _function("Linear", body, ["x", "weight", "bias"], product=product)


@functools.cache
def linear_gelu(product: Product) -> ir.Function:
    """`LinearGelu`: the tanh approximation of gelu over `Linear`."""
    body = functools.partial(_linear_gelu_body, product)
    return _function("LinearGelu", body, ["x", "weight", "bias"], product=product)


def _linear_body(product: Product, op: OpBuilder, *inputs: ir.Value) -> ir.Value:
    return _named(y=_unpacked_product(product, op, *inputs))[0]


def _linear_gelu_body(product: Product, op: OpBuilder, *inputs: ir.Value) -> ir.Value:
    return _named(y=op.Gelu(_unpacked_product(product, op, *inputs), approximate="tanh"))[0]


def _unpacked_product(
    product: Product,
    op: OpBuilder,
    x: ir.Value,
    weight: ir.Value,
    bias: ir.Value,
    *scales: ir.Value,
) -> ir.Value:
    """x · unpacked weight + bias; ONNX Runtime unpacks a constant weight once, at load."""
    if product is Product.QUANTIZED:
        return op.Add(quantized_functions.product(op, x, weight, *scales, op.Shape(bias)), bias)
    x = _multiplied_as(product, op, x)
    weight = op.CastLike(weight, x)
    inputs = op.Shape(weight, start=1, end=2)
    side_by_side = op.Reshape(op.Transpose(weight, perm=[1, 0, 2]), op.Concat(inputs, [-1], axis=0))
    unpacked = op.Slice(side_by_side, [0], op.Shape(bias), [1])
    return op.Add(op.MatMul(x, unpacked), bias)


def _multiplied_as(product: Product, op: OpBuilder, x: ir.Value) -> ir.Value:
    """What a weight that is not quantised is multiplied with: x, or each element rounded."""
    if product is Product.BFLOAT16:
        return op.CastLike(op.Cast(x, to=ir.DataType.BFLOAT16), x)
    return x


@functools.cache
def embedding(product: Product) -> ir.Function:
    """`Embedding`: ids [batch, seq_len], weight [count, size] to [batch, seq_len, size].

    In the weight's type; of a quantised weight in float32.
    """
    return _function(
        "Embedding",
        _embedding_body,
        ["ids", "weight"],
        product=product,
        of_weight=OF_TABLE,
    )


def _embedding_body(op: OpBuilder, ids: ir.Value, weight: ir.Value, *scales: ir.Value) -> ir.Value:
    if scales:
        return _named(rows=quantized_functions.embedding(op, ids, weight, *scales))[0]
    return _named(rows=op.Gather(weight, ids, axis=0))[0]


@functools.cache
def head(product: Product) -> ir.Function:
    """`Head`: x [batch, num_logits, inputs], weight [outputs, inputs] to [..., outputs].

    The weight has the embedding's layout, so that a tied head shares it.
    """
    body = functools.partial(_head_body, product)
    return _function("Head", body, ["x", "weight"], product=product, of_weight=OF_HEAD)


def _head_body(
    product: Product, op: OpBuilder, x: ir.Value, weight: ir.Value, *scales: ir.Value
) -> ir.Value:
    if product is Product.QUANTIZED:
        outputs = quantized_functions.attribute_axis(op, "outputs")
        return _named(logits=quantized_functions.product(op, x, weight, *scales, outputs))[0]
    # Only Gemm multiplies by a transposed matrix without a copy of it, and it wants two axes.
    x = _multiplied_as(product, op, x)
    batch_and_count = op.Shape(x, start=0, end=2)
    rows = op.ReduceProd(batch_and_count, keepdims=1)
    flat = op.Reshape(x, op.Concat(rows, op.Shape(weight, start=1, end=2), axis=0), allowzero=1)
    logits = op.Gemm(flat, op.CastLike(weight, x), transB=1)
    shape = op.Concat(batch_and_count, op.Shape(weight, start=0, end=1), axis=0)
    return _named(logits=op.Reshape(logits, shape, allowzero=1))[0]


@functools.cache
def token_embedding(product: Product) -> ir.Function:
    """`TokenEmbedding`: token_weight[input_ids] + position_weight[position_ids].

    The result has the type of position_weight; token_weight may be narrower.
    """
    return _function(
        "TokenEmbedding",
        _token_embedding_body,
        ["input_ids", "position_ids", "token_weight", "position_weight"],
        product=product,
        of_weight=OF_TABLE,
    )


def _token_embedding_body(
    op: OpBuilder,
    input_ids: ir.Value,
    position_ids: ir.Value,
    token_weight: ir.Value,
    position_weight: ir.Value,
    *scales: ir.Value,
) -> ir.Value:
    table = embedding(Product.QUANTIZED if scales else Product.PLAIN)
    tokens = op.call(table, input_ids, token_weight, *scales, **_passed_on(OF_TABLE, scales))
    positions = op.call(embedding(Product.PLAIN), position_ids, position_weight)
    return _named(x=op.Add(op.CastLike(tokens, positions), positions))[0]


@functools.cache
def norm_linear(product: Product) -> ir.Function:
    """`NormLinear`: `Linear` of the layer norm of x."""
    return _norm_linear_function("NormLinear", linear, product)


@functools.cache
def norm_linear_gelu(product: Product) -> ir.Function:
    """`NormLinearGelu`: `LinearGelu` of the layer norm of x."""
    return _norm_linear_function("NormLinearGelu", linear_gelu, product)


def _norm_linear_function(
    name: str, linear_of: Callable[[Product], ir.Function], product: Product
) -> ir.Function:
    def body(op: OpBuilder, x: ir.Value, *parameters: ir.Value) -> ir.Value:
        norm_weight, norm_bias, weight, bias, *scales = parameters
        x = _layer_norm(op, x, norm_weight, norm_bias)
        attributes = _passed_on(OF_PRODUCT, scales)
        y = op.call(linear_of(product), x, weight, bias, *scales, **attributes)
        return _named(y=y)[0]

    return _function(
        name,
        body,
        ["x", "norm_weight", "norm_bias", "weight", "bias"],
        product=product,
        attributes=[ir.Attr("epsilon", ir.AttributeType.FLOAT, None)],
    )


def _layer_norm(op: OpBuilder, x: ir.Value, weight: ir.Value, bias: ir.Value) -> ir.Value:
    """Of the last axis; mean and variance are computed in float32 whatever the type."""
    epsilon = ir.RefAttr("epsilon", "epsilon", ir.AttributeType.FLOAT)
    return op.LayerNormalization(x, weight, bias, axis=-1, epsilon=epsilon)


@functools.cache
def linear_residual(product: Product) -> ir.Function:
    """`LinearResidual`: residual + `Linear`."""
    return _function(
        "LinearResidual",
        functools.partial(_linear_residual_body, product),
        ["x", "weight", "bias", "residual"],
        product=product,
    )


def _linear_residual_body(
    product: Product,
    op: OpBuilder,
    x: ir.Value,
    *parameters: ir.Value,
) -> ir.Value:
    weight, bias, residual, *scales = parameters
    attributes = _passed_on(OF_PRODUCT, scales)
    y = op.call(linear(product), x, weight, bias, *scales, **attributes)
    return _named(y=op.Add(residual, y))[0]


@functools.cache
def select_norm_head(product: Product) -> ir.Function:
    """`SelectNormHead`: `Head` of the layer norm of the tokens that `SelectTokens` selects."""
    return _function(
        "SelectNormHead",
        functools.partial(_select_norm_head_body, product),
        ["x", "positions", "norm_weight", "norm_bias", "weight"],
        product=product,
        of_weight=OF_HEAD,
        attributes=[ir.Attr("epsilon", ir.AttributeType.FLOAT, None)],
    )


def _select_norm_head_body(
    product: Product, op: OpBuilder, x: ir.Value, positions: ir.Value, *parameters: ir.Value
) -> ir.Value:
    norm_weight, norm_bias, weight, *scales = parameters
    selected = op.call(select_tokens(), x, positions)
    normalized = _layer_norm(op, selected, norm_weight, norm_bias)
    attributes = _passed_on(OF_HEAD, scales)
    logits = op.call(head(product), normalized, weight, *scales, **attributes)
    return _named(logits=logits)[0]


def with_callees(used: Iterable[ir.Function]) -> list[ir.Function]:
    """`used`, and what their bodies call."""
    of_weights = (embedding, linear, linear_gelu, head)
    callees = [select_tokens(), *(make(product) for make in of_weights for product in Product)]
    known = {function.name: function for function in callees}
    found = {function.name: function for function in used}
    for function in list(found.values()):
        for node in function:
            if node.domain == DOMAIN:
                found[node.op_type] = known[node.op_type]
    return list(found.values())


def _named(**outputs: ir.Value) -> tuple[ir.Value, ...]:
    """The values, renamed to the keywords they are given as."""
    for name, value in outputs.items():
        value.name = name
    return tuple(outputs.values())
