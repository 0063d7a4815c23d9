"""Loading: options, errors, messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import kvcache


def test_what_a_model_says_of_itself(model: kvcache.Model) -> None:
    info = model.info
    assert (info.model_type, info.num_layers, info.vocab_size, info.max_seq_len) == (
        "gpt2",
        2,
        97,
        64,
    )
    assert (info.dtype, info.cache_dtype, model.device) == ("float32", "float32", "cpu")
    assert info.cache_bytes_per_token == 2 * 2 * info.num_kv_heads * info.head_dim * 4
    assert model.device_report().startswith("cpu: ")
    assert kvcache.onnxruntime_version in model.device_report()
    assert model.invariant_results
    assert "gpt2" in repr(model) and "gpt2" in repr(info)


def test_options(model_dir: Path, fails) -> None:
    load = kvcache.Model.load
    model = load(
        str(model_dir),
        num_threads=1,
        require_device="cpu",
        block_len=4,
        cache_bytes=1 << 20,
        weight_memory="copied",
        verify_digests=False,
        fuse_steps=False,
        invariant_results=True,
    )
    assert (model.num_threads, model.cache_stats().block_len) == (1, 4)
    assert model.move_weights()
    fails("device_unavailable", load, model_dir, require_device="cuda")
    assert 'must be one of "cpu", "cuda"' in str(
        fails("invalid_argument", load, model_dir, require_device="tpu")
    )
    fails("invalid_argument", load, model_dir, weight_memory="somewhere")
    fails("model_not_found", load, "/missing")
    for wrong in ({"num_threads": 1.5}, {"block_len": -1}, {"log": 3}, {"threads": 1}):
        with pytest.raises(TypeError):
            load(model_dir, **wrong)  # type: ignore[arg-type]


def test_the_cache_is_bounded(model_dir: Path, fails) -> None:
    model = kvcache.Model.load(model_dir, cache_bytes=1 << 16, block_len=4)
    held = []
    error = fails(
        "cache_full",
        lambda: [held.append(model.new_sequence()) or held[-1].extend([1] * 60) for _ in range(99)],
    )
    assert "budget" in str(error)
    for sequence in held:
        sequence.close()
    model.trim_cache()
    stats = model.cache_stats()
    assert (stats.blocks_in_use, stats.bytes_allocated, stats.bytes_in_use) == (0, 0, 0)
    model.reserve_cache(8)
    assert model.cache_stats().blocks_free == 2
    fails("cache_full", model.reserve_cache, 1 << 40)


def test_without_a_cache(model: kvcache.Model) -> None:
    all_at_once = model.forward_without_cache([1, 2, 3], "all").to_numpy()
    np.testing.assert_array_equal(all_at_once, model.new_sequence().extend([1, 2, 3], "all"))


def test_a_log_that_raises_is_unraisable(model_dir: Path, tmp_path: Path, unraisable) -> None:
    """ONNX Runtime warns of a profile that was asked for twice, or of nothing: both are fine."""
    messages: list[str] = []

    def log(message: str) -> None:
        messages.append(message)
        raise ZeroDivisionError

    model = kvcache.Model.load(model_dir, log=log, profile_prefix=tmp_path / "profile")
    model.new_sequence().extend([1])
    assert model.end_profile().exists()
    assert [type(raised) for raised in unraisable] == [ZeroDivisionError] * len(messages)


def test_no_profile(model: kvcache.Model, fails) -> None:
    fails("invalid_argument", model.end_profile)
