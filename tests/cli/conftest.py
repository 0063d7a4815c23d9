"""What the tests of the programs share."""

from __future__ import annotations

import json
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
