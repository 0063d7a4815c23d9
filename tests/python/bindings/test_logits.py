"""Logits as arrays: views without a copy, which keep what they show."""

from __future__ import annotations

import gc
import os
from pathlib import Path

import numpy as np
import pytest

import kvcache

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))


@pytest.fixture
def logits(model: kvcache.Model) -> kvcache.Logits:
    return model.new_sequence().extend([1, 2, 3], "all")


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_arrays_are_views_of_one_memory(logits: kvcache.Logits) -> None:
    rows = logits.to_numpy()
    assert (rows.shape, rows.dtype) == ((3, 97), np.float32)
    assert logits.shape == (len(logits), logits.vocab_size) == (3, 97)
    assert address(np.asarray(logits)) == address(rows) == address(logits.row(0))
    assert address(np.from_dlpack(logits)) == address(rows)
    assert address(logits.row()) == address(rows[2]) == address(logits.row(2))
    assert logits.__dlpack_device__() == (1, 0) and logits.on_host


def test_views_cannot_be_written_to(logits: kvcache.Logits) -> None:
    for view in (logits.to_numpy(), logits.row(), np.asarray(logits), np.from_dlpack(logits)):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0


def test_a_view_keeps_the_memory_of_the_run(model: kvcache.Model) -> None:
    sequence = model.new_sequence()
    view = sequence.extend([1, 2, 3]).to_numpy()
    expected = view.copy()
    gc.collect()
    for token in range(20):  # a workspace that was given back would be used again
        sequence.extend([token])
    np.testing.assert_array_equal(view, expected)


def test_copies_are_made_when_asked_for(logits: kvcache.Logits) -> None:
    copy = np.array(logits)
    assert address(copy) != address(logits.to_numpy()) and copy.flags.writeable
    assert np.asarray(logits, dtype=np.float64).dtype == np.float64
    with pytest.raises(ValueError, match=r"copy"):
        np.asarray(logits, dtype=np.float64, copy=False)


def test_figures_are_those_of_the_array(logits: kvcache.Logits) -> None:
    rows = logits.to_numpy().astype(np.float64)
    for row in (-3, -1, 0, 2):
        of = rows[row]
        assert logits.argmax(row) == of.argmax()
        total = np.log(np.exp(of).sum())
        assert logits.log_sum_exp(row) == pytest.approx(total, rel=1e-6)
        best = logits.top_k(4, row)
        assert [token for token, _ in best] == np.argsort(-of)[:4].tolist()
        found = logits.log_probabilities([5, 6], row)
        np.testing.assert_allclose(found, of[[5, 6]] - total, rtol=1e-5)
    assert len(logits.top_k(10**9)) == 97


def test_log_probabilities_of_many_rows_are_those_of_each(logits: kvcache.Logits) -> None:
    rows = [2, 0, -1, 1, 0]
    tokens = [5, 6, 0, 96, 5]
    found = logits.log_probabilities(tokens, rows)
    expected = [
        logits.log_probabilities([token], row)[0] for token, row in zip(tokens, rows, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    np.testing.assert_array_equal(logits.log_probabilities(tokens, np.array(rows)), found)
    assert logits.log_probabilities([], []).shape == (0,)


def test_wrong_rows_and_names_are_told(logits: kvcache.Logits, fails) -> None:
    for row in (3, -4, 1 << 62):
        message = f"row {row} was asked for, there are 3: 0 to 2, or -1 for the last"
        assert str(fails("invalid_argument", logits.row, row)) == message
        fails("invalid_argument", logits.argmax, row)
    assert "it has none" in str(fails("invalid_argument", logits.output, "value"))
    fails("invalid_argument", logits.log_sum_exp, -1, 0.0)
    fails("token_out_of_range", logits.log_probabilities, [97])
    fails("invalid_argument", logits.log_probabilities, [1, 2], [0, 3])
    message = "3 rows were given for 2 tokens; give one for all of them, or one for each"
    assert str(fails("invalid_argument", logits.log_probabilities, [1, 2], [0, 1, 2])) == message
    with pytest.raises(TypeError):
        logits.log_probabilities([1], 0.5)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        logits.row(1.5)  # type: ignore[arg-type]


def test_other_outputs(value_model: kvcache.Model) -> None:
    logits = value_model.new_sequence().extend([1, 2])
    (output,) = value_model.info.outputs
    assert (output.name, output.size) == ("value", 1)
    assert logits.output("value").shape == (1,)


def test_of_a_model_of_16_bits() -> None:
    """DLPack has the run's memory as it is; numpy gets float32."""
    model = kvcache.Model.load(MODELS.with_name("goldens-float16") / "plain")
    logits = model.new_sequence().extend([1, 2, 3], "all")
    rows, memory = logits.to_numpy(), np.from_dlpack(logits)
    assert (rows.dtype, memory.dtype) == (np.float32, np.float16)
    assert rows.shape == memory.shape == (3, 97)
    np.testing.assert_array_equal(rows, memory.astype(np.float32))
    np.testing.assert_array_equal(rows[1], logits.row(1))
    expected = memory.copy()
    del logits
    gc.collect()
    sequence = model.new_sequence()
    for token in range(20):
        sequence.extend([token])
    np.testing.assert_array_equal(memory, expected)
