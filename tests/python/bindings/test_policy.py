"""Policy and value over a game's record."""

from __future__ import annotations

import os
import random

import numpy as np
import pytest

import kvcache

SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
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


def test_policy_of_many_prefixes_and_trees(inferencer: kvcache.SharedModelInferencer) -> None:
    chance = random.Random(SEED)
    batch = []
    for _ in range(8):
        nodes = chance.randint(1, 6)
        prefix = [chance.randrange(97) for _ in range(chance.randint(1, 9))]
        parents = [chance.randint(-1, i - 1) for i in range(nodes)]
        batch.append((prefix, [chance.randrange(97) for _ in range(nodes)], parents))
    for _ in range(2):  # the second time the prefixes are known
        for (prefix, tokens, parents), tree in zip(
            batch, inferencer.policy_inference(batch), strict=True
        ):
            sequence = inferencer.model.new_sequence()
            sequence.extend(prefix)
            expected = sequence.evaluate(tokens, parents, [-1, *range(len(tokens))]).logits
            np.testing.assert_array_equal(
                tree.logits.to_numpy(), expected.to_numpy(), err_msg=str(SEED)
            )
    assert inferencer.cache_mode == "on"


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


def random_game(chance: random.Random, length: int) -> tuple[list[list[int]], list[int]]:
    """Legal moves of a position, and what is played."""
    moves = [[chance.randrange(97) for _ in range(chance.randint(1, 3))] for _ in range(length)]
    return moves, chance.choice(moves)


def test_questions_of_many_policies_at_once_are_answered_as_one_by_one(
    inferencer: kvcache.SharedModelInferencer,
) -> None:
    """In a batch, and through an Evaluator from threads: to the last bit."""
    chance = random.Random(SEED)
    model = inferencer.model
    assert model.invariant_results
    games = [kvcache.Policy(inferencer, [chance.randrange(97)]) for _ in range(4)]
    alone = [game.fork() for game in games]
    with kvcache.Evaluator(model) as evaluator:
        for _ in range(6):
            positions = [random_game(chance, chance.randint(1, 5)) for _ in games]
            with_value = chance.random() < 0.5
            questions = [
                game.ask(moves, with_value)
                for game, (moves, _) in zip(games, positions, strict=True)
            ]
            asked = [
                (game.sequence, *question.tree, question.nodes)
                for game, question in zip(games, questions, strict=True)
            ]
            if chance.random() < 0.5:
                trees = kvcache.evaluate(asked)
            else:
                requests = [evaluator.submit(kvcache.EvaluateRequest(*each)) for each in asked]
                trees = [request.result().result.tree for request in requests]
            for i, (moves, played) in enumerate(positions):
                found = games[i].answer(questions[i], trees[i])
                expected = alone[i].evaluate(moves, with_value)
                np.testing.assert_array_equal(
                    found.log_probabilities, expected.log_probabilities, err_msg=str(SEED)
                )
                np.testing.assert_array_equal(found.priors, expected.priors)
                assert found.value == expected.value
                assert games[i].computed == alone[i].computed
                for policy in (games[i], alone[i]):
                    policy.play(played)


def test_a_question_is_answered_once_and_in_time(
    inferencer: kvcache.SharedModelInferencer, fails
) -> None:
    policy = kvcache.Policy(inferencer, [1, 2])

    def evaluated(question: kvcache.PolicyQuestion) -> kvcache.TreeEvaluation:
        return policy.sequence.evaluate(*question.tree, question.nodes)

    question = policy.ask(MOVES)
    tree = evaluated(question)
    fails("invalid_argument", policy.answer, question, None)
    other = policy.sequence.evaluate([1], [-1])
    assert "of the question's tree" in str(
        fails("invalid_argument", policy.answer, question, other)
    )
    first = policy.answer(question, tree)  # those that failed changed nothing
    for spoil in (
        lambda: None,  # it was answered
        lambda: policy.ask(MOVES),
        lambda: policy.play([5]),
        lambda: policy.take_back(2),
        lambda: policy.evaluate(MOVES),
    ):
        spoil()
        error = fails("invalid_argument", policy.answer, question, tree)
        assert "ask it again" in str(error)
        question = policy.ask(MOVES)
        tree = evaluated(question)
    fails("invalid_argument", policy.fork().answer, question, tree)
    again = policy.answer(question, tree)
    np.testing.assert_array_equal(again.log_probabilities, first.log_probabilities)


def test_wrong_input_is_told(inferencer: kvcache.SharedModelInferencer, model, fails) -> None:
    policy = kvcache.Policy(inferencer, [1, 2])
    fails("empty_input", policy.evaluate, [[]])
    fails("token_out_of_range", policy.evaluate, [[inferencer.model.info.vocab_size]])
    fails("empty_input", policy.ask, [[]])
    fails("invalid_argument", policy.take_back, 0)
    fails("empty_input", policy.play, [])
    fails("empty_input", kvcache.Policy, inferencer, [])
    fails("empty_input", inferencer.policy_inference, [([], [1], [-1])])
    with pytest.raises(TypeError, match=r"must be a tuple \(prefix, tokens, parents\)"):
        inferencer.policy_inference([([1], [1])])  # type: ignore[list-item]
    assert policy.record.tolist() == [1, 2]
    with pytest.raises(TypeError, match=r"moves\[1\]\[0\] must be a whole number, not str"):
        policy.evaluate([[1], ["a"]])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="moves must be a sequence of token lists, not int"):
        policy.evaluate(3)  # type: ignore[arg-type]
    without_value = kvcache.SharedModelInferencer(model, cache_mode="off")
    assert without_value.cache_mode == "off"
    assert not without_value.has_value and without_value.prefix_stats().hits == 0
    fails("invalid_argument", without_value.value_inference, [[1]])
    fails("invalid_argument", kvcache.SharedModelInferencer, model, cache_mode="maybe")
