"""ONNX Runtime with its telemetry off; nothing else here imports it.

From version 1.29 on, official builds write a device id and an event database below the home
directory and look up a collector's host, from the moment their environment exists, which importing
them makes. A user who sets the variable to 0 has it on.
"""

import os
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import numpy as np
import onnx
import onnx.external_data_helper
import onnx.helper
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

# onnxruntime's exceptions have no base class of their own.
RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)

LOG_FATAL = 4


def session(model_file: Path) -> ort.InferenceSession:
    """A session on the CPU that prints nothing: errors are raised, the rest is not for our user.

    Weights beside the graph stay in their file, which is mapped, and each node unpacks its own when
    its turn comes: with ONNX Runtime's optimisations they would be in memory five times over.
    """
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.execution_order = ort.ExecutionOrder.PRIORITY_BASED  # not all that unpacks at first
    options.enable_cpu_mem_arena = False
    options.enable_mem_pattern = False
    # A place for each value to be used again is looked for among all that are free: with our nodes
    # inlined, sixteen thousand small ones, that took ten times as long as all else of a start.
    options.enable_mem_reuse = False
    options.add_session_config_entry("session.disable_prepacking", "1")
    mapped = _mapped_weights(model_file)
    for name, value in mapped.items():
        options.add_initializer(name, value)
    made = ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
    made.mapped_weights = mapped  # it reads them as long as it lives
    return made


def _mapped_weights(model_file: Path) -> dict[str, ort.OrtValue]:
    """The initializers that a graph has in other files."""
    found = {}
    for tensor in onnx.load(model_file, load_external_data=False).graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            place = onnx.external_data_helper.ExternalDataInfo(tensor)
            dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
            values = np.memmap(
                model_file.parent / place.location,
                np.dtype(f"u{dtype.itemsize}"),  # whose bits alone count: NumPy has no bfloat16
                "r",
                place.offset or 0,
                tuple(tensor.dims),
            )
            found[tensor.name] = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
                values, tensor.data_type
            )
    return found
