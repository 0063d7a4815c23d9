"""What scripts/test installs for the store is the version that the example asks for."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def pins(name: str) -> set[str]:
    return {line for line in (ROOT / name).read_text().splitlines() if "==" in line}


def test_pyarrow_is_pinned_once() -> None:
    ours = {pin for pin in pins("requirements-ray.txt") if pin.startswith("pyarrow==")}
    assert len(ours) == 1
    assert ours <= pins("requirements-dev.txt")
