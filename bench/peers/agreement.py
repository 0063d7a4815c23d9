"""How far the logits of a runtime are from kvcache's in float32, on the same text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

# Of the deviation of the logits. What computes another model is at 1.4 (two independent ones); what
# rounds weights of these types stays below these limits with the blocks that anyone uses.
LIMITS = {"float32": 0.01, "16-bit": 0.03, "int8": 0.1, "int4": 0.35}
# Of random weights in the shape of Llama 3.2 1B: its 16 layers carry the rounding on, so that
# llama.cpp's own Q4_0 is 0.56 from its F16 of the same file; half of another model's is the limit.
# That the files hold one model is what the 16-bit ones show, at their limit.
LIMITS_OF_RANDOM_1B = LIMITS | {"int4": 0.7}


@dataclass(frozen=True)
class Agreement:
    """Figures of [positions, vocabulary] logits beside the reference's."""

    rms_difference: float  # ÷ the reference's deviation
    largest_difference: float  # ÷ the largest logit
    kl_divergence: float  # from the reference, mean over positions, in nats
    top1: float  # share of positions with the same best token

    def holds(self, width: str, limits: Mapping[str, float] = LIMITS) -> bool:
        return self.rms_difference <= limits[width]

    def as_json(self) -> dict[str, float]:
        return asdict(self)


def compare(reference: np.ndarray, found: np.ndarray) -> Agreement:
    """Compares logits of the same shape; a ValueError where they are not of it or not finite."""
    if reference.shape != found.shape:
        raise ValueError(f"logits of {found.shape}, expected {reference.shape}")
    if not np.isfinite(found).all():
        raise ValueError("logits that are not finite")
    squares, largest, divergence = 0.0, 0.0, 0.0
    for expected, row in zip(reference, found, strict=True):  # in double precision, one at a time
        log_p, log_q = (
            _log_softmax(expected.astype(np.float64)),
            _log_softmax(row.astype(np.float64)),
        )
        difference = row.astype(np.float64) - expected
        squares += float(np.mean(difference**2)) / len(reference)
        largest = max(largest, float(np.abs(difference).max()))
        divergence += float(np.sum(np.exp(log_p) * (log_p - log_q))) / len(reference)
    return Agreement(
        rms_difference=float(np.sqrt(squares) / reference.std(dtype=np.float64)),
        largest_difference=float(largest / np.abs(reference).max()),
        kl_divergence=divergence,
        top1=float(np.mean(reference.argmax(-1) == found.argmax(-1))),
    )


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max()
    return shifted - np.log(np.exp(shifted).sum())
