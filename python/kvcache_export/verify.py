"""Proof, before anything is published, that the written file computes what it should.

The file is run in plain ONNX Runtime on the CPU, the way any other program would run it.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from .errors import VerificationError
from .runtime import RUNTIME_ERRORS, ort, session
from .save import Progress
from .spec import DecoderSpec

BATCH = 2
TOKENS = 12
LOGITS = "logits"

# ONNX Runtime's names of element types, and ONNX's numbers.
CACHE_TYPES = {
    "tensor(float)": onnx.TensorProto.FLOAT,
    "tensor(float16)": onnx.TensorProto.FLOAT16,
    "tensor(bfloat16)": onnx.TensorProto.BFLOAT16,
    "tensor(int8)": onnx.TensorProto.INT8,
}

# How ONNX Runtime says that memory is lacking, among other failures of a run.
NO_MEMORY = ("bad_alloc", "bad allocation", "Failed to allocate memory")

# Largest difference allowed between cached and uncached logits, as a share of the largest logit.
# Sums in another order differ in the last places; a wrong cache gives other logits altogether.
TOLERANCE = {"float32": 1e-4, "float16": 2e-2}

# The same where keys and values are narrower than float32: that difference may lie on a boundary of
# their rounding and move one by a whole step.
CACHE_TOLERANCE = {"float16": 2**-10, "bfloat16": 2**-7, "int8": 2**-6}


@dataclass(frozen=True)
class Agreement:
    max_abs_diff: float
    max_abs_logit: float


def check_graph(model_file: Path) -> None:
    """onnx's own checker, shape inference included."""
    try:
        onnx.checker.check_model(str(model_file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise VerificationError(f"the written graph is not valid ONNX: {error}") from error


def compare_cached(
    model_file: Path,
    spec: DecoderSpec,
    dtype: str,
    cache_dtype: str | None = None,
    progress: Progress = lambda step, done=0, total=0: None,
) -> Agreement:
    """Runs the same tokens at once and in steps over the cache, of `cache_dtype` where given.

    The steps meet past lengths of 0, 1 and more, and batches of 1 and 2. Outputs beside the logits
    are compared, too. Raises VerificationError where any differ by more than TOLERANCE (or
    CACHE_TOLERANCE), are not finite, or can't be had.
    """
    tolerance = CACHE_TOLERANCE[cache_dtype] if cache_dtype else TOLERANCE[dtype]
    tokens = min(TOKENS, spec.max_seq_len)
    ids = np.random.default_rng(0).integers(spec.vocab_size, size=(BATCH, tokens))
    splits = {1: [1] * tokens, BATCH: [1] * tokens}
    if tokens > 2:
        splits = {1: [1, 1, tokens - 2], BATCH: [tokens - 1, 1]}
    runs, run = 1 + sum(map(len, splits.values())), itertools.count(1)

    def say_run() -> None:
        this = next(run)
        progress(f"comparing cached with uncached logits, run {this} of {runs}", this - 1, runs)

    runner = Runner(model_file, say_run)
    uncached = runner.run(ids, [tokens])
    cached = [(batch, runner.run(ids[:batch], of)) for batch, of in splits.items()]
    differences = {}
    for name, expected in uncached.items():
        found = [np.abs(each[name] - expected[:batch]).max() for batch, each in cached]
        differences[name] = difference = float(np.max(found))
        largest = float(np.abs(expected).max())
        # A value is near 0 where neither side is ahead; its scale is that of what it tells, 1.
        scale = largest if name == LOGITS else max(largest, 1.0)
        if not difference <= tolerance * scale:  # also where it is NaN
            raise VerificationError(
                f"cached and uncached {name} differ by {difference:.2g} (largest {largest:.3g},"
                f" tolerance {tolerance:.0e} of {'it' if scale == largest else scale})"
            )
    return Agreement(differences[LOGITS], float(np.abs(uncached[LOGITS]).max()))


@contextlib.contextmanager
def _runtime_errors() -> Iterator[None]:
    try:
        yield
    except RUNTIME_ERRORS as error:
        if any(part in str(error) for part in NO_MEMORY):
            raise MemoryError(str(error)) from error
        raise VerificationError(f"ONNX Runtime fails on the written model: {error}") from error


class Runner:
    """The model in ONNX Runtime, with a growing cache; `before_run` is called before each run.

    Raises VerificationError where ONNX Runtime fails, or an output is not finite.
    """

    @_runtime_errors()
    def __init__(self, model_file: Path, before_run: Callable[[], None] = lambda: None):
        self.before_run = before_run
        self.session = session(model_file)
        names = [output.name for output in self.session.get_outputs()]
        self.results = [name for name in names if not name.startswith("present_")]
        self.presents = [name for name in names if name.startswith("present_")]
        self.pasts = [
            value for value in self.session.get_inputs() if value.name.startswith("past_")
        ]

    def logits(self, ids: np.ndarray, split: list[int]) -> np.ndarray:
        """float32 logits [batch, tokens, vocab] of ids [batch, tokens], fed in steps of `split`."""
        return self.run(ids, split)[LOGITS]

    @_runtime_errors()
    def run(self, ids: np.ndarray, split: list[int]) -> dict[str, np.ndarray]:
        """The same of all outputs beside keys and values, by their names."""
        batch = ids.shape[0]
        # As ONNX Runtime's own values, because NumPy has no bfloat16.
        past = {
            value.name: ort.OrtValue.ortvalue_from_shape_and_type(
                [batch, value.shape[1], 0, value.shape[3]], CACHE_TYPES[value.type]
            )
            for value in self.pasts
        }
        steps = []
        start = 0
        for size in split:
            positions = np.broadcast_to(np.arange(start, start + size), (batch, size))
            feeds = {
                "input_ids": ort.OrtValue.ortvalue_from_numpy(ids[:, start : start + size].copy()),
                "position_ids": ort.OrtValue.ortvalue_from_numpy(positions.copy()),
                **past,
            }
            self.before_run()
            found = self.session.run_with_ort_values([*self.results, *self.presents], feeds)
            past = dict(zip(past, found[len(self.results) :], strict=True))
            steps.append([found[i].numpy().astype(np.float32) for i in range(len(self.results))])
            start += size
        computed = [np.concatenate(parts, axis=1) for parts in zip(*steps, strict=True)]
        for name, values in zip(self.results, computed, strict=True):
            if not np.isfinite(values).all():
                raise VerificationError(f"the written model computes {name} that are NaN or Inf")
        return dict(zip(self.results, computed, strict=True))
