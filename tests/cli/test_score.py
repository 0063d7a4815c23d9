"""kvcache score: how probable texts are."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from programs import Program, assert_error


def score(kvcache: Program, model: Path, *arguments: object) -> dict:
    finished = kvcache("score", model, *arguments, "--json")
    assert finished.returncode == 0, finished.stderr
    return json.loads(finished.stdout)


def test_continuations_are_scored_as_parts_of_their_texts(
    kvcache: Program, model_with_tokenizer: Path
) -> None:
    continuations = ["d", "de", "dxyz", " d", "defg"]
    options = [word for text in continuations for word in ("--continuation", text)]
    found = score(kvcache, model_with_tokenizer, "--prompt", "abc", *options)
    assert found["shared_tokens"] == 3
    assert [one["text"] for one in found["continuations"]] == continuations
    for one in found["continuations"]:
        whole = score(kvcache, model_with_tokenizer, "--prompt", "abc" + one["text"])
        assert one["log_probabilities"] == whole["log_probabilities"][2:]
        assert one["ids"] == whole["ids"][2:]
        total = sum(one["log_probabilities"])
        assert one["log_probability"] == pytest.approx(total, rel=1e-6)
        assert one["perplexity"] == pytest.approx(math.exp(-total / len(one["ids"])), rel=1e-6)


def test_scores_are_those_that_generation_notes(
    kvcache: Program, model_with_tokenizer: Path
) -> None:
    command = ("generate", model_with_tokenizer, "--prompt", "abc", "--max-new-tokens", 6)
    options = ("--ignore-stop-tokens", "--json", "--log-probabilities", 0)
    for drawn in ((), ("--temperature", 3)):
        made = json.loads(kvcache(*command, *options, *drawn).stdout)
        if not made["text"].strip() or len(made["ids"]) != len(made["text"]):
            continue  # a special token, which leaves nothing in the text
        options_of_score = ("--prompt", "abc", "--continuation", made["text"])
        (found,) = score(kvcache, model_with_tokenizer, *options_of_score)["continuations"]
        assert found["ids"] == made["ids"]
        assert found["greedy"] == (not drawn)
        noted = [token["log_probability"] for token in made["log_probabilities"]]
        assert found["log_probabilities"] == noted


def test_a_token_of_both_is_scored_with_the_continuation(
    kvcache: Program, model_with_tokenizer: Path
) -> None:
    file = model_with_tokenizer / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    vocabulary = tokenizer["model"]["vocab"]
    joined = vocabulary["cd"] = vocabulary.pop("~")
    tokenizer["model"]["merges"] = ["c d"]
    file.write_text(json.dumps(tokenizer))
    b, c, e = (vocabulary[letter] for letter in "bce")
    options = ("--continuation", "de", "--continuation", "e")
    found = score(kvcache, model_with_tokenizer, "--prompt", "abc", *options)
    assert found["shared_tokens"] == 2
    first, second = found["continuations"]
    assert (first["prompt_tokens"], first["ids"]) == (2, [joined, e])
    assert (second["prompt_tokens"], second["ids"]) == (3, [e])
    whole = score(kvcache, model_with_tokenizer, "--prompt", "abce")
    assert whole["ids"] == [b, c, e]
    assert second["log_probabilities"] == whole["log_probabilities"][2:]


def test_prints_a_line_each(kvcache: Program, model_with_tokenizer: Path) -> None:
    options = ("--continuation", "d", "--continuation", "d e")
    command = ("score", model_with_tokenizer, "--prompt", "abc", *options)
    lines = kvcache(*command).stdout.splitlines()
    found = score(kvcache, model_with_tokenizer, "--prompt", "abc", *options)["continuations"]
    assert lines == [
        f"{one['log_probability']:.6f} {one['perplexity']:.4f} {len(one['ids'])} "
        + json.dumps(one["text"])
        for one in found
    ]


def test_refuses_what_cannot_be_scored(
    kvcache: Program, model: Path, model_with_tokenizer: Path
) -> None:
    command = ("score", model_with_tokenizer, "--prompt")
    assert_error(kvcache(*command, "a"), 2, "a text of 1 tokens has none to score")
    assert_error(kvcache(*command, "a" * 100), 2, "do not fit the model's positions")
    nothing = kvcache(*command, "a", "--continuation", "")
    assert_error(nothing, 2, '--continuation "" adds no token to the prompt')
    no_prompt = kvcache(*command, "", "--continuation", "a")
    assert_error(no_prompt, 2, "no token of the prompt is before a continuation")
    assert_error(kvcache("score", model, "--prompt", "ab"), 2, "tokenizer.json")
    both = kvcache(*command, "a", "-f", "x")
    assert_error(both, 2, "--prompt", "--file")
