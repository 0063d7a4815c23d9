"""Rotary positions of configs: what is read, what is computed, what is refused.

That the tables are Hugging Face's the goldens of the families show (test_family_goldens.py).
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from kvcache_export import rope
from kvcache_export.errors import ExportError
from kvcache_export.nodes.rotary import frequencies, tables
from kvcache_export.spec import Rotary, RotaryScaling

LLAMA3 = {
    **{"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    "original_max_position_embeddings": 8192,
}


def read(config: dict, head_dim: int = 8, positions: int = 64) -> Rotary:
    return rope.read(config, head_dim, positions)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, Rotary(8, 10000.0)),
        ({"rope_theta": 500.0}, Rotary(8, 500.0)),
        ({"rope_theta": 5.0, "rope_scaling": None}, Rotary(8, 5.0)),
        ({"rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}}, Rotary(8, 7.0)),
        ({"partial_rotary_factor": 0.5}, Rotary(4, 10000.0)),
        (
            {"rope_scaling": {"type": "linear", "factor": 4}},
            Rotary(8, 10000.0, scaling=RotaryScaling("linear", 4.0)),
        ),
        (
            {"rope_theta": 9.0, "rope_scaling": LLAMA3},
            Rotary(8, 9.0, scaling=RotaryScaling("llama3", 8.0, 8192, 1.0, 4.0)),
        ),
        (
            {"max_position_embeddings": 64, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
            Rotary(8, 10000.0),
        ),
    ],
)
def test_old_and_new_spellings(config: dict, expected: Rotary):
    assert read(config) == expected


def test_longrope_takes_the_divisors_of_the_texts_that_there_will_be():
    config = {
        "max_position_embeddings": 256,
        "original_max_position_embeddings": 64,
        "rope_scaling": {"type": "su", "short_factor": [1, 2, 3, 4], "long_factor": [5, 6, 7, 8]},
    }
    assert read(config, positions=64).scaling.divisors == (1, 2, 3, 4)
    long = read(config, positions=65).scaling
    assert long.divisors == (5, 6, 7, 8)
    assert long.magnitude == pytest.approx(math.sqrt(1 + math.log(4) / math.log(64)))


def test_llama3_keeps_fast_pairs_and_slows_slow_ones():
    rotary = Rotary(64, 500000.0, scaling=RotaryScaling("llama3", 8.0, 8192, 1.0, 4.0))
    usual, scaled = frequencies(Rotary(64, 500000.0)), frequencies(rotary)
    rounds = 8192 * usual / (2 * math.pi)
    np.testing.assert_array_equal(scaled[rounds > 4], usual[rounds > 4])
    np.testing.assert_allclose(scaled[rounds < 1], usual[rounds < 1] / 8)
    between = (rounds >= 1) & (rounds <= 4)
    assert between.any()
    assert (scaled[between] < usual[between]).all()
    assert (scaled[between] > usual[between] / 8).all()


def test_yarn_multiplies_what_has_turned():
    config = {
        "rope_scaling": {
            **{"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16},
        }
    }
    rotary = read(config)
    magnitude = 0.1 * math.log(4) + 1
    assert rotary.scaling.magnitude == pytest.approx(magnitude)
    found = tables(rotary, 3)
    np.testing.assert_allclose(found["cos"][0], np.float32(magnitude))
    np.testing.assert_allclose(found["cos"] ** 2 + found["sin"] ** 2, magnitude**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rope_theta": 0}, "rope_scaling.rope_theta must be a positive number, not 0"),
        ({"rope_scaling": [1]}, "rope_scaling must be an object or null, not [1]"),
        ({"rope_scaling": {"type": "ntk"}}, "unsupported rope_scaling.rope_type 'ntk'"),
        ({"partial_rotary_factor": 0.4}, "of 8 makes 3 elements, must be an even number"),
        ({"rope_scaling": {"type": "linear"}}, "rope_scaling.factor must be a positive number"),
        (
            {"rope_parameters": {**LLAMA3, "original_max_position_embeddings": 1.5}},
            "rope_parameters.original_max_position_embeddings must be a positive integer",
        ),
        (
            {"max_position_embeddings": 32, "rope_scaling": {"type": "dynamic", "factor": 2.0}},
            "changes all frequencies as a text grows beyond 32 tokens",
        ),
        (
            {"max_position_embeddings": 64, "rope_scaling": {"type": "longrope"}},
            "rope_scaling.short_factor must be a list, not None",
        ),
    ],
)
def test_refused_by_name(config: dict, message: str):
    with pytest.raises(ExportError) as error:
        read(config)
    assert message in str(error.value)
