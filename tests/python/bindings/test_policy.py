"""Policy and value over a game's record."""

from __future__ import annotations

import numpy as np
import pytest

import kvcache

MOVES = [[5], [6, 7], [6, 8]]


@pytest.fixture(scope="module")
def inferencer(value_model: kvcache.Model) -> kvcache.SharedModelInferencer:
    return kvcache.SharedModelInferencer(value_model)


def test_scores_are_sums_over_the_moves_tokens(inferencer: kvcache.SharedModelInferencer) -> None:
    policy = kvcache.Policy(inferencer, [1, 2])
    scores = policy.evaluate(MOVES)
    for move, found in zip(MOVES, scores.log_probabilities, strict=True):
        sequence = inferencer.model.new_sequence()
        logits = sequence.extend([1, 2])
        expected = 0.0
        for token in move:
            expected += logits.log_probabilities([token])[0]
            logits = sequence.extend([token])
        assert found == pytest.approx(expected, rel=1e-5)
    assert scores.priors.sum() == pytest.approx(1, rel=1e-6)
    assert inferencer.has_value and scores.value is not None
    (value,) = inferencer.value_inference([[1, 2]])
    assert scores.value == pytest.approx(value, rel=1e-5)
    assert policy.evaluate(MOVES, with_value=False).value is None


def test_a_record_is_played_taken_back_and_forked(
    inferencer: kvcache.SharedModelInferencer,
) -> None:
    policy = kvcache.Policy(inferencer, [1, 2])
    before = policy.evaluate(MOVES).log_probabilities.copy()
    fork = policy.fork()
    policy.play([5])
    assert policy.record.tolist() == [1, 2, 5] and fork.record.tolist() == [1, 2]
    policy.evaluate(MOVES)
    assert policy.computed == 3
    policy.take_back(2)
    np.testing.assert_allclose(policy.evaluate(MOVES).log_probabilities, before, rtol=1e-5)


def test_wrong_input_is_told(inferencer: kvcache.SharedModelInferencer, model, fails) -> None:
    policy = kvcache.Policy(inferencer, [1, 2])
    fails("empty_input", policy.evaluate, [[]])
    fails("token_out_of_range", policy.evaluate, [[inferencer.model.info.vocab_size]])
    fails("invalid_argument", policy.take_back, 0)
    fails("empty_input", policy.play, [])
    fails("empty_input", kvcache.Policy, inferencer, [])
    assert policy.record.tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"moves\[1\]\[0\] must be a whole number, not str"):
        policy.evaluate([[1], ["a"]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="moves must be a sequence of token lists, not int"):
        policy.evaluate(3)  # type: ignore[arg-type]
    without_value = kvcache.SharedModelInferencer(model, cache_mode="off")
    assert not without_value.has_value and without_value.prefix_stats().hits == 0
    fails("invalid_argument", without_value.value_inference, [[1]])
    fails("invalid_argument", kvcache.SharedModelInferencer, model, cache_mode="maybe")
