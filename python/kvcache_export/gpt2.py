"""GPT-2 as `onnxscript.nn` modules, and the ONNX model they build.

Module and parameter names are the checkpoint's, so a parameter's qualified name (for instance
`transformer.h.0.attn.c_attn.weight`) is also its name in the graph.
Shapes: batch and seq_len are dynamic, hidden is n_embd. GPT-2 stores its linear weights [in, out].
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
import onnx_ir as ir
from onnxscript import GraphBuilder, OpBuilder
from onnxscript.nn import Module, ModuleList, Parameter

from . import functions
from .activations import ACTIVATIONS, gelu_tanh
from .config import EMBEDDING, HEAD, Gpt2Config
from .packing import PackedParameter
from .precision import CACHE_TYPES, DTYPES, Precision, Product
from .quantization import QuantizedParameter, ScalesParameter
from .quantized_cache import SCALE_BYTES

# onnx 1.16's version, the first with opset 21; older readers need not know anything newer.
IR_VERSION = 10


class Weight(Module):
    """A matrix of the checkpoint, with its scales where it is quantised.

    Where it is not, `make` makes the parameter of its shape and element type.
    """

    def __init__(
        self,
        shape: Sequence[int],
        precision: Precision,
        make: Callable[[Sequence[int], ir.DataType], Parameter],
    ):
        super().__init__()
        self.quantized = precision.quantized
        self.product = precision.product
        if not self.quantized:
            self.weight = make(shape, DTYPES[precision.weights])
            return
        by_rows = make is Parameter
        self.weight = QuantizedParameter(
            shape, precision.bits, precision.block_size, by_rows=by_rows
        )
        self.weight_scales = ScalesParameter(self.weight)
        self.all_attributes = {
            "bits": precision.bits,
            "block_size": precision.block_size,
            "accuracy_level": precision.accuracy_level,
            "inputs": self.weight.inputs,
            "outputs": self.weight.outputs,
        }

    @property
    def scales(self) -> list[ir.Value]:
        """The last inputs of a node with this weight."""
        return [self.weight_scales] if self.quantized else []

    def attributes(self, names: Iterable[str]) -> dict[str, int]:
        """Those that such a node has for it."""
        return {name: self.all_attributes[name] for name in names if self.quantized}


class Linear(Weight):
    """The parameters of a product [..., inputs] to [..., outputs]; the weight in panels."""

    def __init__(self, inputs: int, outputs: int, precision: Precision):
        super().__init__([inputs, outputs], precision, PackedParameter)
        self.outputs = outputs
        self.bias = Parameter([outputs], DTYPES[precision.dtype])


class NormLinear(Linear):
    """The product with the layer norm of x, in one node."""

    def forward(
        self, op: OpBuilder, x: ir.Value, norm: Norm, function: Callable[[Product], ir.Function]
    ) -> ir.Value:
        y = op.call(
            function(self.product),
            x,
            norm.weight,
            norm.bias,
            self.weight,
            self.bias,
            *self.scales,
            epsilon=norm.epsilon,
            **self.attributes(functions.OF_PRODUCT),
        )
        # A function's outputs have no type; given one, the builder infers those that follow.
        y.type, y.shape = x.type, ir.Shape([*x.shape[:-1], self.outputs])
        return y


class LinearResidual(Linear):
    """The residual + the product with x, in one node."""

    def forward(self, op: OpBuilder, x: ir.Value, residual: ir.Value) -> ir.Value:
        function = functions.linear_residual(self.product)
        parameters = (self.weight, self.bias, residual, *self.scales)
        y = op.call(function, x, *parameters, **self.attributes(functions.OF_PRODUCT))
        y.type, y.shape = residual.type, residual.shape
        return y


class Norm(NamedTuple):
    """A layer norm as the nodes that begin with one are given it."""

    weight: ir.Value  # [size]
    bias: ir.Value  # [size]
    epsilon: float


class LayerNorm(Module):
    """The parameters of a layer norm of the last axis."""

    def __init__(self, size: int, epsilon: float, precision: Precision):
        super().__init__()
        self.weight = Parameter([size], DTYPES[precision.dtype])
        self.bias = Parameter([size], DTYPES[precision.dtype])
        self.epsilon = epsilon

    def forward(self, op: OpBuilder) -> Norm:
        return Norm(self.weight, self.bias, self.epsilon)


class Embedding(Weight):
    """A table [count, size]; the checkpoint has its rows, of which each is an output of a head."""

    def __init__(self, count: int, size: int, precision: Precision):
        super().__init__([count, size], precision, Parameter)

    @property
    def table(self) -> Product:
        """The kind of node that reads rows: nothing is multiplied."""
        return Product.QUANTIZED if self.quantized else Product.PLAIN

    def forward(self, op: OpBuilder) -> ir.Value:
        return self.weight


class LayerCache(NamedTuple):
    """What one layer's attention node is given beside the new tokens."""

    past_key: ir.Value  # [batch, num_heads, past_len, head_dim], or head_dim + 2 of int8
    past_value: ir.Value  # the same
    placement: tuple[ir.Value, ...]  # block_table and its companions, empty unless written in place


class Attention(Module):
    """x [batch, seq_len, hidden] to x + attention, and the layer's present key and value."""

    def __init__(self, config: Gpt2Config, layer: int, precision: Precision):
        super().__init__()
        name = f"transformer.h.{layer}.attn"
        self.c_attn = NormLinear(config.n_embd, 3 * config.n_embd, precision.of(f"{name}.c_attn"))
        self.c_proj = LinearResidual(config.n_embd, config.n_embd, precision.of(f"{name}.c_proj"))
        self.num_heads = config.n_head
        self.scale = config.attention_scale(layer)
        self.function = functions.cached_attention(precision.quantized_cache)

    def forward(
        self, op: OpBuilder, x: ir.Value, norm: Norm, cache: LayerCache
    ) -> tuple[ir.Value, ...]:
        qkv = self.c_attn(op, x, norm, functions.norm_linear)
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
        return self.c_proj(op, attention, x), present_key, present_value


class Mlp(Module):
    """x [batch, seq_len, hidden] to x + its way through n_inner."""

    def __init__(self, config: Gpt2Config, layer: int, precision: Precision):
        super().__init__()
        name = f"transformer.h.{layer}.mlp"
        self.activation = ACTIVATIONS[config.activation_function]
        self.c_fc = NormLinear(config.n_embd, config.n_inner, precision.of(f"{name}.c_fc"))
        self.c_proj = LinearResidual(config.n_inner, config.n_embd, precision.of(f"{name}.c_proj"))

    def forward(self, op: OpBuilder, x: ir.Value, norm: Norm) -> ir.Value:
        if self.activation is gelu_tanh:
            hidden = self.c_fc(op, x, norm, functions.norm_linear_gelu)
        else:
            hidden = self.c_fc(op, x, norm, functions.norm_linear)
            hidden = self.activation(op, hidden)
        return self.c_proj(op, hidden, x)


class Block(Module):
    """One layer: [batch, seq_len, hidden] to the same, present key, present value."""

    def __init__(self, config: Gpt2Config, layer: int, precision: Precision):
        super().__init__()
        self.ln_1 = LayerNorm(config.n_embd, config.layer_norm_epsilon, precision)
        self.attn = Attention(config, layer, precision)
        self.ln_2 = LayerNorm(config.n_embd, config.layer_norm_epsilon, precision)
        self.mlp = Mlp(config, layer, precision)

    def forward(self, op: OpBuilder, x: ir.Value, cache: LayerCache) -> tuple[ir.Value, ...]:
        x, present_key, present_value = self.attn(op, x, self.ln_1(op), cache)
        return self.mlp(op, x, self.ln_2(op)), present_key, present_value


class Transformer(Module):
    """Ids to hidden states [batch, seq_len, hidden], and the norm that is still to come."""

    def __init__(self, config: Gpt2Config, precision: Precision):
        super().__init__()
        self.hidden = config.n_embd
        of_tokens = precision.of(EMBEDDING)
        of_positions = Precision(precision.dtype, precision.dtype)
        self.wte = Embedding(config.vocab_size, config.n_embd, of_tokens)
        self.wpe = Embedding(config.n_positions, config.n_embd, of_positions)
        self.h = ModuleList([Block(config, layer, precision) for layer in range(config.n_layer)])
        self.ln_f = LayerNorm(config.n_embd, config.layer_norm_epsilon, precision)

    def forward(
        self,
        op: OpBuilder,
        input_ids: ir.Value,
        position_ids: ir.Value,
        caches: list[LayerCache],
    ) -> tuple[ir.Value, Norm, list[ir.Value]]:
        token_weight, position_weight = self.wte(op), self.wpe(op)
        x = op.call(
            functions.token_embedding(self.wte.table),
            input_ids,
            position_ids,
            token_weight,
            position_weight,
            *self.wte.scales,
            **self.wte.attributes(functions.OF_TABLE),
        )
        x.type, x.shape = position_weight.type, ir.Shape([*input_ids.shape, self.hidden])
        presents = []
        for block, cache in zip(self.h, caches, strict=True):
            x, *present = block(op, x, cache)
            presents += present
        return x, self.ln_f(op), presents


class Head(Embedding):
    """Hidden states [batch, seq_len, hidden] to logits [batch, num_logits, vocab_size].

    The weight is [vocab_size, hidden], the embedding's layout, so that a tied head shares it.
    """

    def forward(self, op: OpBuilder, x: ir.Value, positions: ir.Value, norm: Norm) -> ir.Value:
        return head(op, x, positions, norm, self)


def head(op: OpBuilder, x: ir.Value, positions: ir.Value, norm: Norm, of: Weight) -> ir.Value:
    """The logits of an untied head, or of the token embedding as one."""
    return op.call(
        functions.select_norm_head(of.product),
        x,
        positions,
        norm.weight,
        norm.bias,
        of.weight,
        *of.scales,
        epsilon=norm.epsilon,
        **of.attributes(functions.OF_HEAD),
    )


class Gpt2(Module):
    """The whole model; the unnamed root, so that parameters get the checkpoint's names."""

    def __init__(self, config: Gpt2Config, precision: Precision):
        super().__init__()
        self.transformer = Transformer(config, precision)
        self.tied = config.tie_word_embeddings
        if not self.tied:
            self.lm_head = Head(config.vocab_size, config.n_embd, precision.of(HEAD))

    def forward(
        self,
        op: OpBuilder,
        input_ids: ir.Value,
        position_ids: ir.Value,
        caches: list[LayerCache],
        logits_positions: ir.Value,
    ) -> tuple[ir.Value, list[ir.Value]]:
        x, norm, presents = self.transformer(op, input_ids, position_ids, caches)
        if self.tied:
            return head(op, x, logits_positions, norm, self.transformer.wte), presents
        return self.lm_head(op, x, logits_positions, norm), presents


def build_model(config: Gpt2Config, precision: Precision) -> ir.Model:
    """The ONNX model of docs/MODEL_FILE.md; its parameters have names and shapes, but no values."""
    precision.check_overrides(config.matrices())
    graph = ir.Graph(
        [],
        [],
        nodes=[],
        opset_imports={"": functions.OPSET_VERSION, functions.DOMAIN: functions.DOMAIN_VERSION},
        name="gpt2",
    )
    builder = GraphBuilder(graph)
    dtype, cache_dtype = DTYPES[precision.dtype], CACHE_TYPES[precision.cache_dtype]
    row = config.head_dim + (SCALE_BYTES if precision.quantized_cache else 0)
    tokens = ["batch", "seq_len"]
    past = ["batch", config.n_head, "past_len", row]
    input_ids = builder.input("input_ids", ir.DataType.INT64, tokens)
    position_ids = builder.input("position_ids", ir.DataType.INT64, tokens)
    pasts = [
        tuple(builder.input(f"past_{part}_{i}", cache_dtype, past) for part in ("key", "value"))
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
    model = Gpt2(config, precision)
    logits, presents = model(builder.op, input_ids, position_ids, caches, logits_positions)

    logits_shape = ["batch", "seq_len", config.vocab_size]
    _output(builder, logits, "logits", dtype, logits_shape)
    present_shape = ["batch", config.n_head, "total_len", row]
    for i, present in enumerate(presents):
        name = f"present_{('key', 'value')[i % 2]}_{i // 2}"
        _output(builder, present, name, cache_dtype, present_shape)
    for node in graph:
        node.metadata_props.clear()  # the builder's notes on which module made which node
    return ir.Model(
        graph,
        ir_version=IR_VERSION,
        producer_name="kvcache_export",
        functions=functions.with_callees(builder.functions.values()),
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
