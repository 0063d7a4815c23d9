"""What the tests of the programs share."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from programs import BUILD, GOLDENS, MODELS, Program, runner


@pytest.fixture(scope="session")
def kvcache() -> Program:
    """kvcache("info", DIR, …) → the finished process."""
    return runner("kvcache")


@pytest.fixture(scope="session")
def prototype() -> Program:
    return runner("test_kvcache_prototype")


@pytest.fixture(scope="session")
def kvcache_path() -> Path:
    return BUILD / "kvcache"


@pytest.fixture(params=sorted(path.parent.name for path in GOLDENS.glob("*/golden.json")))
def golden(request: pytest.FixtureRequest) -> tuple[Path, Path]:
    """Each golden: the exported model, and the directory with Hugging Face's results."""
    return MODELS / request.param, GOLDENS / request.param


@pytest.fixture(scope="session")
def model() -> Path:
    return MODELS / "plain"


@pytest.fixture(scope="session")
def config(model: Path) -> dict:
    return json.loads((model / "config.json").read_text())


@pytest.fixture
def model_with_tokenizer(model: Path, config: dict, tmp_path: Path) -> Path:
    """A golden whose tokens are bytes of ASCII, and the last one special."""
    copy = tmp_path / "model"
    shutil.copytree(model, copy)
    size = config["spec"]["vocab_size"]
    last = size - 1
    of_bytes = [*map(chr, range(33, 127)), "Ġ", "Ċ"]  # with space and line feed as ByteLevel's
    vocabulary = {text: i for i, text in enumerate([*of_bytes[:last], "<end>"])}
    assert len(vocabulary) == size
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}
    added = {"id": last, "content": "<end>", "special": True, "normalized": False}
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip"), False)
    tokenizer = {
        "added_tokens": [added | flags],
        "pre_tokenizer": byte_level | {"trim_offsets": True},
        "decoder": byte_level | {"trim_offsets": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []},
    }
    (copy / "tokenizer.json").write_text(json.dumps(tokenizer))
    return copy
