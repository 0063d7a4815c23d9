"""kvcache generate --prompt-lookup, --draft-model: the same text, and what guesses were worth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from programs import MODELS, Program, assert_error

PROMPT = ("--ids", "3,1,4,3,1,4,3,1", "--max-new-tokens", 20)


@pytest.mark.parametrize("drawn", [(), ("--temperature", 0.5, "--seed", 3)])
def test_the_text_is_the_same(kvcache: Program, model: Path, drawn: tuple) -> None:
    command = ("generate", model, *PROMPT, *drawn)
    expected = kvcache(*command)
    assert expected.returncode == 0, expected.stderr
    for guess in (("--prompt-lookup",), ("--draft-model", model, "--max-drafts", 3)):
        found = kvcache(*command, *guess)
        assert found.returncode == 0, found.stderr
        assert found.stdout == expected.stdout
        assert "guesses right" in found.stderr


def test_tells_what_guessing_was_worth(kvcache: Program, model: Path) -> None:
    found = kvcache("generate", model, *PROMPT, "--draft-model", model, "--json")
    assert found.returncode == 0, found.stderr
    result = json.loads(found.stdout)
    worth = result["speculation"]
    assert worth["runs"] + worth["accepted"] == len(result["ids"]) - 1
    assert 0 < worth["accepted"] <= worth["drafted"]  # the model guesses its own text
    plain = json.loads(kvcache("generate", model, *PROMPT, "--json").stdout)
    assert "speculation" not in plain


def test_refuses_what_guesses_cannot_be_beside(kvcache: Program, model: Path) -> None:
    command = ("generate", model, *PROMPT)
    both = kvcache(*command, "--prompt-lookup", "--draft-model", model)
    assert_error(both, 2, "--prompt-lookup", "--draft-model")
    several = ("--n", 2, "--temperature", 1)
    assert_error(kvcache(*command, "--prompt-lookup", *several), 2, "one text", "leave out --n")
    assert_error(kvcache(*command, "--prompt-lookup", "--window", 8), 2, "the window")
    assert_error(
        kvcache(*command, "--prompt-lookup", "--beams", 2), 2, "--prompt-lookup", "--beams"
    )
    assert_error(kvcache(*command, "--max-drafts", 4), 2, "give --prompt-lookup or --draft-model")
    assert_error(kvcache(*command, "--prompt-lookup", "--max-drafts", 0), 2, "--max-drafts")


def test_refuses_a_draft_model_of_another_vocabulary(kvcache: Program, model: Path) -> None:
    def vocab_size(path: Path) -> int:
        return json.loads((path / "config.json").read_text())["spec"]["vocab_size"]

    own = vocab_size(model)
    others = [path.parent for path in sorted(MODELS.glob("*/config.json"))]
    other = next(path for path in others if vocab_size(path) != own)
    finished = kvcache("generate", model, *PROMPT, "--draft-model", other)
    size = vocab_size(other)
    assert_error(finished, 2, f"a vocabulary of {size} tokens and the model one of {own}")
    missing = kvcache("generate", model, *PROMPT, "--draft-model", model / "missing")
    assert_error(missing, 2, "missing")
