"""Sequences: extended, forked, rewound, saved; results are the goldens'."""

from __future__ import annotations

import gc
import json
import re
import warnings
from pathlib import Path

import numpy as np
import pytest

import kvcache

GOLDEN = Path(__file__).parents[2] / "goldens" / "plain"
TOLERANCE = 1e-5  # of the largest logit, as tests/python/test_goldens.py


def test_the_command_of_the_issue(model_dir: Path) -> None:
    m = kvcache.Model.load(model_dir)
    s = m.new_sequence()
    l = s.extend([1, 2, 3])  # noqa: E741
    f = s.fork()
    s.rewind(2)
    s.evaluate([5, 6], [-1, 0])
    assert l.argmax() == int(np.argmax(l.row()))
    assert (f.length, s.length) == (3, 2)


def test_logits_are_those_of_hugging_face(sequence: kvcache.Sequence) -> None:
    golden = json.loads((GOLDEN / "golden.json").read_text())
    expected = np.load(GOLDEN / "logits.npy")
    logits = sequence.extend(golden["ids"], "all").to_numpy()
    assert logits.shape == expected.shape
    assert np.abs(logits - expected).max() < TOLERANCE * np.abs(expected).max()
    sequence.reset()
    tokens, greedy = golden["prompt"], []
    for _ in golden["greedy"]:
        tokens = [sequence.extend(tokens).argmax()]
        greedy += tokens
    assert greedy == golden["greedy"]


@pytest.mark.parametrize(
    "tokens",
    [
        [4, 8, 15],
        (4, 8, 15),
        [np.int64(4), np.uint8(8), 15],
        np.array([4, 8, 15]),
        np.array([4, 8, 15], dtype=np.int32),
        np.array([4, 8, 15], dtype=np.uint8),
        np.array([4, 0, 8, 0, 15, 0], dtype=np.int16)[::2],
        np.array([15, 8, 4])[::-1],
    ],
    ids=lambda tokens: f"{type(tokens).__name__} {getattr(tokens, 'dtype', '')}",
)
def test_tokens_come_from_what_holds_whole_numbers(
    sequence: kvcache.Sequence, tokens: object
) -> None:
    logits = sequence.extend(tokens)  # type: ignore[arg-type]
    assert sequence.tokens.tolist() == [4, 8, 15]
    assert sequence.tokens.dtype == np.int64
    again = kvcache.Sequence.extend(sequence.fork(), range(1, 3))
    assert again.rows == logits.rows == 1


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        ([1.0], r"tokens\[0\] must be a whole number, not float"),
        ([1, True], r"tokens\[1\] must be a whole number, not bool"),
        ([[1]], r"tokens\[0\] must be a whole number, not list"),
        (["1"], r"tokens\[0\] must be a whole number, not str"),
        ("12", "sequence of whole numbers or an array .*, not str"),
        (b"12", "sequence of whole numbers or an array .*, not bytes"),
        ({1, 2}, "sequence of whole numbers or an array .*, not set"),
        (7, "sequence of whole numbers or an array .*, not int"),
        (np.array([1.0]), "not one with 1 axes and elements of kind float"),
        (np.array([True]), "not one with 1 axes and elements of kind bool"),
        (np.array([[1]]), "not one with 2 axes"),
        (np.array(1), "whole number"),
        (np.array(["a"]), "whole number"),
        (np.array([1], dtype=object), None),
    ],
)
def test_wrong_types_are_told(
    sequence: kvcache.Sequence, tokens: object, message: str | None
) -> None:
    if message is None:  # an array of objects is a sequence of what is in it
        assert sequence.extend(tokens).rows == 1  # type: ignore[arg-type]
        return
    with pytest.raises(TypeError, match=message):
        sequence.extend(tokens)  # type: ignore[arg-type]
    assert sequence.length == 0


@pytest.mark.parametrize(
    ("tokens", "code", "message"),
    [
        ([], "empty_input", "no tokens were given"),
        ([-1], "token_out_of_range", r"token 0 of the input is -1, must be in \[0, 97\)"),
        ([1, 97], "token_out_of_range", "token 1 of the input is 97"),
        ([1, 1 << 64], "token_out_of_range", r"tokens\[1\] is a number of more than 64 bits"),
        (np.array([1 << 63], dtype=np.uint64), "token_out_of_range", "more than 63 bits"),
        ([1] * 65, "context_full", "64"),
        (np.ones(1 << 20, dtype=np.int8), "context_full", "1048576"),
    ],
)
def test_wrong_tokens_are_told_and_change_nothing(
    sequence: kvcache.Sequence, fails, tokens: object, code: str, message: str
) -> None:
    sequence.extend([9])
    assert re.search(message, str(fails(code, sequence.extend, tokens)))
    assert sequence.tokens.tolist() == [9]


def test_a_list_that_shrinks_while_it_is_read(sequence: kvcache.Sequence) -> None:
    tokens: list[object] = []

    class Shrinks:
        def __index__(self) -> int:
            tokens.clear()
            return 5

    tokens.extend([Shrinks(), 1, 2, 3])
    sequence.extend(tokens)  # type: ignore[arg-type]
    assert sequence.tokens.tolist() == [5]


def test_forks_and_rewinds(sequence: kvcache.Sequence, model: kvcache.Model, fails) -> None:
    sequence.extend([1, 2, 3])
    fork = sequence.fork()
    sequence.rewind(1)
    branch = sequence.extend([7]).to_numpy()
    assert fork.tokens.tolist() == [1, 2, 3]
    np.testing.assert_array_equal(branch, model.new_sequence().extend([1, 7]).to_numpy())
    assert "cannot rewind to 9 tokens" in str(fails("invalid_argument", sequence.rewind, 9))
    with pytest.raises(TypeError):
        sequence.rewind(-1)
    with pytest.raises(TypeError):
        sequence.rewind(1 << 70)
    assert sequence.can_rewind_to(2) and not sequence.can_rewind_to(3)
    assert sequence.fits(62) and not sequence.fits(63)
    assert (len(sequence), sequence.first_cached) == (2, 0)
    assert "'all'" in kvcache.Sequence.extend.__doc__
    error = fails("invalid_argument", sequence.extend, [1], "some")
    assert str(error) == 'logits_for is "some", must be one of "last", "all"'


def test_saved_and_loaded(model: kvcache.Model, tmp_path: Path, fails) -> None:
    sequence = model.new_sequence()
    sequence.extend([3, 1, 4])
    sequence.save(tmp_path / "state")
    loaded = model.load_sequence(str(tmp_path / "state"))
    assert loaded.tokens.tolist() == [3, 1, 4]
    np.testing.assert_array_equal(loaded.extend([1]).row(), sequence.extend([1]).row())
    (tmp_path / "other").write_bytes(b"no state")
    fails("state_invalid", model.load_sequence, tmp_path / "other")
    fails("state_not_saved", sequence.save, tmp_path / "missing" / "state")


def test_a_closed_sequence(sequence: kvcache.Sequence, model: kvcache.Model, fails) -> None:
    sequence.extend([1])
    used = model.cache_stats().blocks_in_use
    with sequence as same:
        assert same is sequence
    assert model.cache_stats().blocks_in_use == used - 1
    sequence.close()
    assert sequence.closed and repr(sequence) == "Sequence(closed)"
    for call in (
        lambda: sequence.extend([1]),
        lambda: sequence.length,
        lambda: sequence.tokens,
        sequence.fork,
        sequence.reset,
        lambda: sequence.evaluate([1], [-1]),
        lambda: kvcache.extend([(sequence, [1])]),
        lambda: kvcache.evaluate([(sequence, [1], [-1])]),
        lambda: kvcache.generate(sequence, [1], max_new_tokens=1),
        lambda: kvcache.PrefixCache(model).insert(sequence),
        lambda: kvcache.ExtendRequest(sequence, [1]),
    ):
        assert "the sequence is closed" in str(fails("invalid_argument", call))


def test_objects_live_as_long_as_what_came_of_them(model_dir: Path) -> None:
    model = kvcache.Model.load(model_dir)
    sequence = model.new_sequence()
    info = model.info
    del model
    gc.collect()
    row = sequence.extend([1, 2]).row()  # the Logits are gone, their memory is not
    tree = sequence.evaluate([5], [-1]).logits
    expected = row.copy()
    del sequence
    gc.collect()
    other = kvcache.Model.load(model_dir).new_sequence()
    other.extend([3])
    np.testing.assert_array_equal(row, expected)
    assert info.vocab_size == tree.vocab_size == row.size == 97


def test_no_object_without_its_maker() -> None:
    for kind in (kvcache.Sequence, kvcache.Logits, kvcache.Model, kvcache.TreeEvaluation):
        with pytest.raises(TypeError):
            kind()
        empty = kind.__new__(kind)
        with pytest.raises(TypeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nanobind's: it was not initialised
            repr(empty) if kind is not kvcache.Model else empty.device_report()
