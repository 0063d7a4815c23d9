"""The matrix products of a GPT-2 prefill, alone in ONNX Runtime: a floor for the prefill.

python bench/matrix_products.py MODEL.onnx --threads 2     prints milliseconds as JSON
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
import onnxruntime as ort

SAMPLES = 5


@dataclass
class MatrixProducts:
    """A graph of the matrix products of a prefill, and nothing else.

    The attention's own products are left out, so that the bar is rather too strict. Logits are
    those of the last token.
    """

    tokens: int
    layers: int
    hidden: int
    vocab: int

    def weights(self) -> Iterator[tuple[str, tuple[int, int]]]:
        inner = 4 * self.hidden
        for layer in range(self.layers):
            yield f"qkv_{layer}", (self.hidden, 3 * self.hidden)
            yield f"projection_{layer}", (self.hidden, self.hidden)
            yield f"expand_{layer}", (self.hidden, inner)
            yield f"contract_{layer}", (inner, self.hidden)
        yield "head", (self.hidden, self.vocab)

    def write(self, path: Path) -> None:
        data = path.with_suffix(".data")
        generator = np.random.default_rng(0)
        tensors = []
        with data.open("wb") as file:
            for name, shape in self.weights():
                file.write(bytes(-file.tell() % 4096))
                tensor = TensorProto(name=name, dims=shape, data_type=TensorProto.FLOAT)
                tensor.data_location = TensorProto.EXTERNAL
                values = generator.standard_normal(shape, dtype=np.float32)
                values *= shape[0] ** -0.5  # results of the same magnitude as the input
                entries = {"location": data.name, "offset": file.tell(), "length": values.nbytes}
                for key, value in entries.items():
                    tensor.external_data.add(key=key, value=str(value))
                file.write(values.tobytes())
                tensors.append(tensor)
        onnx.save(self._model(tensors), path)

    def _model(self, weights: list[TensorProto]) -> onnx.ModelProto:
        indices = helper.make_tensor("first", TensorProto.INT64, [1], [0])
        last = helper.make_tensor("last", TensorProto.INT64, [1], [self.tokens - 1])
        nodes, outputs, current = [], [], "x"
        for layer in range(self.layers):
            # Of q, k and v, one row is an output: unused, the product would not be computed.
            nodes.append(helper.make_node("MatMul", [current, f"qkv_{layer}"], [f"all_{layer}"]))
            nodes.append(helper.make_node("Gather", [f"all_{layer}", "first"], [f"q_{layer}"]))
            outputs.append(helper.make_tensor_value_info(f"q_{layer}", TensorProto.FLOAT, None))
            for name in ("projection", "expand", "contract"):
                result = f"{name}_out_{layer}"
                nodes.append(helper.make_node("MatMul", [current, f"{name}_{layer}"], [result]))
                current = result
        nodes.append(helper.make_node("Gather", [current, "last"], ["hidden"]))
        nodes.append(helper.make_node("MatMul", ["hidden", "head"], ["logits"]))
        outputs.append(helper.make_tensor_value_info("logits", TensorProto.FLOAT, None))
        x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [self.tokens, self.hidden])
        graph = helper.make_graph(nodes, "matmuls", [x], outputs, [*weights, indices, last])
        opset = helper.make_opsetid("", 21)
        return helper.make_model(graph, opset_imports=[opset], ir_version=10)


def session(path: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def time_matrix_products(path: Path, threads: int) -> list[float]:
    """Milliseconds of each run, after one to warm up. Runs in a process of its own."""
    products = session(path, threads)
    shape = products.get_inputs()[0].shape
    x = np.random.default_rng(1).standard_normal(shape, dtype=np.float32)
    samples = []
    for _ in range(1 + SAMPLES):
        begin = time.perf_counter()
        products.run(None, {"x": x})
        samples.append((time.perf_counter() - begin) * 1e3)
    return samples[1:]


def main() -> None:
    parser = argparse.ArgumentParser(description="Times the matrix products of a prefill.")
    parser.add_argument("model", type=Path, help="written by MatrixProducts.write()")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    print(json.dumps(time_matrix_products(arguments.model, arguments.threads)))


if __name__ == "__main__":
    main()
