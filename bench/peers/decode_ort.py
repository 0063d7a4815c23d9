"""The job on ONNX Runtime alone: a stock graph, past and present bound to one buffer a layer."""

import os
from pathlib import Path

import decode_job
import gqa_graph
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
import onnxruntime as ort


class Runner(decode_job.Stepwise):
    vocab_size = gqa_graph.VOCAB

    def __init__(self, model: str, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        path = f"{model}/model.onnx"
        self.session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.reset()

    def reset(self, rows: int = 1, positions: int = gqa_graph.POSITIONS) -> None:
        self.depth, self.count = 0, rows
        shape = [rows, gqa_graph.HEADS, positions, gqa_graph.HEAD_DIM]
        if getattr(self, "shape", None) == shape:
            return
        self.shape, self.binding, self.bound = shape, self.session.io_binding(), {}
        for layer in range(gqa_graph.LAYERS):
            for part in ("key", "value"):
                buffer = ort.OrtValue.ortvalue_from_shape_and_type(shape, np.float32)
                self.binding.bind_ortvalue_input(f"past_key_values.{layer}.{part}", buffer)
                self.binding.bind_ortvalue_output(f"present.{layer}.{part}", buffer)
        logits = ort.OrtValue.ortvalue_from_shape_and_type([rows, 1, gqa_graph.VOCAB], np.float32)
        self.binding.bind_ortvalue_output("logits", logits)
        self.logits = logits.numpy()  # a view

    def extend(self, ids: np.ndarray) -> np.ndarray:
        new = ids.shape[1]
        positions = np.arange(self.depth, self.depth + new, dtype=np.int64)
        self.depth += new
        self._feed("input_ids", ids)
        self._feed("position_ids", np.repeat(positions[None], self.count, 0))
        self._feed("seqlens_k", np.full(self.count, self.depth - 1, np.int32))
        self._feed("total_sequence_length", np.array(self.depth, np.int32))
        self.session.run_with_iobinding(self.binding)
        return self.logits[:, 0]

    def _feed(self, name: str, values: np.ndarray) -> None:
        bound = self.bound.get(name)
        if bound is not None and tuple(bound.shape()) == values.shape:
            bound.update_inplace(values)
            return
        self.bound[name] = ort.OrtValue.ortvalue_from_numpy(values)
        self.binding.bind_ortvalue_input(name, self.bound[name])


if __name__ == "__main__":
    decode_job.main(Runner, Path(__file__).name, {"onnxruntime": ort.__version__})
