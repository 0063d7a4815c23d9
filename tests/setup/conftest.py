"""The scripts' modules lie in scripts/lib, which is no package."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "scripts" / "lib"))


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "full: slow or in need of a network; scripts/test --full")
