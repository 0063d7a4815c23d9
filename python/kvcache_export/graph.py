"""The ONNX graph of a description: a node a role, by the name of the role.

Shapes: batch and seq_len are dynamic, x is [batch, seq_len, hidden_size].
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir

from . import encoding
from .nodes import DOMAIN, OPSETS, NodeType, attention, embedding, rotary
from .nodes.activation import ACTIVATION, WITHIN_LINEAR
from .nodes.attention import CACHED_ATTENTION
from .nodes.head import HEAD
from .nodes.hidden_states import HIDDEN_STATES
from .nodes.linear import LINEAR
from .nodes.quantized_cache import SCALE_BYTES
from .nodes.value_head import VALUE_HEAD
from .precision import CACHE_TYPES, DTYPES, MatrixType, Precision
from .spec import DecoderSpec, LayerSpec, Norm, Rotary, Shape, ValueHead

# onnx 1.16's version, the first with opset 21; older readers need not know anything newer.
IR_VERSION = 10

OPTIONAL_INPUTS = {
    "block_table": (ir.DataType.INT32, ["rows", "blocks_per_row"]),
    "past_lengths": (ir.DataType.INT32, ["rows"]),
    "append_positions": (ir.DataType.INT32, ["rows"]),
    "row_offsets": (ir.DataType.INT32, ["rows_plus_1"]),
    "tree_parents": (ir.DataType.INT32, ["tree_tokens"]),
    "logits_positions": (ir.DataType.INT64, ["num_logits"]),
}

HIDDEN_STATES_OUTPUT = "hidden_states"
VALUE_OUTPUT = "value"

# The tensor of a name, element type and shape.
Values = Callable[[str, ir.DataType, Shape], ir.TensorProtocol]
Inputs = dict[str, ir.Value | None]


def build(
    spec: DecoderSpec,
    precision: Precision,
    types: Mapping[str, MatrixType],
    values: Values,
    *,
    hidden_states: bool = False,
) -> ir.Model:
    """The model of docs/MODEL_FILE.md; `types` are those of its matrices, by their roles.

    With `hidden_states` it has that output, too, and `value` where the spec has a value head.
    """
    builder = _Builder(spec, precision, types, values)
    ids: Inputs = {
        name: builder.input(name, ir.DataType.INT64, ["batch", "seq_len"])
        for name in ("input_ids", "position_ids")
    }
    pasts = [builder.cache("past", layer, "past_len") for layer in range(len(spec.layers))]
    builder.graph.inputs.extend(value for past in pasts for value in past.values())
    placement = {name: builder.optional_input(name) for name in OPTIONAL_INPUTS}
    logits_positions = placement.pop("logits_positions")

    x, presents = builder.embedding(ids), []
    for (name, layer), past in zip(spec.named_layers(), pasts, strict=True):
        qkv = builder.linear(f"{name}.attention.qkv", x, norm=layer.norm)
        inputs = {"qkv": qkv, **past, **placement}
        mixed, *present = builder.attention(len(presents) // 2, inputs, ids["position_ids"])
        presents += present
        after = {"post_norm": layer.post_norm}
        x = builder.linear(f"{name}.attention.output", mixed, residual=x, **after)
        inner = builder.up(f"{name}.mlp", layer, x)
        x = builder.linear(f"{name}.mlp.down", inner, residual=x, **after)
    outputs = [builder.head(x, logits_positions)]
    if hidden_states:
        outputs.append(builder.hidden_states(x, logits_positions))
    if spec.value_head is not None:
        outputs.append(builder.value_head(spec.value_head, x, logits_positions))
    builder.graph.outputs.extend([*outputs, *presents])
    return ir.Model(
        builder.graph,
        ir_version=IR_VERSION,
        producer_name="kvcache_export",
        functions=builder.functions.values(),
    )


class _Builder:
    """A method a role: it adds the node, and the functions and initializers that this needs."""

    def __init__(
        self,
        spec: DecoderSpec,
        precision: Precision,
        types: Mapping[str, MatrixType],
        values: Values,
    ):
        self.spec, self.precision, self.types, self.values = spec, precision, types, values
        self.dtype = DTYPES[precision.dtype]
        self.matrices, self.parameters = spec.matrices(), spec.parameters()
        self.graph = ir.Graph([], [], nodes=[], opset_imports=OPSETS, name="decoder")
        self.functions: dict[ir.OperatorIdentifier, ir.Function] = {}

    def embedding(self, ids: Inputs) -> ir.Value:
        of, attributes = self._matrix("embedding.tokens")
        positions = self._parameter("embedding.positions.weight")
        if attributes:
            attributes["outputs"] = self.spec.vocab_size
        if self.spec.embedding.scale != 1:
            attributes["scale"] = self.spec.embedding.scale
        inputs = {
            **ids,
            "token_weight": of["weight"],
            "token_scales": of.get("weight_scales"),
            "position_weight": positions,
        }
        variant = []
        if positions is None and of["weight"].dtype in {*DTYPES.values()} - {self.dtype}:
            variant.append(embedding.AS_FLOAT32)
        x = self._activations("embedding", self.spec.hidden_size)
        return self._node(
            embedding.EMBEDDING, "embedding", inputs, attributes, [x], variant=variant
        )[0]

    def linear(
        self,
        role: str,
        x: ir.Value,
        norm: Norm | None = None,
        residual: ir.Value | None = None,
        post_norm: Norm | None = None,
        **parts: Any,
    ) -> ir.Value:
        norm_inputs, of_norm = self._norm(f"{role.rpartition('.')[0]}.norm", norm)
        of_weight, attributes = self._matrix(role)
        bias = self._parameter(f"{role}.bias")
        inputs = {"x": x, **of_weight, "bias": bias, **norm_inputs, "residual": residual}
        if post_norm is not None:
            name = f"{role.rpartition('.')[0]}.post_norm"
            inputs["post_norm_weight"] = self._parameter(f"{name}.weight")
            of_norm = {"epsilon": post_norm.epsilon}
        outputs = self.matrices[role].outputs // (2 if "gated" in parts else 1)
        attributes = {"outputs": outputs, **of_norm, **parts, **self._rounding(role), **attributes}
        return self._node(LINEAR, role, inputs, attributes, [self._activations(role, outputs)])[0]

    def attention(self, layer: int, inputs: Inputs, position_ids: ir.Value) -> list[ir.Value]:
        role, of = f"layers.{layer}.attention", self.spec.layers[layer].attention
        attributes: dict[str, Any] = {"num_heads": of.num_heads, "num_kv_heads": of.num_kv_heads}
        attributes["scale"] = of.scale
        variant = [attention.INT8_CACHE] if self.precision.quantized_cache else []
        if of.num_heads != of.num_kv_heads:
            variant.append(attention.GROUPED)
        if of.rotary is not None:
            inputs |= {"position_ids": position_ids, **self._rotary(of.rotary)}
            attributes["rotary_interleaved"] = int(of.rotary.interleaved)
            variant += [attention.INTERLEAVED] if of.rotary.interleaved else []
        for name in ("window", "soft_cap"):
            if getattr(of, name) is not None:
                attributes[name] = getattr(of, name)
        if of.qk_norm is not None:
            for part in ("q_norm", "k_norm"):
                inputs[f"{part}_weight"] = self._parameter(f"{role}.{part}.weight")
            attributes["epsilon"] = of.qk_norm.epsilon
        mixed = self._activations(role, of.num_heads * of.head_dim)
        outputs = [mixed, *self.cache("present", layer, "total_len").values()]
        return self._node(CACHED_ATTENTION, role, inputs, attributes, outputs, variant=variant)

    def up(self, role: str, layer: LayerSpec, x: ir.Value) -> ir.Value:
        """An MLP up to its inner activations."""
        of = layer.mlp
        within = of.gated or of.activation in WITHIN_LINEAR
        parts = {"activation": of.activation} if within else {}
        inner = self.linear(
            f"{role}.up", x, norm=layer.norm, **parts, **({"gated": 1} if of.gated else {})
        )
        if within or of.activation == "identity":
            return inner
        role = f"{role}.activation"
        y = self._activations(role, of.inner_size)
        return self._node(ACTIVATION, role, {"x": inner}, {"kind": of.activation}, [y])[0]

    def head(self, x: ir.Value, positions: ir.Value) -> ir.Value:
        role = "embedding.tokens" if self.spec.head.tied else "head"
        norm_inputs, of_norm = self._norm("final_norm", self.spec.final_norm)
        of_weight, attributes = self._matrix(role)
        inputs = {"x": x, **of_weight, **norm_inputs, "positions": positions}
        size = self.spec.vocab_size
        attributes = {"outputs": size, **of_norm, **self._rounding(role), **attributes}
        if self.spec.head.soft_cap is not None:
            attributes["soft_cap"] = self.spec.head.soft_cap
        logits = _value("logits", self.dtype, ["batch", "seq_len", size])
        return self._node(HEAD, "head", inputs, attributes, [logits])[0]

    def hidden_states(self, x: ir.Value, positions: ir.Value) -> ir.Value:
        norm_inputs, of_norm = self._norm("final_norm", self.spec.final_norm)
        y = _value(HIDDEN_STATES_OUTPUT, self.dtype, ["batch", "seq_len", self.spec.hidden_size])
        inputs = {"x": x, **norm_inputs, "positions": positions}
        return self._node(HIDDEN_STATES, HIDDEN_STATES_OUTPUT, inputs, of_norm, [y])[0]

    def value_head(self, of: ValueHead, x: ir.Value, positions: ir.Value) -> ir.Value:
        norm_inputs, attributes = self._norm("final_norm", self.spec.final_norm)
        inputs = {"x": x, **norm_inputs, "positions": positions}
        variant = [f"{len(of.inner_sizes)}_layers"]
        if of.norm is None:
            variant.append("no_layer_norm")
        else:
            attributes["layer_epsilon"] = of.norm.epsilon
        for kind in ("weight", "bias"):
            inputs[f"output_{kind}"] = self._parameter(f"value_head.output.{kind}")
            for i in range(len(of.inner_sizes)):
                inputs[f"{kind}_{i}"] = self._parameter(f"value_head.{i}.{kind}")
                inputs[f"layer_norm_{kind}_{i}"] = self._parameter(f"value_head.{i}.norm.{kind}")
        attributes |= {"activation": of.activation, "output_activation": of.output_activation}
        y = _value(VALUE_OUTPUT, self.dtype, ["batch", "seq_len", 1])
        return self._node(VALUE_HEAD, "value_head", inputs, attributes, [y], variant=variant)[0]

    def input(self, name: str, dtype: ir.DataType, shape: list[str | int]) -> ir.Value:
        self.graph.inputs.append(_value(name, dtype, shape))
        return self.graph.inputs[-1]

    def optional_input(self, name: str) -> ir.Value:
        """A graph input that is also an initializer without elements: nobody has to feed it."""
        dtype, axes = OPTIONAL_INPUTS[name]
        value = self._constant(ir.tensor(np.empty([0] * len(axes), dtype.numpy()), name=name))
        value.shape = ir.Shape(axes)
        self.graph.inputs.append(value)
        return value

    def cache(self, prefix: str, layer: int, length: str) -> Inputs:
        """Keys and values of a layer; those of int8 end with their scale."""
        of = self.spec.layers[layer].attention
        size = of.head_dim + (SCALE_BYTES if self.precision.quantized_cache else 0)
        shape, dtype = ["batch", of.num_kv_heads, length, size], self.precision.cache_dtype
        return {
            f"{prefix}_{part}": _value(f"{prefix}_{part}_{layer}", CACHE_TYPES[dtype], shape)
            for part in ("key", "value")
        }

    def _node(
        self,
        of: NodeType,
        role: str,
        inputs: Mapping[str, ir.Value | None],
        attributes: Mapping[str, Any],
        outputs: list[ir.Value],
        *,
        variant: Sequence[str] = (),
    ) -> list[ir.Value]:
        there = {name: value for name, value in inputs.items() if value is not None}
        overload = of.overload(there, attributes, variant)
        if (DOMAIN, of.name, overload) not in self.functions:
            for each in (of.function(there, attributes, variant), *of.callees):
                self.functions[each.identifier()] = each
        places = [there.get(name) for name in of.inputs]
        while places[-1] is None:
            places.pop()
        about = {"domain": DOMAIN, "overload": overload, "name": role, "outputs": outputs}
        self.graph.append(ir.node(of.name, places, attributes, **about))
        return outputs

    def _matrix(self, role: str) -> tuple[Inputs, dict[str, Any]]:
        """The weight and its scales, and the attributes that a node has for them."""
        of = self.types[role]
        inputs = {
            suffix[1:]: self._initializer(role + suffix, *tensor)
            for suffix, tensor in encoding.tensors(self.matrices[role], of).items()
        }
        if not of.quantized:
            return inputs, {}
        size = {"inputs": self.matrices[role].inputs}  # the tensor's own are filled up
        minimums = {"minimums": 1} if of.minimums else {}
        return inputs, {"bits": of.bits, "block_size": of.block_size, **minimums, **size}

    def _rounding(self, role: str) -> dict[str, str]:
        to = self.types[role].round_input
        return {"round_input": to} if to else {}

    def _norm(self, role: str, norm: Norm | None) -> tuple[Inputs, dict[str, Any]]:
        if norm is None:
            return {}, {}
        inputs = {f"norm_{part}": self._parameter(f"{role}.{part}") for part in ("weight", "bias")}
        return inputs, {"norm": norm.kind, "epsilon": norm.epsilon}

    def _rotary(self, of: Rotary) -> Inputs:
        """The tables, which layers of the same angles share."""
        every = [layer.attention.rotary for layer in self.spec.layers]
        # Which elements are pairs bears on no angle.
        angles = [replace(each, interleaved=False) for each in every if each is not None]
        known = list(dict.fromkeys(angles))
        prefix = f"rotary.{known.index(replace(of, interleaved=False))}"
        if f"{prefix}.cos" not in self.graph.initializers:
            for part, table in rotary.tables(of, self.spec.max_seq_len).items():
                self._constant(ir.tensor(table, name=f"{prefix}.{part}"))
        return {part: self.graph.initializers[f"{prefix}.{part}"] for part in ("cos", "sin")}

    def _parameter(self, name: str) -> ir.Value | None:
        """A parameter that is no matrix's weight, where the description has it."""
        shape = self.parameters.get(name)
        return None if shape is None else self._initializer(name, self.dtype, shape)

    def _initializer(self, name: str, dtype: ir.DataType, shape: Shape) -> ir.Value:
        found = self.graph.initializers.get(name)
        return self._constant(self.values(name, dtype, shape)) if found is None else found

    def _constant(self, tensor: ir.TensorProtocol) -> ir.Value:
        value = _value(tensor.name, tensor.dtype, tensor.shape)
        value.const_value = tensor
        self.graph.register_initializer(value)
        return value

    def _activations(self, role: str, size: int) -> ir.Value:
        """What a node gives; its name is not the node's, which is the role itself."""
        return _value(f"{role}.y", self.dtype, ["batch", "seq_len", size])


def _value(name: str, dtype: ir.DataType, shape: Iterable[str | int]) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
