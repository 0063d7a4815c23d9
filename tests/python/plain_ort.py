"""An exported model in plain ONNX Runtime, as a stranger would run it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir

from kvcache_export.graph import IR_VERSION
from kvcache_export.nodes import DOMAIN, DOMAIN_VERSION, OPSET_VERSION, NodeType
from kvcache_export.runtime import ort, session

BFLOAT16 = ir.DataType.BFLOAT16.numpy()


class PlainModel:
    def __init__(self, directory: Path):
        self.config = json.loads((directory / "config.json").read_text())
        self.session = session(directory / self.config["model_file"])
        self.cache_dtype = np.dtype(self.config["cache_dtype"])

    def past(self, batch: int, length: int = 0, seed: int = 0) -> list[np.ndarray]:
        """A past of random keys and values: key of layer 0, value of layer 0, key of layer 1, …"""
        generator = np.random.default_rng(seed)
        shapes = [(batch, of.shape[1], length, of.shape[3]) for of in self.session.get_inputs()[2:]]
        return [generator.standard_normal(shape).astype(self.cache_dtype) for shape in shapes]

    def run(
        self, ids: np.ndarray, past: list[np.ndarray] | None = None, **optional: np.ndarray
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Logits, further outputs and presents of ids [batch, seq_len] after `past` (none)."""
        batch, seq_len = np.shape(ids)
        past = self.past(batch) if past is None else past
        depth = past[0].shape[2]
        names = [name.name for name in self.session.get_inputs()][2:]
        feeds = {
            "input_ids": np.asarray(ids, np.int64).reshape(batch, seq_len),
            "position_ids": np.broadcast_to(np.arange(depth, depth + seq_len), (batch, seq_len)),
            **dict(zip(names, past, strict=True)),
            **optional,
        }
        logits, *presents = self.session.run(None, feeds)
        return logits, presents

    def greedy(self, prompt: list[int], count: int) -> list[int]:
        """`count` greedy tokens after the prompt, one by one over the cache."""
        ids, past, tokens = prompt, None, []
        for _ in range(count):
            logits, others = self.run(np.array([ids]), past)
            past = others[len(self.config["outputs"]) - 1 :]
            ids = [int(logits[0, -1].argmax())]
            tokens += ids
        return tokens


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """Largest absolute difference as a share of the largest expected absolute value."""
    assert found.shape == expected.shape
    return float(np.abs(found.astype(np.float64) - expected).max() / np.abs(expected).max())


def run_function(
    function: ir.Function,
    feeds: dict[str, np.ndarray],
    attributes: dict[str, int | float | str],
    callees: Sequence[ir.Function] = (),
) -> np.ndarray:
    """The first output of a function of domain kvcache; inputs that are not fed are missing."""
    places = [value.name if value.name in feeds else "" for value in function.inputs]
    node = onnx.helper.make_node(function.name, places, ["out"], domain=DOMAIN)
    node.overload = function.overload
    node.attribute.extend(onnx.helper.make_attribute(*each) for each in attributes.items())
    graph = onnx.helper.make_graph(
        [node],
        "one_node",
        [
            onnx.helper.make_tensor_value_info(
                name, onnx.helper.np_dtype_to_tensor_dtype(value.dtype), [None] * value.ndim
            )
            for name, value in feeds.items()
        ],
        [onnx.helper.make_tensor_value_info("out", onnx.TensorProto.FLOAT, None)],
    )
    domains = [
        onnx.helper.make_opsetid("", OPSET_VERSION),
        onnx.helper.make_opsetid(DOMAIN, DOMAIN_VERSION),
    ]
    model = onnx.helper.make_model(
        graph,
        opset_imports=domains,
        functions=[ir.to_proto(each) for each in (function, *callees)],
        ir_version=IR_VERSION,
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    # Kept while the session runs: a value of ONNX Runtime's is NumPy's memory. NumPy itself has no
    # bfloat16.
    arrays = {name: np.ascontiguousarray(value) for name, value in feeds.items()}
    values = {
        name: ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            value.view(np.uint16) if value.dtype == BFLOAT16 else value,
            onnx.helper.np_dtype_to_tensor_dtype(value.dtype),
        )
        for name, value in arrays.items()
    }
    return session.run_with_ort_values(["out"], values)[0].numpy()


def run_node(
    of: NodeType,
    feeds: dict[str, np.ndarray],
    attributes: dict[str, int | float | str],
    variant: Sequence[str] = (),
) -> np.ndarray:
    """The first output of a node of this type with these inputs."""
    return run_function(of.function(feeds, attributes, variant), feeds, attributes, of.callees)
