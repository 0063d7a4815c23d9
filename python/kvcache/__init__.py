"""Decoder-only transformers on ONNX Runtime with an in-place key/value cache.

    import kvcache

    model = kvcache.Model.load("models")
    sequence = model.new_sequence()
    logits = sequence.extend([1, 2, 3])
    branch = sequence.fork()  # shares its cache blocks; nothing is copied
    tree = sequence.evaluate([5, 6], [-1, 0])  # many continuations, one run

Names, units and errors are those of the C++ library; docs/PYTHON.md is the page.
"""

from . import _onnxruntime

_onnxruntime.load()

from ._error import Error, ErrorCode
from ._native import (
    CacheStats,
    LayerGroupStats,
    Logits,
    Model,
    ModelInfo,
    OutputInfo,
    Sequence,
    TreeEvaluation,
    evaluate,
    extend,
)

__all__ = [
    "CacheStats",
    "Error",
    "ErrorCode",
    "LayerGroupStats",
    "Logits",
    "Model",
    "ModelInfo",
    "OutputInfo",
    "Sequence",
    "TreeEvaluation",
    "evaluate",
    "extend",
]
