"""ONNX Runtime with its telemetry off; nothing else here imports it.

From version 1.29 on, official builds write a device id and an event database below the home
directory and look up a collector's host, from the moment their environment exists, which importing
them makes. A user who sets the variable to 0 has it on.
"""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

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


def session(model_file: os.PathLike[str]) -> ort.InferenceSession:
    """A session on the CPU that prints nothing: errors are raised, the rest is not for our user."""
    options = ort.SessionOptions()
    options.log_severity_level = LOG_FATAL
    return ort.InferenceSession(model_file, options, providers=["CPUExecutionProvider"])
