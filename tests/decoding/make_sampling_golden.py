"""Write sampling_golden.json: what numpy makes of random logits by the rules of docs/SAMPLING.md.

Each rule is that of a class in transformers' generation/logits_process.py, on arrays in float64;
frequency and presence penalties, which transformers does not have, are those of OpenAI's API. The
logits are multiples of 1/64 within a few units, so that some are equal.

    python tests/decoding/make_sampling_golden.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("sampling_golden.json")
CASES = 60
SEED = 19
STEPS = 64  # logits are multiples of 1/STEPS

Logits = np.ndarray


def softmax(logits: Logits) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def penalize(logits: Logits, case: dict) -> Logits:
    """Biases and penalties, in float32."""
    logits = logits.astype(np.float32)
    for token, bias in case["logit_bias"]:
        logits[token] += np.float32(bias)
    seen = np.unique(np.array(case["prompt"] + case["generated"], dtype=np.int64))
    penalty = np.float32(case["repetition_penalty"])
    logits[seen] = np.where(logits[seen] < 0, logits[seen] * penalty, logits[seen] / penalty)
    times = np.bincount(np.array(case["generated"], dtype=np.int64), minlength=logits.size)
    logits -= np.float32(case["frequency_penalty"]) * times.astype(np.float32)
    logits -= np.float32(case["presence_penalty"]) * (times > 0).astype(np.float32)
    return logits.astype(np.float64)


def without(logits: Logits, removed: np.ndarray) -> Logits:
    return np.where(removed, -np.inf, logits)


def top_k(logits: Logits, k: int) -> Logits:
    """TopKLogitsWarper: what equals the k-th stays."""
    return without(logits, logits < np.sort(logits)[-min(k, logits.size)])


def top_p(logits: Logits, share: float) -> Logits:
    """TopPLogitsWarper, from the largest down: the mass before a token decides."""
    order = np.lexsort((np.arange(logits.size), -logits))
    probabilities = softmax(logits)[order]
    before = np.cumsum(probabilities) - probabilities
    removed = np.empty(logits.size, dtype=bool)
    removed[order] = before >= share
    removed[order[0]] = False
    return without(logits, removed)


def min_p(logits: Logits, share: float) -> Logits:
    """MinPLogitsWarper."""
    probabilities = softmax(logits)
    return without(logits, probabilities < share * probabilities.max())


def typical_p(logits: Logits, mass: float) -> Logits:
    """TypicalLogitsWarper."""
    probabilities = softmax(logits)
    information = np.full(logits.size, np.inf)
    kept = probabilities > 0
    information[kept] = -np.log(probabilities[kept])
    entropy = np.sum(probabilities[kept] * information[kept])
    shift = np.abs(information - entropy)
    order = np.argsort(shift, kind="stable")
    last = min(int(np.sum(np.cumsum(probabilities[order]) < mass)), logits.size - 1)
    return without(logits, shift > shift[order[last]])


def distribution(case: dict) -> np.ndarray:
    logits = penalize(np.array(case["logits"]) / STEPS, case) / case["temperature"]
    if case["top_k"] > 0:
        logits = top_k(logits, case["top_k"])
    if case["top_p"] < 1:
        logits = top_p(logits, case["top_p"])
    if case["min_p"] > 0:
        logits = min_p(logits, case["min_p"])
    if case["typical_p"] < 1:
        logits = typical_p(logits, case["typical_p"])
    return softmax(logits)


def random_case(random: np.random.Generator) -> dict:
    """A case; each option is there in some of them."""
    size = int(random.integers(2, 120))

    def sometimes(value: float, otherwise: float) -> float:
        return round(value, 3) if random.random() < 0.4 else otherwise

    def tokens(most: int) -> list[int]:
        return random.integers(0, size, random.integers(0, most)).tolist()

    biases = [
        [token, round(float(random.normal()), 2)] for token in sorted({*tokens(4)} - {size - 1})
    ]
    return {
        "logits": np.round(random.normal(size=size) * 3 * STEPS).astype(int).tolist(),
        "logit_bias": biases if random.random() < 0.4 else [],
        "prompt": tokens(20),
        "generated": tokens(30),
        "repetition_penalty": sometimes(random.uniform(0.7, 1.6), 1),
        "frequency_penalty": sometimes(random.uniform(-0.5, 1), 0),
        "presence_penalty": sometimes(random.uniform(-0.5, 1), 0),
        "temperature": sometimes(random.uniform(0.3, 2), 1),
        "top_k": int(sometimes(random.integers(1, size + 5), 0)),
        "top_p": sometimes(random.uniform(0.05, 1), 1),
        "min_p": sometimes(random.uniform(0, 0.4), 0),
        "typical_p": sometimes(random.uniform(0.1, 1), 1),
    }


def make() -> str:
    """The file's text, a case a line."""
    random = np.random.default_rng(SEED)
    cases = []
    for _ in range(CASES):
        case = random_case(random)
        probabilities = distribution(case)
        kept = np.flatnonzero(probabilities).tolist()
        case["kept"] = kept
        case["probabilities"] = [float(f"{probabilities[token]:.12g}") for token in kept]
        cases.append(json.dumps(case, separators=(",", ":")))
    return "[\n" + ",\n".join(cases) + "\n]\n"


if __name__ == "__main__":
    FILE.write_text(make())
