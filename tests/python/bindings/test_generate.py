"""Texts that go on: an iterator, all at once, several."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import kvcache

GOLDEN = json.loads((Path(__file__).parents[2] / "goldens/plain/golden.json").read_text())
GREEDY = kvcache.SamplingOptions(temperature=0)
PROMPT, EXPECTED = GOLDEN["prompt"], GOLDEN["greedy"]


def test_the_greedy_tokens_are_those_of_hugging_face(sequence: kvcache.Sequence) -> None:
    generation = kvcache.generate(sequence, PROMPT, max_new_tokens=32, sampling=GREEDY)
    assert [new.token for new in generation] == EXPECTED
    assert generation.result().tokens == EXPECTED
    assert generation.result().finish_reason == "length"
    assert sequence.length == len(PROMPT) + 31


def test_in_parts_and_at_once_it_is_the_same(sequence: kvcache.Sequence) -> None:
    sampling = kvcache.SamplingOptions(temperature=0.8, top_k=20, seed=11)
    whole = kvcache.generate(sequence, PROMPT, max_new_tokens=9, sampling=sampling).result()
    sequence.reset()
    with kvcache.generate(sequence, PROMPT, max_new_tokens=9, sampling=sampling) as generation:
        first = [next(generation).token for _ in range(4)]
        rest = generation.result()
    assert first == whole.tokens[:4] and rest.tokens == whole.tokens


def test_text_stop_strings_and_stop_tokens(sequence: kvcache.Sequence, letters: str) -> None:
    text = "".join(chr(33 + token) for token in EXPECTED)
    stop = text[9:11]
    arguments = {
        "max_new_tokens": 32,
        "sampling": GREEDY,
        "tokenizer": kvcache.Tokenizer.from_json(letters),
    }
    generation = kvcache.generate(sequence, PROMPT, stop_strings=[stop], **arguments)
    shown = "".join(new.text for new in generation)
    result = generation.result()
    assert shown == result.text == text[: text.index(stop)]
    assert result.finish_reason == "stop_string"
    sequence.reset()
    stopped = kvcache.generate(sequence, PROMPT, stop_tokens=[EXPECTED[8]], **arguments).result()
    assert stopped.finish_reason == "stop_token"
    assert stopped.tokens == EXPECTED[: EXPECTED.index(EXPECTED[8]) + 1]


def test_log_probabilities(sequence: kvcache.Sequence) -> None:
    made = kvcache.generate(
        sequence, PROMPT, max_new_tokens=3, sampling=GREEDY, log_probabilities=2
    ).result()
    for token, of in zip(made.tokens, made.log_probabilities, strict=True):
        assert of.most_probable[0] == (token, of.chosen)
        assert of.most_probable[0][1] > of.most_probable[1][1]


def test_several_texts(sequence: kvcache.Sequence, fails) -> None:
    sampling = kvcache.SamplingOptions(seed=3)
    texts = kvcache.generate_samples(sequence, PROMPT, 4, max_new_tokens=8, sampling=sampling)
    assert len({tuple(text.tokens) for text in texts}) == 4
    assert sequence.tokens.tolist() == PROMPT
    sequence.reset()
    alone = kvcache.generate(sequence, PROMPT, max_new_tokens=8, sampling=sampling).result()
    assert alone.tokens == texts[0].tokens
    fails("invalid_argument", kvcache.generate_samples, sequence, [1], 0, max_new_tokens=1)


def test_the_sequence_is_in_use_until_the_end(
    sequence: kvcache.Sequence, model: kvcache.Model, fails
) -> None:
    generation = kvcache.generate(sequence, [1, 2], max_new_tokens=10)
    next(generation)
    for call in (
        lambda: sequence.extend([1]),
        lambda: sequence.tokens,
        sequence.fork,
        sequence.close,
        lambda: kvcache.generate(sequence, [1], max_new_tokens=1),
        lambda: kvcache.extend([(sequence, [1])]),
        lambda: kvcache.Evaluator(model).answer(kvcache.ExtendRequest(sequence, [1])),
    ):
        assert "the sequence is in use by a generation" in str(fails("invalid_argument", call))
    assert repr(sequence) == "Sequence(in use)"
    generation.close()
    assert generation.result().finish_reason == "cancelled"
    assert list(generation) == []
    kept = sequence.tokens.tolist()
    np.testing.assert_array_equal(
        sequence.extend([5]).row(), model.new_sequence().extend([*kept, 5]).row()
    )


@pytest.mark.parametrize("begun", [False, True])
def test_a_generation_that_is_dropped(sequence: kvcache.Sequence, begun: bool) -> None:
    generation = kvcache.generate(sequence, [1, 2], max_new_tokens=10)
    if begun:
        next(generation)
    del generation
    gc.collect()
    assert sequence.length == (2 if begun else 0)
    kvcache.generate(sequence, [1], max_new_tokens=1).close()
    sequence.extend([1])


def test_a_generation_outlives_what_it_was_made_of(model_dir: Path) -> None:
    generation = kvcache.generate(
        kvcache.Model.load(model_dir).new_sequence(), PROMPT, max_new_tokens=32, sampling=GREEDY
    )
    gc.collect()
    assert [new.token for new in generation] == EXPECTED


@pytest.mark.parametrize(
    "going_on",
    [
        "next(text)",
        "threading.Thread(target=text.result, daemon=True).start()",
        "threading.Thread(target=lambda: [other.extend([1]) for _ in iter(int, 1)],"
        " daemon=True).start()",
    ],
)
def test_a_process_ends_while_a_text_goes_on(model_dir: Path, going_on: str) -> None:
    """With Python called for each token, which nobody may once the interpreter has ended; nor may a
    thread take its lock then, which is why many processes end: it hangs on who is how far."""
    program = f"""
import threading, time
import kvcache
class Anything:
    vocab_size = 97
    def allow_next(self, mask): mask.words[:] = 0xFFFFFFFF
    def may_end(self): return False
    def accept(self, token): return True
    def rollback(self, tokens): pass
    def fork(self): return Anything()
model = kvcache.Model.load({str(model_dir)!r})
other = kvcache.WindowedSequence(model)
window = kvcache.WindowedSequence(model)
text = kvcache.generate(window, [1], max_new_tokens=10**9, constraint=Anything())
{going_on}
time.sleep(0.1)
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={"PYTHONPATH": str(Path(kvcache.__file__).parents[1])},
        )
        for _ in range(12)
    ]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(processes), outputs
    assert outputs == [""] * len(processes)


def test_wrong_input_is_told(sequence: kvcache.Sequence, fails) -> None:
    def run(code: str, *arguments: object, **named: object) -> None:
        generation = kvcache.generate(sequence, *arguments, **named)  # type: ignore[arg-type]
        for _ in range(2):  # an iterator that failed fails again
            fails(code, next, generation)
        fails(code, generation.result)
        assert sequence.length == 0

    run("context_full", [1] * 60, max_new_tokens=50)
    run("context_full", [1], max_new_tokens=1 << 62)
    run("token_out_of_range", [-1], max_new_tokens=1)
    run("empty_input", [], max_new_tokens=1)
    run("invalid_argument", [1], max_new_tokens=1, stop_strings=["x"])
    run("invalid_argument", [1], max_new_tokens=1, sampling=kvcache.SamplingOptions(top_p=3))
    for wrong in ({}, {"max_new_tokens": -1}, {"max_new_tokens": 1.5}):
        with pytest.raises(TypeError):
            kvcache.generate(sequence, [1], **wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        kvcache.generate(sequence, "text", max_new_tokens=1)  # type: ignore[arg-type]
