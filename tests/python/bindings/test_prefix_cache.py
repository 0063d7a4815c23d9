"""Prefixes that were computed before."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import kvcache


def test_what_is_known_is_handed_out(model_dir: Path, fails) -> None:
    model = kvcache.Model.load(model_dir, block_len=4)
    cache = kvcache.PrefixCache(model, max_bytes=1 << 20)
    sequence = model.new_sequence()
    sequence.extend(range(10))
    cache.insert(sequence)
    sequence.close()
    assert cache.longest_match(range(20)) == 8
    known = cache.acquire(np.arange(9))
    assert known.tokens.tolist() == list(range(8))
    np.testing.assert_array_equal(
        known.extend([8]).row(), model.new_sequence().extend(range(9)).row()
    )
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.tokens_reused, stats.blocks) == (1, 0, 8, 2)
    del model
    cache.clear()
    assert cache.acquire([1]).length == 0
    fails("empty_input", cache.acquire, [])
    fails("token_out_of_range", cache.longest_match, [-1])


def test_of_another_model(model: kvcache.Model, value_model: kvcache.Model, fails) -> None:
    fails("invalid_argument", kvcache.PrefixCache(model).insert, value_model.new_sequence())
