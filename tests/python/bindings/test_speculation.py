"""Texts that are guessed: the same as without guesses, in fewer runs."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

import kvcache

SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
PROMPT = [3, 1, 2, 3, 1]


class Foreseeing(kvcache.Drafter):
    """Knows how the text goes on, and guesses something else beside it."""

    def __init__(self, text: Sequence[int]):
        self.text = list(text)
        self.seen: list[int] = []

    def draft(self, text: np.typing.NDArray[np.int64], most: int) -> tuple[list[int], list[int]]:
        assert text.dtype == np.int64 and text.tolist() == self.text[: len(text)]
        self.seen.append(most)
        right = self.text[len(text) : len(text) + max(1, most - 1)]
        wrong = [(token + 1) % 97 for token in right[:1] if most > 1]
        return right + wrong, [*range(-1, len(right) - 1), *(-1 for _ in wrong)]


def test_the_text_is_the_one_without_guesses(model: kvcache.Model) -> None:
    chance = random.Random(SEED)
    for _ in range(15):
        sampling = kvcache.SamplingOptions(
            seed=chance.randrange(10**6), temperature=chance.choice([0, 0.3, 1])
        )
        how: dict[str, Any] = {"max_new_tokens": chance.randint(2, 40), "sampling": sampling}
        single = model.new_sequence()
        expected = kvcache.generate(single, PROMPT, log_probabilities=1, **how).result()
        text = [*PROMPT, *expected.tokens]
        for drafter in (kvcache.PromptLookup(), kvcache.DraftModel(model), Foreseeing(text)):
            sequence = model.new_sequence()
            generation = kvcache.generate(
                sequence, PROMPT, drafter=drafter, max_drafts=7, log_probabilities=1, **how
            )
            assert generation.speculation_stats is None  # until it has ended
            tokens = [new.token for new in generation]
            found, stats = generation.result(), generation.speculation_stats
            assert tokens == found.tokens == expected.tokens, SEED
            assert found.finish_reason == expected.finish_reason
            assert [each.chosen for each in found.log_probabilities] == [
                each.chosen for each in expected.log_probabilities
            ]
            assert sequence.tokens.tolist() == single.tokens.tolist()
            assert stats is not None and stats.runs + stats.accepted == len(tokens) - 1
            assert isinstance(drafter, kvcache.Drafter)
            if isinstance(drafter, Foreseeing) and len(tokens) > 3:
                assert stats.accepted > 0 and max(drafter.seen) <= 7
                assert repr(stats).startswith("SpeculationStats(runs=")


def test_a_draft_is_a_tree(model: kvcache.Model) -> None:
    assert kvcache.PromptLookup().draft([5, 6, 7, 5, 6], 2) == ([7, 5], [-1, 0])
    assert kvcache.PromptLookup(longest=1, shortest=1).draft([1, 2], 2) == ([], [])
    tokens, parents = kvcache.DraftModel(model).draft(PROMPT, 1)
    assert (tokens, parents) == ([model.new_sequence().extend(PROMPT).argmax()], [-1])


def test_a_drafter_serves_one_at_a_time(model: kvcache.Model, fails) -> None:
    drafter = kvcache.DraftModel(model)
    first, second = model.new_sequence(), model.new_sequence()
    generation = kvcache.generate(first, PROMPT, max_new_tokens=9, drafter=drafter)
    next(generation)
    for call in (
        lambda: drafter.draft(PROMPT, 1),
        lambda: kvcache.generate(second, PROMPT, max_new_tokens=9, drafter=drafter),
    ):
        assert "the drafter is in use" in str(fails("invalid_argument", call))
    second.extend([1])  # it was not begun
    generation.close()
    drafter.draft(PROMPT, 1)


@pytest.mark.parametrize(
    ("drafted", "error", "expected"),
    [
        (None, TypeError, "returned NoneType, must be a tuple of tokens and parents"),
        (([1], [-1], [0]), TypeError, "must be a tuple of tokens and parents"),
        ((["a"], [-1]), TypeError, r"tokens\[0\] must be a whole number, not str"),
        (([1], [0]), kvcache.Error, "a drafter gave node 0 of a tree the parent 0"),
        (([1] * 99, [-1] * 99), kvcache.Error, "a drafter gave a tree of 99 tokens"),
        (([97], [-1]), kvcache.Error, "97"),
        (ValueError("mine"), ValueError, "mine"),
    ],
)
def test_what_a_drafter_does_wrong_is_told(
    sequence: kvcache.Sequence, drafted: Any, error: type[Exception], expected: str
) -> None:
    class Wrong:
        def draft(self, text: object, most: int) -> Any:
            if isinstance(drafted, Exception):
                raise type(drafted)(*drafted.args)
            return drafted

    sequence.extend([4])
    with pytest.raises(error, match=expected):
        kvcache.generate(sequence, PROMPT, max_new_tokens=9, drafter=Wrong()).result()
    assert sequence.tokens.tolist() == [4]


def test_wrong_input_is_told(sequence: kvcache.Sequence, model: kvcache.Model, fails) -> None:
    fails("invalid_argument", kvcache.PromptLookup, 2, 3)
    with pytest.raises(TypeError, match=r"must be a kvcache\.Drafter or None; int has no draft"):
        kvcache.generate(sequence, [1], max_new_tokens=3, drafter=3)  # type: ignore[arg-type]
    window = kvcache.WindowedSequence(model)
    error = fails(
        "invalid_argument",
        kvcache.generate,
        window,
        [1],
        max_new_tokens=3,
        drafter=kvcache.PromptLookup(),
    )
    assert "guesses are of a text within the model's positions" in str(error)
    assert kvcache.generate(sequence, [1], max_new_tokens=1).speculation_stats is None
