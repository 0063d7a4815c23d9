"""An older package is named with what is found and wanted, in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvcache_export import packages
from kvcache_export.errors import ExportError

ROOT = Path(__file__).parents[2]


def test_what_is_installed_is_what_is_pinned():
    assert len(packages._pinned(packages.REQUIREMENTS)) > 5
    packages.check()


@pytest.mark.parametrize("package", packages._pinned(packages.REQUIREMENTS))
def test_an_older_package_is_named(tmp_path: Path, package: str):
    """As pip would have installed it, before the others on Python's path."""
    directory = tmp_path / f"{package.replace('-', '_')}-0.0.9.dist-info"
    directory.mkdir()
    (directory / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.0.9\n")
    result = subprocess.run(
        [sys.executable, ROOT / "export_gpt2_kvcache.py", "--output-dir", tmp_path / "out"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    wanted = packages._pinned(packages.REQUIREMENTS)[package]
    assert result.returncode == 2
    assert result.stderr == (
        f"error: Python package {package} is 0.0.9, must be {wanted} or newer;"
        " run: python -m pip install -r requirements.txt\n"
    )


@pytest.mark.parametrize(
    ("found", "wanted", "older"),
    [
        ("1.0.0", "1.1.0", True),
        ("1.9.3", "1.10", True),
        ("1.1", "1.1.0", False),
        ("1.1.0.post1", "1.1.0", False),
        ("2.0rc1", "1.31.1", False),
        ("1.31.1+cuda", "1.31.1", False),
    ],
)
def test_versions_are_compared_by_their_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str, wanted: str, older: bool
):
    (tmp_path / "requirements.txt").write_text(f"# Comment\nsome-package=={wanted}  # why\n")
    monkeypatch.setattr(packages.metadata, "version", lambda _: found)
    if not older:
        packages.check(tmp_path / "requirements.txt")
        return
    with pytest.raises(ExportError, match=f"some-package is {found}, must be {wanted} or newer"):
        packages.check(tmp_path / "requirements.txt")


def test_without_the_repository_nothing_is_compared(tmp_path: Path):
    packages.check(tmp_path / "requirements.txt")
