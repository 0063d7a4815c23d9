"""GPT-2 with random weights as a stock graph: GroupQueryAttention over one buffer per layer.

What a program gets that uses ONNX Runtime's own cached attention; a peer to be measured beside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, HEADS, HEAD_DIM, HIDDEN, VOCAB, POSITIONS = 12, 12, 64, 768, 50257, 1024


class Graph:
    """Nodes and initializers, collected in order."""

    def __init__(self, seed: int):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.random = np.random.default_rng(seed)

    def weight(self, name: str, *shape: int) -> str:
        """A random float16 weight as GPT-2 initializes it."""
        values = (self.random.standard_normal(shape, np.float32) * 0.02).astype(np.float16)
        return self.constant(name, values)

    def constant(self, name: str, values: np.ndarray) -> str:
        """An initializer; its name."""
        self.initializers.append(numpy_helper.from_array(values, name))
        return name

    def op(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node with one output; its name."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def norm(self, x: str, name: str) -> str:
        """A layer norm."""
        gain = self.constant(f"{name}.weight", np.ones(HIDDEN, np.float16))
        bias = self.constant(f"{name}.bias", np.zeros(HIDDEN, np.float16))
        return self.op("LayerNormalization", [x, gain, bias], name, epsilon=1e-5, axis=-1)

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """A product with a weight, and a bias."""
        weight = self.weight(f"{name}.weight", inputs, outputs)
        bias = self.constant(f"{name}.bias", np.zeros(outputs, np.float16))
        return self.op("Add", [self.op("MatMul", [x, weight], f"{name}.product"), bias], name)


def write(path: Path, *, lengths_from_mask: bool, seed: int = 0) -> None:
    """The model; with `lengths_from_mask` its lengths come from attention_mask, as genai wants."""
    graph = Graph(seed)
    half, whole = TensorProto.FLOAT16, TensorProto.INT64
    inputs = [
        helper.make_tensor_value_info("input_ids", whole, ["batch", "seq_len"]),
        helper.make_tensor_value_info("position_ids", whole, ["batch", "seq_len"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", half, ["batch", 1, VOCAB])]
    if lengths_from_mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", whole, ["batch", "total"]))
        _lengths(graph)
    else:
        inputs.append(helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["batch"]))
        inputs.append(helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, []))
    tokens, positions = graph.weight("wte", VOCAB, HIDDEN), graph.weight("wpe", POSITIONS, HIDDEN)
    x = graph.op(
        "Add",
        [
            graph.op("Gather", [tokens, "input_ids"], "token_rows"),
            graph.op("Gather", [positions, "position_ids"], "position_rows"),
        ],
        "embedded",
    )
    cache = ["batch", HEADS, "positions", HEAD_DIM]
    for layer in range(LAYERS):
        past = [f"past_key_values.{layer}.{part}" for part in ("key", "value")]
        present = [f"present.{layer}.{part}" for part in ("key", "value")]
        inputs += [helper.make_tensor_value_info(name, half, cache) for name in past]
        outputs += [helper.make_tensor_value_info(name, half, cache) for name in present]
        x = _layer(graph, x, f"h.{layer}", (past, present))
    last = graph.constant("last", np.array([-1], np.int64))
    x = graph.norm(graph.op("Gather", [x, last], "last_token", axis=1), "ln_f")
    graph.op("MatMul", [x, graph.weight("lm_head", HIDDEN, VOCAB)], "logits")
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_graph(graph.nodes, "gpt2", inputs, outputs, graph.initializers)
    onnx.save(helper.make_model(proto, opset_imports=opsets, ir_version=10), path)


def _layer(graph: Graph, x: str, name: str, cache: tuple[list[str], list[str]]) -> str:
    past, present = cache
    qkv = graph.linear(graph.norm(x, f"{name}.ln_1"), f"{name}.qkv", HIDDEN, 3 * HIDDEN)
    attention = f"{name}.attention"
    graph.nodes.append(
        helper.make_node(
            "GroupQueryAttention",
            [qkv, "", "", *past, "seqlens_k", "total_sequence_length"],
            [attention, *present],
            name=attention,
            domain="com.microsoft",
            num_heads=HEADS,
            kv_num_heads=HEADS,
        )
    )
    projected = graph.linear(attention, f"{name}.projection", HIDDEN, HIDDEN)
    x = graph.op("Add", [x, projected], f"{name}.sum_1")
    inner = graph.linear(graph.norm(x, f"{name}.ln_2"), f"{name}.inner", HIDDEN, 4 * HIDDEN)
    inner = graph.op("Gelu", [inner], f"{name}.gelu", approximate="tanh")
    return graph.op(
        "Add", [x, graph.linear(inner, f"{name}.outer", 4 * HIDDEN, HIDDEN)], f"{name}.sum_2"
    )


def _lengths(graph: Graph) -> None:
    axis, one = graph.constant("axis", np.array([1], np.int64)), np.array(1, np.int64)
    graph.constant("one", one)
    total = graph.op("ReduceSum", ["attention_mask", axis], "kept", keepdims=0)
    less_one = graph.op("Sub", [total, "one"], "kept_before")
    graph.op("Cast", [less_one], "seqlens_k", to=TensorProto.INT32)
    shape = graph.op("Shape", ["attention_mask"], "mask_shape")
    length = graph.op("Gather", [shape, "one"], "total", axis=0)
    graph.op("Cast", [length], "total_sequence_length", to=TensorProto.INT32)
