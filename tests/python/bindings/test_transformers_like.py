"""generate() with transformers' names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kvcache
from kvcache.transformers_like import generate

GOLDEN = json.loads((Path(__file__).parents[2] / "goldens/plain/golden.json").read_text())
PROMPT, GREEDY = GOLDEN["prompt"], GOLDEN["greedy"]


def test_greedy_tokens_are_those_of_transformers(model: kvcache.Model) -> None:
    made = generate(model, [PROMPT], max_new_tokens=len(GREEDY), eos_token_id=[])
    assert made.tolist() == [PROMPT + GREEDY]
    made = generate(model, np.array(PROMPT), max_length=len(PROMPT) + 3, eos_token_id=[])
    assert made.tolist() == [PROMPT + GREEDY[:3]]


def test_texts_that_end_sooner_are_filled_up(model: kvcache.Model) -> None:
    stop = GREEDY[6]
    made = generate(
        model, [PROMPT, PROMPT[::-1]], max_new_tokens=20, eos_token_id=stop, pad_token_id=0
    )
    ended = PROMPT + GREEDY[: GREEDY.index(stop) + 1]
    assert made[0].tolist()[: len(ended)] == ended
    assert set(made[0].tolist()[len(ended) :]) <= {0}


def test_samples_differ_and_come_again(model: kvcache.Model) -> None:
    arguments = {"max_new_tokens": 9, "do_sample": True, "num_return_sequences": 4, "seed": 5}
    made = generate(model, [PROMPT], top_p=0.9, temperature=1.3, eos_token_id=[], **arguments)
    again = generate(model, [PROMPT], top_p=0.9, temperature=1.3, eos_token_id=[], **arguments)
    np.testing.assert_array_equal(made, again)
    assert made.shape == (4, len(PROMPT) + 9) and len({tuple(row) for row in made.tolist()}) == 4
    one = generate(model, [PROMPT], max_new_tokens=9, do_sample=True, top_k=1, eos_token_id=[])
    assert one.tolist() == [PROMPT + GREEDY[:9]]
    assert model.cache_stats().blocks_in_use == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 3, "num_beams": 4}, "num_beams is 4"),
        ({"max_new_tokens": 3, "attention_mask": [[0, 1]]}, "attention_mask has zeros"),
        ({}, "give max_new_tokens or max_length"),
        ({"max_new_tokens": 3, "max_length": 9}, "give max_new_tokens or max_length"),
        ({"max_length": 2}, "max_length is 2, the prompts have 2 tokens"),
        ({"max_new_tokens": 3, "num_return_sequences": 2}, "needs do_sample"),
    ],
)
def test_what_has_no_counterpart_is_told(
    model: kvcache.Model, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        generate(model, [[1, 2]], **arguments)  # type: ignore[arg-type]


def test_other_input_is_told(model: kvcache.Model, fails) -> None:
    for wrong in ([[1.5]], [[[1]]], ["text"]):
        with pytest.raises(ValueError, match="input_ids must be whole numbers"):
            generate(model, wrong, max_new_tokens=1)
    with pytest.raises(TypeError, match="length_penalty"):
        generate(model, [[1]], max_new_tokens=1, length_penalty=2)  # type: ignore[call-arg]
    fails("token_out_of_range", generate, model, [[97]], max_new_tokens=1)
    fails("context_full", generate, model, [[1]], max_new_tokens=99)
