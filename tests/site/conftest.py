"""What the tests of pages share: the package that the build made, and the pages' snippets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before anything imports onnxruntime

import pytest
import snippet_models
from snippets import BUILT

MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILT / "goldens"))

# Before python/, which has the same package without its extension.
sys.path.insert(0, str(BUILT / "python"))


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Exported models of 97 tokens and 64 positions: plain, value-head and others."""
    return MODELS


@pytest.fixture(scope="session")
def world(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the models that snippets name."""
    folder = tmp_path_factory.mktemp("world")
    snippet_models.write(folder / "models")
    (folder / "models" / "smollm2").symlink_to(".")
    (folder / "model").symlink_to(goldens / "value-head")
    return folder
