"""Decoder-only transformers on ONNX Runtime with an in-place key/value cache.

    import kvcache

    model = kvcache.Model.load("models")
    sequence = model.new_sequence()
    logits = sequence.extend([1, 2, 3])
    branch = sequence.fork()  # shares its cache blocks; nothing is copied
    tree = sequence.evaluate([5, 6], [-1, 0])  # many continuations, one run

Names, units and errors are those of the C++ library; docs/PYTHON.md is the page.
"""

import atexit

from . import _onnxruntime

_onnxruntime.load()

from . import _native  # noqa: E402 - it finds ONNX Runtime among what is loaded
from ._error import Error, ErrorCode  # noqa: E402
from ._native import (  # noqa: E402
    Answer,
    CacheStats,
    EvaluatedNodes,
    EvaluateRequest,
    Evaluator,
    EvaluatorClient,
    EvaluatorMetrics,
    ExtendRequest,
    Generated,
    Generation,
    Histogram,
    LayerGroupStats,
    Logits,
    Model,
    ModelInfo,
    MoveScores,
    NewToken,
    OutputInfo,
    Policy,
    PrefixCache,
    PrefixCacheStats,
    Request,
    ResultCacheStats,
    Sampler,
    SamplingOptions,
    ScoreRequest,
    Scores,
    Sequence,
    SharedModelInferencer,
    TextStream,
    Tokenizer,
    TokenLogProbabilities,
    TreeEvaluation,
    evaluate,
    extend,
    generate,
    generate_samples,
    onnxruntime_version,
    prometheus_text,
)
from ._native import version as __version__  # noqa: E402

# Their threads call back into the interpreter.
atexit.register(_native.close_evaluators)

__all__ = [
    "Answer",
    "CacheStats",
    "Error",
    "ErrorCode",
    "EvaluateRequest",
    "EvaluatedNodes",
    "Evaluator",
    "EvaluatorClient",
    "EvaluatorMetrics",
    "ExtendRequest",
    "Generated",
    "Generation",
    "Histogram",
    "LayerGroupStats",
    "Logits",
    "Model",
    "ModelInfo",
    "MoveScores",
    "NewToken",
    "OutputInfo",
    "Policy",
    "PrefixCache",
    "PrefixCacheStats",
    "Request",
    "ResultCacheStats",
    "Sampler",
    "SamplingOptions",
    "ScoreRequest",
    "Scores",
    "Sequence",
    "SharedModelInferencer",
    "TextStream",
    "TokenLogProbabilities",
    "Tokenizer",
    "TreeEvaluation",
    "__version__",
    "evaluate",
    "extend",
    "generate",
    "generate_samples",
    "onnxruntime_version",
    "prometheus_text",
]
