"""GPT-2 124M as a stock graph: GroupQueryAttention over one buffer per layer.

What a program gets that uses ONNX Runtime's own cached attention; a peer to be measured beside.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LAYERS, HEADS, HEAD_DIM, HIDDEN, VOCAB, POSITIONS = 12, 12, 64, 768, 50257, 1024

Weights = Callable[[str, tuple[int, ...]], np.ndarray]  # by Hugging Face's names, and shapes


def random_weights(seed: int = 0) -> Weights:
    """float16 weights as GPT-2 initializes them."""
    random = np.random.default_rng(seed)

    def read(name: str, shape: tuple[int, ...]) -> np.ndarray:
        if name.endswith(".bias"):
            return np.zeros(shape, np.float16)
        if ".ln_" in name or name.startswith("ln_"):
            return np.ones(shape, np.float16)
        return (random.standard_normal(shape, np.float32) * 0.02).astype(np.float16)

    return read


class Graph:
    """Nodes and initializers, collected in order."""

    def __init__(self, weights: Weights):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.weights = weights

    def weight(self, name: str, *shape: int) -> str:
        """A weight of the model; its name."""
        return self.constant(name, self.weights(name, shape))

    def constant(self, name: str, values: np.ndarray) -> str:
        """An initializer; its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def op(self, op_type: str, inputs: list[str], output: str, **attributes: object) -> str:
        """A node with one output; its name."""
        self.nodes.append(helper.make_node(op_type, inputs, [output], name=output, **attributes))
        return output

    def norm(self, x: str, name: str) -> str:
        """A layer norm."""
        gain = self.weight(f"{name}.weight", HIDDEN)
        bias = self.weight(f"{name}.bias", HIDDEN)
        return self.op("LayerNormalization", [x, gain, bias], name, epsilon=1e-5, axis=-1)

    def linear(self, x: str, name: str, inputs: int, outputs: int) -> str:
        """A product with a weight, and a bias."""
        weight = self.weight(f"{name}.weight", inputs, outputs)
        bias = self.weight(f"{name}.bias", outputs)
        return self.op("Add", [self.op("MatMul", [x, weight], f"{name}.product"), bias], name)


def model(weights: Weights, *, lengths_from_mask: bool) -> onnx.ModelProto:
    """The model, in the weights' type; with `lengths_from_mask` its lengths come from
    attention_mask, as onnxruntime-genai wants."""
    graph = Graph(weights)
    tokens = graph.weight("wte.weight", VOCAB, HIDDEN)
    positions = graph.weight("wpe.weight", POSITIONS, HIDDEN)
    kind, whole = graph.initializers[0].data_type, TensorProto.INT64
    inputs = [
        helper.make_tensor_value_info("input_ids", whole, ["batch", "seq_len"]),
        helper.make_tensor_value_info("position_ids", whole, ["batch", "seq_len"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", kind, ["batch", 1, VOCAB])]
    if lengths_from_mask:
        inputs.append(helper.make_tensor_value_info("attention_mask", whole, ["batch", "total"]))
        _lengths(graph)
    else:
        inputs.append(helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, ["batch"]))
        inputs.append(helper.make_tensor_value_info("total_sequence_length", TensorProto.INT32, []))
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
        inputs += [helper.make_tensor_value_info(name, kind, cache) for name in past]
        outputs += [helper.make_tensor_value_info(name, kind, cache) for name in present]
        x = _layer(graph, x, f"h.{layer}", (past, present))
    last = graph.constant("last", np.array([-1], np.int64))
    x = graph.norm(graph.op("Gather", [x, last], "last_token", axis=1), "ln_f")
    head = graph.constant("head", weights("lm_head.weight", (VOCAB, HIDDEN)).T)
    graph.op("MatMul", [x, head], "logits")
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    proto = helper.make_graph(graph.nodes, "gpt2", inputs, outputs, graph.initializers)
    return helper.make_model(proto, opset_imports=opsets, ir_version=10)


def write(path: Path, *, lengths_from_mask: bool) -> None:
    """The model with random float16 weights."""
    onnx.save(model(random_weights(), lengths_from_mask=lengths_from_mask), path)


def genai_config(file: str, session_options: dict) -> dict:
    """What onnxruntime-genai needs to know of the graph in a file beside it."""
    last = VOCAB - 1
    return {
        "model": {
            "bos_token_id": last,
            "eos_token_id": last,
            "pad_token_id": last,
            "context_length": POSITIONS,
            "type": "llama",  # its type "gpt2" expects another form of cache
            "vocab_size": VOCAB,
            "decoder": {
                "filename": file,
                "head_size": HEAD_DIM,
                "hidden_size": HIDDEN,
                "num_attention_heads": HEADS,
                "num_hidden_layers": LAYERS,
                "num_key_value_heads": HEADS,
                "session_options": session_options,
                "inputs": {
                    "input_ids": "input_ids",
                    "attention_mask": "attention_mask",
                    "position_ids": "position_ids",
                    "past_key_names": "past_key_values.%d.key",
                    "past_value_names": "past_key_values.%d.value",
                },
                "outputs": {
                    "logits": "logits",
                    "present_key_names": "present.%d.key",
                    "present_value_names": "present.%d.value",
                },
            },
        },
        "search": {
            "max_length": POSITIONS,
            "past_present_share_buffer": True,
            "do_sample": False,
        },
    }


def _layer(graph: Graph, x: str, name: str, cache: tuple[list[str], list[str]]) -> str:
    past, present = cache
    qkv = graph.linear(graph.norm(x, f"{name}.ln_1"), f"{name}.attn.c_attn", HIDDEN, 3 * HIDDEN)
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
    projected = graph.linear(attention, f"{name}.attn.c_proj", HIDDEN, HIDDEN)
    x = graph.op("Add", [x, projected], f"{name}.sum_1")
    inner = graph.linear(graph.norm(x, f"{name}.ln_2"), f"{name}.mlp.c_fc", HIDDEN, 4 * HIDDEN)
    inner = graph.op("Gelu", [inner], f"{name}.gelu", approximate="tanh")
    outer = graph.linear(inner, f"{name}.mlp.c_proj", 4 * HIDDEN, HIDDEN)
    return graph.op("Add", [x, outer], f"{name}.sum_2")


def _lengths(graph: Graph) -> None:
    axis, one = graph.constant("axis", np.array([1], np.int64)), np.array(1, np.int64)
    graph.constant("one", one)
    total = graph.op("ReduceSum", ["attention_mask", axis], "kept", keepdims=0)
    less_one = graph.op("Sub", [total, "one"], "kept_before")
    graph.op("Cast", [less_one], "seqlens_k", to=TensorProto.INT32)
    shape = graph.op("Shape", ["attention_mask"], "mask_shape")
    length = graph.op("Gather", [shape, "one"], "total", axis=0)
    graph.op("Cast", [length], "total_sequence_length", to=TensorProto.INT32)
