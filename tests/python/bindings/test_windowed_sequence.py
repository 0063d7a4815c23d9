"""Texts that outgrow the context."""

from __future__ import annotations

import json
import os
import random

import numpy as np
import pytest
from programs import BUILD, runner

import kvcache

SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
program = runner("kvcache")


def test_the_logits_are_those_of_the_context(model: kvcache.Model) -> None:
    """Whatever the pieces: the context depends on the text's length alone."""
    chance = random.Random(SEED)
    for _ in range(6):
        size = chance.randint(2, 30)
        options = {"size": size, "stride": chance.randint(1, 30), "sinks": chance.randrange(size)}
        pieces = kvcache.WindowedSequence(model, **options)
        single = kvcache.WindowedSequence(model, **options)
        text: list[int] = []
        for _ in range(12):
            tokens = [chance.randrange(97) for _ in range(chance.randint(1, 20))]
            text += tokens
            logits = pieces.extend(tokens)
            for token in tokens:
                single.extend([token])
            context = pieces.context.tokens.tolist()
            expected = model.forward_without_cache(context)
            np.testing.assert_allclose(logits.row(), expected.row(), atol=2e-5, err_msg=str(SEED))
            assert single.context.tokens.tolist() == context
            assert context[: options["sinks"]] == text[: options["sinks"]]
            assert context[-1] == text[-1] and len(context) <= size + options["stride"]
        assert pieces.length == len(pieces) == len(text)
        assert pieces.slides > 0
        assert pieces.options.size == size and pieces.options.sliding == "encode_anew"


def test_the_context_is_a_fork(model: kvcache.Model) -> None:
    window = kvcache.WindowedSequence(model, size=4, stride=4)
    window.extend(range(9))
    context = window.context
    context.extend([5])
    context.evaluate([1, 2], [-1, 0])
    assert context.length == window.context.length + 1
    window.extend([7])
    assert window.context.tokens[-1] == 7 and context.tokens[-1] == 5


def test_a_text_without_end_is_the_program_s(model_dir, model: kvcache.Model) -> None:
    window = kvcache.WindowedSequence(model, size=20, stride=10, sinks=2)
    sampling = kvcache.SamplingOptions(seed=4)
    generation = kvcache.generate(window, [17, 4], max_new_tokens=150, sampling=sampling)
    streamed = [new.token for new in generation]
    assert window.slides > 3 and generation.result().tokens == streamed
    options = ("--window", 20, "--stride", 10, "--sinks", 2, "--seed", 4, "--json")
    finished = program("generate", model_dir, "--ids", "17,4", "--max-new-tokens", 150, *options)
    assert json.loads(finished.stdout)["ids"] == streamed, finished.stderr


def test_keys_and_values_are_kept_where_positions_are_relative() -> None:
    model = kvcache.Model.load(BUILD / "goldens-families" / "llama", block_len=8)
    computed = {}
    for sliding in ("keep", "encode_anew"):
        window = kvcache.WindowedSequence(model, size=8, stride=8, sliding=sliding)
        assert window.options.sliding == sliding and window.options.stride == 8
        for token in range(20):
            window.extend([token])
        assert window.slides == 1 and window.context.length == 12
        computed[sliding] = window.tokens_encoded_anew
    assert computed == {"keep": 0, "encode_anew": 8}
    assert kvcache.WindowedSequence(model, size=8, stride=8).options.sliding == "keep"


def test_in_use_and_closed(model: kvcache.Model, fails) -> None:
    window = kvcache.WindowedSequence(model)
    generation = kvcache.generate(window, [1, 2], max_new_tokens=10)
    next(generation)
    for call in (lambda: window.extend([1]), lambda: window.context, window.close):
        assert "the windowed sequence is in use" in str(fails("invalid_argument", call))
    generation.close()
    with window:
        window.extend([3])
    assert window.closed
    error = fails("invalid_argument", window.extend, [1])
    assert "the windowed sequence is closed; make another with WindowedSequence(model)" in str(
        error
    )


def test_wrong_input_is_told(model: kvcache.Model, fails) -> None:
    for wrong in (
        {"size": 60, "stride": 60},
        {"size": 4, "sinks": 4},
        {"sliding": "keep"},  # GPT-2's positions are learned
        {"sliding": "never"},
    ):
        fails("invalid_argument", kvcache.WindowedSequence, model, **wrong)
    window = kvcache.WindowedSequence(model)
    fails("empty_input", window.extend, [])
    fails("token_out_of_range", window.extend, [97])
    assert window.length == 0
    with pytest.raises(TypeError, match="must be a Sequence or WindowedSequence, not int"):
        kvcache.generate(3, [1], max_new_tokens=1)  # type: ignore[arg-type]
