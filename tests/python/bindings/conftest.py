"""What the tests of the package kvcache share: the one that the build made, and models."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))

# Before python/, which has the same package without its extension.
sys.path.insert(0, str(BUILD / "python"))

import kvcache  # noqa: E402


@pytest.fixture(scope="session")
def model_dir() -> Path:
    """GPT-2 with 2 layers, 97 tokens and 64 positions."""
    return MODELS / "plain"


@pytest.fixture(scope="session")
def model(model_dir: Path) -> kvcache.Model:
    return kvcache.Model.load(model_dir, poison_freed_blocks=True)


@pytest.fixture
def sequence(model: kvcache.Model) -> kvcache.Sequence:
    return model.new_sequence()


@pytest.fixture(scope="session")
def value_model() -> kvcache.Model:
    return kvcache.Model.load(MODELS / "value-head")


@pytest.fixture(scope="session")
def letters() -> str:
    """The tokenizer.json of 97 tokens: token i is the character 33 + i, but for the last three."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    vocabulary = {chr(33 + i): i for i in range(94)} | {"Ġ": 94, "¡": 95, "¢": 96}
    return json.dumps(
        {
            "added_tokens": [],
            "pre_tokenizer": {**byte_level, "use_regex": True},
            "decoder": {**byte_level, "use_regex": True},
            "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
        }
    )


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was raised where nobody could catch it."""
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: seen.append(raised.exc_value))
    yield seen


@pytest.fixture
def fails() -> Callable[..., kvcache.Error]:
    """fails(code, function, …) → the error with that code, which the call has to raise."""

    def call(code: str, function: Callable[..., object], *arguments: Any, **named: Any):
        with pytest.raises(kvcache.Error) as raised:
            function(*arguments, **named)
        assert raised.value.code == code, raised.value
        return raised.value

    return call
