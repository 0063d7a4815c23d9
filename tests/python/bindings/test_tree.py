"""Trees and batches: many continuations, many sequences, in one run."""

from __future__ import annotations

import numpy as np
import pytest

import kvcache


@pytest.fixture
def prefix(sequence: kvcache.Sequence) -> kvcache.Sequence:
    sequence.extend([1, 2, 3])
    return sequence


def test_a_node_equals_its_path(prefix: kvcache.Sequence) -> None:
    tree = prefix.evaluate([5, 6, 7], [-1, 0, -1])
    for node, path in enumerate([[5], [5, 6], [7]]):
        np.testing.assert_array_equal(tree.logits.row(node), prefix.fork().extend(path).row())
    assert prefix.length == 3


def test_chosen_nodes(prefix: kvcache.Sequence) -> None:
    tree = prefix.evaluate([5, 6], [-1, 0], nodes=[1, -1])
    np.testing.assert_array_equal(tree.logits.row(0), prefix.fork().extend([5, 6]).row())
    again = prefix.fork()
    again.rewind(2)
    np.testing.assert_array_equal(tree.logits.row(1), again.extend([3]).row())
    assert prefix.evaluate([], [], [-1]).logits.rows == 1


def test_a_path_is_committed(prefix: kvcache.Sequence, fails) -> None:
    tree = prefix.evaluate([5, 6, 7], [-1, 0, -1])
    prefix.commit(tree, 1)
    assert prefix.tokens.tolist() == [1, 2, 3, 5, 6]
    assert "neither these nor these" in str(fails("invalid_argument", prefix.commit, tree, 2))
    prefix.rewind(3)
    prefix.commit(tree, 2)
    assert prefix.tokens.tolist() == [1, 2, 3, 7]
    assert "the tree has 3 nodes" in str(fails("invalid_argument", prefix.commit, tree, 3))
    with pytest.raises(TypeError):
        prefix.commit(tree, -1)


def test_a_closed_tree(prefix: kvcache.Sequence, model: kvcache.Model, fails) -> None:
    in_use = model.cache_stats().blocks_in_use
    with prefix.evaluate([5], [-1]) as tree:
        logits = tree.logits
        assert model.cache_stats().blocks_in_use > in_use
    assert model.cache_stats().blocks_in_use == in_use
    assert repr(tree) == "TreeEvaluation(closed)"
    assert "is closed" in str(fails("invalid_argument", prefix.commit, tree, 0))
    assert np.isfinite(logits.row()).all()


@pytest.mark.parametrize(
    ("tree", "code"),
    [
        (([5], [0], ()), "invalid_argument"),
        (([5], [-2], ()), "invalid_argument"),
        (([5], [1 << 40], ()), "invalid_argument"),
        (([5, 6], [-1], ()), "invalid_argument"),
        (([5], [-1], [1]), "invalid_argument"),
        (([5], [-1], [-2]), "invalid_argument"),
        (([-1], [-1], ()), "token_out_of_range"),
        (([], [], ()), "empty_input"),
        (([1] * 62, range(-1, 61), ()), "context_full"),
    ],
)
def test_wrong_trees_are_told(
    prefix: kvcache.Sequence, fails, tree: tuple[object, object, object], code: str
) -> None:
    fails(code, prefix.evaluate, *tree)
    assert prefix.length == 3


def test_a_batch_equals_each_alone(model: kvcache.Model) -> None:
    first, second = model.new_sequence(), model.new_sequence()
    a, b = kvcache.extend([(first, [1, 2, 3]), (second, np.array([4]), "all")])
    np.testing.assert_array_equal(a.row(), model.new_sequence().extend([1, 2, 3]).row())
    np.testing.assert_array_equal(b.row(), model.new_sequence().extend([4]).row())
    trees = kvcache.evaluate([(first, [5], [-1]), (first, [5, 6], [-1, 0], [1])])
    np.testing.assert_array_equal(trees[1].logits.row(), first.fork().extend([5, 6]).row())
    first.commit(trees[0], 0)
    assert first.length == 4


def test_wrong_batches_are_told(model: kvcache.Model, value_model: kvcache.Model, fails) -> None:
    sequence, other = model.new_sequence(), value_model.new_sequence()
    twice = fails("invalid_argument", kvcache.extend, [(sequence, [1]), (sequence, [2])])
    assert "occurs before" in str(twice)
    fails("invalid_argument", kvcache.extend, [(sequence, [1]), (other, [1])])
    fails("token_out_of_range", kvcache.extend, [(model.new_sequence(), [1]), (sequence, [-1])])
    for batch in ([sequence], [(sequence,)], [(sequence, [1], "last", 0)], [([1], sequence)]):
        with pytest.raises(TypeError, match="an element of the batch must"):
            kvcache.extend(batch)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kvcache.extend(sequence)  # type: ignore[call-overload]
    assert (sequence.length, other.length) == (0, 0)
    fails("empty_input", kvcache.extend, [])
    fails("empty_input", kvcache.evaluate, iter([]))
