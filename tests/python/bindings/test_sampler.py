"""Tokens that are drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest

import kvcache

LOGITS = np.log(np.array([0.5, 0.25, 0.125, 0.125], dtype=np.float32))


def test_the_largest_at_temperature_0(model: kvcache.Model) -> None:
    logits = model.new_sequence().extend([1, 2, 3], "all")
    sampler = kvcache.Sampler(kvcache.SamplingOptions(temperature=0))
    for row in (0, 1, -1):
        assert sampler.sample(logits, row) == logits.argmax(row)
        assert sampler.sample(logits.row(row)) == logits.argmax(row)


def test_a_seed_and_a_position_decide() -> None:
    options = kvcache.SamplingOptions(seed=7, temperature=0.9)
    first, second = kvcache.Sampler(options), kvcache.Sampler(options)
    drawn = [first.sample(LOGITS, position=i, sample=3) for i in range(50)]
    assert drawn == [second.sample(LOGITS, position=i, sample=3) for i in range(50)]
    assert len(set(drawn)) == 4
    assert first.options.seed == 7


def test_the_distribution() -> None:
    sampler = kvcache.Sampler(kvcache.SamplingOptions(top_k=2, logit_bias={1: math.log(4)}))
    (first, p), (second, q) = sampler.distribution(LOGITS)
    assert (first, second) == (1, 0)
    assert (p, q) == pytest.approx((2 / 3, 1 / 3), rel=1e-6)
    penalised = kvcache.Sampler(kvcache.SamplingOptions(presence_penalty=50))
    assert penalised.distribution(LOGITS, generated=[0])[-1][0] == 0


def test_wrong_input_is_told(model: kvcache.Model, fails) -> None:
    for option in ({"temperature": -1}, {"top_p": 2}, {"repetition_penalty": 0}):
        error = fails("invalid_argument", kvcache.Sampler, kvcache.SamplingOptions(**option))
        assert next(iter(option)) in str(error)
    sampler = kvcache.Sampler()
    fails("logits_invalid", sampler.sample, np.array([math.nan], dtype=np.float32))
    penalised = kvcache.Sampler(kvcache.SamplingOptions(repetition_penalty=2))
    fails("token_out_of_range", penalised.sample, LOGITS, prompt=[4])
    fails("invalid_argument", sampler.sample, np.zeros(0, dtype=np.float32))
    logits = model.new_sequence().extend([1])
    for row in (1, -2):
        fails("invalid_argument", sampler.sample, logits, row)
    for wrong in (LOGITS.astype(np.float64), LOGITS.reshape(2, 2), LOGITS[::2], [0.5]):
        with pytest.raises(TypeError):
            sampler.sample(wrong)  # type: ignore[call-overload]
