"""GPT-2 as `onnxscript.nn` modules, and the ONNX model they build.

Module and parameter names are the checkpoint's, so a parameter's qualified name (for instance
`transformer.h.0.attn.c_attn.weight`) is also its name in the graph.
Shapes: batch and seq_len are dynamic, hidden is n_embd. GPT-2 stores its linear weights [in, out].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder
from onnxscript.nn import Module, ModuleList, Parameter

from . import functions
from .activations import ACTIVATIONS, gelu_tanh
from .config import Gpt2Config
from .packing import PackedParameter

# onnx 1.16's version, the first with opset 21; older readers need not know anything newer.
IR_VERSION = 10


class Linear(Module):
    """[batch, seq_len, inputs] to [batch, seq_len, outputs]; the weight is packed into panels."""

    function = staticmethod(functions.linear)

    def __init__(self, inputs: int, outputs: int, dtype: ir.DataType):
        super().__init__()
        self.outputs = outputs
        self.weight = PackedParameter([inputs, outputs], dtype)
        self.bias = Parameter([outputs], dtype)

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        y = op.call(self.function(), x, self.weight, self.bias)
        # A function's outputs have no type; given one, the builder infers those that follow.
        y.type, y.shape = x.type, ir.Shape([*x.shape[:-1], self.outputs])
        return y


class LinearGelu(Linear):
    """`Linear` and the tanh approximation of gelu in one node."""

    function = staticmethod(functions.linear_gelu)


class LayerNorm(Module):
    """Normalizes the last axis; mean and variance are computed in float32 whatever the dtype."""

    def __init__(self, size: int, epsilon: float, dtype: ir.DataType):
        super().__init__()
        self.weight = Parameter([size], dtype)
        self.bias = Parameter([size], dtype)
        self.epsilon = epsilon

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        return op.LayerNormalization(x, self.weight, self.bias, axis=-1, epsilon=self.epsilon)


class Embedding(Module):
    """ids [batch, seq_len] to [batch, seq_len, size]."""

    def __init__(self, count: int, size: int, dtype: ir.DataType):
        super().__init__()
        self.size = size
        self.weight = Parameter([count, size], dtype)

    def forward(self, op: OpBuilder, ids: ir.Value) -> ir.Value:
        rows = op.call(functions.embedding(), ids, self.weight)
        rows.type, rows.shape = self.weight.type, ir.Shape([*ids.shape, self.size])
        return rows


class LayerCache(NamedTuple):
    """What one layer's attention node is given beside the new tokens."""

    past_key: ir.Value  # [batch, num_heads, past_len, head_dim]
    past_value: ir.Value  # the same
    placement: tuple[ir.Value, ...]  # block_table and its companions, empty unless written in place


class Attention(Module):
    """[batch, seq_len, hidden] to the same, and the layer's present key and value."""

    def __init__(self, config: Gpt2Config, layer: int, dtype: ir.DataType):
        super().__init__()
        self.c_attn = Linear(config.n_embd, 3 * config.n_embd, dtype)
        self.c_proj = Linear(config.n_embd, config.n_embd, dtype)
        self.num_heads = config.n_head
        self.scale = config.attention_scale(layer)
        self.function = functions.cached_attention()

    def forward(self, op: OpBuilder, x: ir.Value, cache: LayerCache) -> tuple[ir.Value, ...]:
        qkv = self.c_attn(op, x)
        attention, present_key, present_value = op.call(
            self.function,
            qkv,
            cache.past_key,
            cache.past_value,
            *cache.placement,
            num_heads=self.num_heads,
            scale=self.scale,
        )
        attention.type, attention.shape = x.type, x.shape
        return self.c_proj(op, attention), present_key, present_value


class Mlp(Module):
    """[batch, seq_len, hidden] to the same, through n_inner."""

    def __init__(self, config: Gpt2Config, dtype: ir.DataType):
        super().__init__()
        self.activation = ACTIVATIONS[config.activation_function]
        self.fused = self.activation is gelu_tanh
        self.c_fc = (LinearGelu if self.fused else Linear)(config.n_embd, config.n_inner, dtype)
        self.c_proj = Linear(config.n_inner, config.n_embd, dtype)

    def forward(self, op: OpBuilder, x: ir.Value) -> ir.Value:
        hidden = self.c_fc(op, x)
        return self.c_proj(op, hidden if self.fused else self.activation(op, hidden))


class Block(Module):
    """One layer: [batch, seq_len, hidden] to the same, present key, present value."""

    def __init__(self, config: Gpt2Config, layer: int, dtype: ir.DataType):
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon, dtype)
        self.attn = Attention(config, layer, dtype)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon, dtype)
        self.mlp = Mlp(config, dtype)

    def forward(self, op: OpBuilder, x: ir.Value, cache: LayerCache) -> tuple[ir.Value, ...]:
        attention, present_key, present_value = self.attn(op, self.ln_1(op, x), cache)
        x = op.Add(x, attention)
        x = op.Add(x, self.mlp(op, self.ln_2(op, x)))
        return x, present_key, present_value


class Transformer(Module):
    """Ids to the normalized hidden states [batch, num_logits, hidden] of the selected positions."""

    def __init__(self, config: Gpt2Config, dtype: ir.DataType):
        super().__init__()
        self.hidden = config.n_embd
        self.wte = Embedding(config.vocab_size, config.n_embd, dtype)
        self.wpe = Embedding(config.n_positions, config.n_embd, dtype)
        self.h = ModuleList([Block(config, layer, dtype) for layer in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon, dtype)
        self.select = functions.select_tokens()

    def forward(
        self,
        op: OpBuilder,
        input_ids: ir.Value,
        position_ids: ir.Value,
        caches: list[LayerCache],
        logits_positions: ir.Value,
    ) -> tuple[ir.Value, list[ir.Value]]:
        x = op.Add(self.wte(op, input_ids), self.wpe(op, position_ids))
        presents = []
        for block, cache in zip(self.h, caches, strict=True):
            x, *present = block(op, x, cache)
            presents += present
        selected = op.call(self.select, x, logits_positions)
        selected.type, selected.shape = x.type, ir.Shape(["batch", "num_logits", self.hidden])
        return self.ln_f(op, selected), presents


class Head(Module):
    """[batch, num_logits, hidden] to [batch, num_logits, vocab_size].

    The weight is [vocab_size, hidden], the embedding's layout, so that a tied head shares it.
    """

    def __init__(self, config: Gpt2Config, dtype: ir.DataType):
        super().__init__()
        if not config.tie_word_embeddings:
            self.weight = Parameter([config.vocab_size, config.n_embd], dtype)

    def forward(self, op: OpBuilder, x: ir.Value, tied: Parameter) -> ir.Value:
        return op.call(functions.head(), x, self._parameters.get("weight", tied))


class Gpt2(Module):
    """The whole model; the unnamed root, so that parameters get the checkpoint's names."""

    def __init__(self, config: Gpt2Config, dtype: ir.DataType):
        super().__init__()
        self.transformer = Transformer(config, dtype)
        self.lm_head = Head(config, dtype)

    def forward(
        self,
        op: OpBuilder,
        input_ids: ir.Value,
        position_ids: ir.Value,
        caches: list[LayerCache],
        logits_positions: ir.Value,
    ) -> tuple[ir.Value, list[ir.Value]]:
        x, presents = self.transformer(op, input_ids, position_ids, caches, logits_positions)
        return self.lm_head(op, x, self.transformer.wte.weight), presents


def build_model(config: Gpt2Config, dtype: ir.DataType) -> ir.Model:
    """The ONNX model of docs/MODEL_FILE.md; its parameters have names and shapes, but no values."""
    graph = ir.Graph(
        [],
        [],
        nodes=[],
        opset_imports={"": functions.OPSET_VERSION, functions.DOMAIN: functions.DOMAIN_VERSION},
        name="gpt2",
    )
    builder = GraphBuilder(graph)
    tokens = ["batch", "seq_len"]
    past = ["batch", config.n_head, "past_len", config.head_dim]
    input_ids = builder.input("input_ids", ir.DataType.INT64, tokens)
    position_ids = builder.input("position_ids", ir.DataType.INT64, tokens)
    pasts = [
        (builder.input(f"past_key_{i}", dtype, past), builder.input(f"past_value_{i}", dtype, past))
        for i in range(config.n_layer)
    ]
    placement = (
        _optional_input(builder, "block_table", ir.DataType.INT32, ["rows", "blocks_per_row"]),
        _optional_input(builder, "past_lengths", ir.DataType.INT32, ["rows"]),
        _optional_input(builder, "append_positions", ir.DataType.INT32, ["rows"]),
        _optional_input(builder, "row_offsets", ir.DataType.INT32, ["rows_plus_1"]),
        _optional_input(builder, "tree_parents", ir.DataType.INT32, ["tree_tokens"]),
    )
    logits_positions = _optional_input(
        builder, "logits_positions", ir.DataType.INT64, ["num_logits"]
    )

    caches = [LayerCache(key, value, placement) for key, value in pasts]
    model = Gpt2(config, dtype)
    logits, presents = model(builder.op, input_ids, position_ids, caches, logits_positions)

    logits_shape = ["batch", "seq_len", config.vocab_size]
    _output(builder, logits, "logits", dtype, logits_shape)
    present_shape = ["batch", config.n_head, "total_len", config.head_dim]
    for i, present in enumerate(presents):
        _output(
            builder, present, f"present_{('key', 'value')[i % 2]}_{i // 2}", dtype, present_shape
        )
    for node in graph:
        node.metadata_props.clear()  # the builder's notes on which module made which node
    return ir.Model(
        graph,
        ir_version=IR_VERSION,
        producer_name="kvcache_export",
        functions=builder.functions.values(),
    )


def _optional_input(
    builder: GraphBuilder, name: str, dtype: ir.DataType, axes: list[str]
) -> ir.Value:
    """A graph input that is also an initializer without elements: nobody has to feed it."""
    empty = ir.tensor(np.empty([0] * len(axes), dtype.numpy()), name=name)
    value = builder.input(name, const_value=empty)
    value.shape = ir.Shape(axes)
    return value


def _output(
    builder: GraphBuilder, value: ir.Value, name: str, dtype: ir.DataType, shape: list[str | int]
) -> None:
    value.type = ir.TensorType(dtype)
    value.shape = ir.Shape(shape)
    builder.add_output(value, name)
