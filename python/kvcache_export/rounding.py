"""What narrower weights, keys and values cost: logits compared with those of float32 ones."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .errors import ExportError
from .json_file import shown
from .spec import DecoderSpec

RANDOM_TOKENS = 512
LONGEST_TEXT = 256  # tokens of a row


@dataclass(frozen=True)
class RoundingCost:
    """Over all positions of the texts compared."""

    tokens: int
    max_abs_logit_diff: float
    mean_abs_logit_diff: float
    max_abs_logit: float  # of the float32 model, to see the differences against
    mean_kl_divergence: float  # nats, of the rounded model's distribution from the float32 one's
    top1_agreement: float  # share of positions whose best token is the same

    def __str__(self) -> str:
        return (
            f"top-1 agreement {100 * self.top1_agreement:.2f} % of {self.tokens} tokens,"
            f" KL divergence {self.mean_kl_divergence:.2e}, logits differ by at most"
            f" {self.max_abs_logit_diff:.1e}, {self.mean_abs_logit_diff:.1e} on average (largest"
            f" {self.max_abs_logit:.1f})"
        )


@dataclass(frozen=True)
class RoundingCosts:
    """Of each kind of rounding that a model has."""

    weights: RoundingCost | None
    cache: RoundingCost | None


def token_ids(
    spec: DecoderSpec, given: Sequence[int] | None, option: str = "--rounding-ids"
) -> np.ndarray:
    """Rows of token ids [rows, tokens]: those of `given`, of the `option`, else random ones.

    Raises ExportError where one is not below the vocabulary's size, or none is given.
    """
    longest = min(LONGEST_TEXT, spec.max_seq_len)
    if given is None:
        rows = max(1, RANDOM_TOKENS // longest)
        return np.random.default_rng(1).integers(spec.vocab_size, size=(rows, longest))
    if not given:
        raise ExportError(f"{option} holds no token id; at least one is needed")
    for position, token in enumerate(given):
        if not 0 <= token < spec.vocab_size:
            raise ExportError(
                f"{option}: token {position} is {shown(token)}, must be in [0,"
                f" {spec.vocab_size}), the model's vocabulary"
            )
    length = min(longest, len(given))
    rows = len(given) // length
    return np.array(given[: rows * length], np.int64).reshape(rows, length)


def cost(found: np.ndarray, expected: np.ndarray) -> RoundingCost:
    """Logits [rows, tokens, vocab] of the rounded model and of the float32 one, compared."""
    vocabulary = expected.shape[-1]
    positions = [
        _at_position(*pair)
        for pair in zip(
            found.reshape(-1, vocabulary), expected.reshape(-1, vocabulary), strict=True
        )
    ]
    largest, mean, logit, divergence, same = np.array(positions).T
    return RoundingCost(
        tokens=len(positions),
        max_abs_logit_diff=float(largest.max()),
        mean_abs_logit_diff=float(mean.mean()),
        max_abs_logit=float(logit.max()),
        mean_kl_divergence=float(divergence.mean()),
        top1_agreement=float(same.mean()),
    )


def _at_position(found: np.ndarray, expected: np.ndarray) -> tuple[float, ...]:
    """One position's share of it: all of a large vocabulary's in float64 would be gigabytes."""
    difference = np.abs(found.astype(np.float64) - expected)
    rounded, reference = _log_probabilities(found), _log_probabilities(expected)
    return (
        difference.max(),
        difference.mean(),
        np.abs(expected).max(),
        (np.exp(reference) * (reference - rounded)).sum(),
        found.argmax() == expected.argmax(),
    )


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    shifted = logits.astype(np.float64) - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
