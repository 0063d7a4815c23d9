"""The most probable texts, as the program finds them."""

from __future__ import annotations

import itertools
import json
import os
import random
from pathlib import Path

import pytest
from programs import runner

import kvcache

SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
program = runner("kvcache")


def test_beams_are_those_of_the_program(
    model_dir: Path, model: kvcache.Model, letters: str
) -> None:
    chance = random.Random(SEED)
    for _ in range(5):
        prompt = [chance.randrange(97) for _ in range(chance.randint(1, 5))]
        beams, length, stop = chance.randint(1, 5), chance.randint(1, 9), chance.randrange(97)
        sequence = model.new_sequence()
        found = kvcache.beam_search(
            sequence,
            prompt,
            beams=beams,
            max_new_tokens=length,
            tokenizer=kvcache.Tokenizer.from_json(letters),
        )
        text = ",".join(map(str, prompt))
        options = ("--max-new-tokens", length, "--beams", beams, "--json")
        finished = program("generate", model_dir, "--ids", text, *options)
        expected = json.loads(finished.stdout)
        expected = expected.get("beams") or [expected]
        for beam, other in zip(found, expected, strict=True):
            assert beam.tokens == other["ids"], SEED
            assert beam.finish_reason == "length" and beam.meets_constraint
            if "score" in other:
                assert beam.log_probability == pytest.approx(other["log_probability"], rel=1e-12)
                assert beam.score == pytest.approx(other["score"], rel=1e-12)
        assert sequence.tokens.tolist() == prompt
        scores = [beam.score for beam in found]
        assert scores == sorted(scores, reverse=True)
        stopped = kvcache.beam_search(
            model.new_sequence(),
            prompt,
            beams=beams,
            max_new_tokens=length,
            stop_tokens=[stop, found[0].tokens[0]],
        )
        assert "stop_token" in {beam.finish_reason for beam in stopped}


def test_with_every_text_of_a_list_as_a_beam_it_is_exhaustive(model: kvcache.Model) -> None:
    choices = [list(pair) for pair in itertools.product([5, 6], [7, 8])]
    constraint = kvcache.one_of(choices, 97)
    found = kvcache.beam_search(
        model.new_sequence(), [1], beams=4, max_new_tokens=3, constraint=constraint
    )
    assert sorted(beam.tokens for beam in found) == choices
    for beam in found:
        sequence = model.new_sequence()
        logits = sequence.extend([1])
        expected = 0.0
        for token in beam.tokens:
            expected += float(logits.log_probabilities([token])[0])
            logits = sequence.extend([token])
        assert beam.log_probability == pytest.approx(expected, rel=1e-5)


def test_it_goes_on_as_long_as_it_is_let(sequence: kvcache.Sequence) -> None:
    asked: list[int] = []

    def twice() -> bool:
        asked.append(sequence is None)
        return len(asked) < 3

    found = kvcache.beam_search(sequence, [1], beams=2, max_new_tokens=20, go_on=twice)
    assert {len(beam.tokens) for beam in found} == {3}
    sequence.reset()

    def raising() -> bool:
        raise ValueError("mine")

    sequence.extend([4])
    with pytest.raises(ValueError, match="mine"):
        kvcache.beam_search(sequence, [1], beams=2, max_new_tokens=20, go_on=raising)
    assert sequence.tokens.tolist() == [4]


def test_wrong_input_is_told(sequence: kvcache.Sequence, fails) -> None:
    fails("invalid_argument", kvcache.beam_search, sequence, [1], max_new_tokens=3, beams=0)
    fails("context_full", kvcache.beam_search, sequence, [1], max_new_tokens=99)
    fails("token_out_of_range", kvcache.beam_search, sequence, [97], max_new_tokens=3)
    fails("empty_input", kvcache.beam_search, sequence, max_new_tokens=3)
    with pytest.raises(TypeError, match="go_on must be a callable that takes nothing, or None"):
        kvcache.beam_search(sequence, [1], max_new_tokens=3, go_on=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kvcache.beam_search(sequence, [1])  # type: ignore[call-arg]
    assert sequence.length == 0
