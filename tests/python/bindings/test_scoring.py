"""Scores of continuations, through trees over shared prefixes."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import kvcache
from kvcache.scoring import log_likelihoods

GOLDENS = Path(__file__).parents[2] / "goldens" / "plain"
TOLERANCE = 1e-4  # that of issue 21, against Hugging Face; of a sum of natural logarithms


def one_by_one(model: kvcache.Model, context: list[int], text: list[int]) -> tuple[float, bool]:
    whole = [*context, *text][-(model.info.max_seq_len + 1) :]
    logits = model.forward_without_cache(whole[:-1], "all").to_numpy().astype(np.float64)
    logits = logits[len(whole) - 1 - len(text) :]
    found = logits[np.arange(len(text)), text] - np.log(np.exp(logits).sum(1))
    return float(found.sum()), bool((logits.argmax(1) == text).all())


def test_equal_to_hugging_face(model: kvcache.Model) -> None:
    ids = json.loads((GOLDENS / "golden.json").read_text())["ids"]
    logits = np.load(GOLDENS / "logits.npy").astype(np.float64)  # Hugging Face's, after each token
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    requests = [(ids[:begin], ids[begin:end]) for begin in (1, 7, 23) for end in (9, 20, 24)]
    requests = [request for request in requests if request[1]]
    for (context, text), (score, _) in zip(requests, log_likelihoods(model, requests), strict=True):
        rows = np.arange(len(context) - 1, len(context) - 1 + len(text))
        assert score == pytest.approx(log_p[rows, text].sum(), abs=TOLERANCE)


def test_random_requests_equal_each_alone(model: kvcache.Model) -> None:
    """With shared and equal contexts and texts, and ones that are cut to the model's positions."""
    chance = random.Random(21)

    def tokens(most: int) -> list[int]:
        return [chance.randrange(97) for _ in range(chance.randint(1, most))]

    contexts = [tokens(40) for _ in range(6)]
    contexts += [contexts[0] + tokens(10), contexts[1][:3] + tokens(9), tokens(90), contexts[2][:]]
    requests = [(chance.choice(contexts), tokens(chance.choice([1, 4, 60]))) for _ in range(80)]
    requests += [(context, [*text[:1], 5]) for context, text in requests[:9]] + requests[:5]
    found = log_likelihoods(model, requests)
    for request, (score, greedy) in zip(requests, found, strict=True):
        expected, is_greedy = one_by_one(model, *request)
        assert score == pytest.approx(expected, abs=TOLERANCE)
        assert greedy == is_greedy
    assert model.cache_stats().blocks_in_use == 0


def test_greedy_texts_are_told(model: kvcache.Model) -> None:
    golden = json.loads((GOLDENS / "golden.json").read_text())
    prompt, greedy = golden["prompt"], golden["greedy"]
    requests = [(prompt, greedy), (prompt, greedy[:1]), (prompt, [*greedy[:3], 0])]
    assert [is_greedy for _, is_greedy in log_likelihoods(model, requests)] == [True, True, False]


def test_what_contexts_share_is_computed_once(model_dir: Path) -> None:
    model = kvcache.Model.load(model_dir)
    begin = list(range(40))
    log_likelihoods(model, [(begin, [i, 1, 2]) for i in range(20)])
    runs = model.cache_stats().in_place_runs / model.info.num_layers
    assert runs == 2  # the context, and one tree


def test_wrong_requests_are_told(model: kvcache.Model, fails) -> None:
    assert log_likelihoods(model, []) == []
    for wrong in ([([], [1])], [([1], [])]):
        with pytest.raises(ValueError, match="request 0 has no token"):
            log_likelihoods(model, wrong)
    with pytest.raises(ValueError, match="the continuation of request 1 has 65 tokens"):
        log_likelihoods(model, [([1], [1]), ([1], [1] * 65)])
    fails("token_out_of_range", log_likelihoods, model, [([1], [97])])
