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
import threading

from . import _onnxruntime

_onnxruntime.load()

from . import _native  # noqa: E402 - it finds ONNX Runtime among what is loaded
from ._error import Error, ErrorCode  # noqa: E402
from ._interfaces import Constraint, Drafter  # noqa: E402
from ._native import (  # noqa: E402
    Answer,
    Beam,
    CacheStats,
    ChatTemplate,
    DraftModel,
    EvaluatedNodes,
    EvaluateRequest,
    Evaluator,
    EvaluatorClient,
    EvaluatorMetrics,
    ExtendRequest,
    Generated,
    Generation,
    GrammarCompiler,
    Histogram,
    LayerGroupStats,
    Logits,
    Model,
    ModelInfo,
    MoveScores,
    NewToken,
    OutputInfo,
    Policy,
    PolicyQuestion,
    PrefixCache,
    PrefixCacheStats,
    PromptLookup,
    Request,
    ResultCacheStats,
    Sampler,
    SamplingOptions,
    ScoreRequest,
    Scores,
    Sequence,
    SharedModelInferencer,
    SpeculationStats,
    TextStream,
    TokenBytes,
    Tokenizer,
    TokenLogProbabilities,
    TokenMask,
    TreeEvaluation,
    WindowedSequence,
    WindowOptions,
    allowed_part,
    beam_search,
    evaluate,
    extend,
    generate,
    generate_samples,
    one_of,
    onnxruntime_version,
    prometheus_text,
    tree_masks,
)
from ._native import version as __version__  # noqa: E402


def _expect_leaks() -> None:
    """What daemon threads hold when the interpreter ends is never let go of, by no one's fault."""
    if threading.active_count() > 1:  # the other threads have ended
        _native.set_leak_warnings(False)


# Their threads call back into the interpreter.
atexit.register(_native.close_evaluators)
atexit.register(_native.end_generations)
atexit.register(_expect_leaks)  # first, as the last one registered

__all__ = [
    "Answer",
    "Beam",
    "CacheStats",
    "ChatTemplate",
    "Constraint",
    "DraftModel",
    "Drafter",
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
    "GrammarCompiler",
    "Histogram",
    "LayerGroupStats",
    "Logits",
    "Model",
    "ModelInfo",
    "MoveScores",
    "NewToken",
    "OutputInfo",
    "Policy",
    "PolicyQuestion",
    "PrefixCache",
    "PrefixCacheStats",
    "PromptLookup",
    "Request",
    "ResultCacheStats",
    "Sampler",
    "SamplingOptions",
    "ScoreRequest",
    "Scores",
    "Sequence",
    "SharedModelInferencer",
    "SpeculationStats",
    "TextStream",
    "TokenBytes",
    "TokenLogProbabilities",
    "TokenMask",
    "Tokenizer",
    "TreeEvaluation",
    "WindowOptions",
    "WindowedSequence",
    "__version__",
    "allowed_part",
    "beam_search",
    "evaluate",
    "extend",
    "generate",
    "generate_samples",
    "one_of",
    "onnxruntime_version",
    "prometheus_text",
    "tree_masks",
]
