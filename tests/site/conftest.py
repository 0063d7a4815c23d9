"""What the tests of pages share: the package that the build made, and the pages' snippets."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from paths import BUILD

BUILT = Path(os.environ.get("KVCACHE_BUILD_DIR", BUILD))
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILT / "goldens"))

# Before python/, which has the same package without its extension.
sys.path.insert(0, str(BUILT / "python"))


@pytest.fixture(scope="session")
def goldens() -> Path:
    """Exported models of 97 tokens and 64 positions: plain, value-head and others."""
    return MODELS
