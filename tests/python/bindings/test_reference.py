"""The reference of the site has all that the package shows when it runs."""

from __future__ import annotations

import inspect
from pathlib import Path

import python_pages

import kvcache

ROOT = Path(__file__).parents[3]
ENTRIES = {entry.name: entry for entry in python_pages.package_entries(ROOT / "python" / "kvcache")}


def test_every_name_of_the_package_has_an_entry() -> None:
    assert set(ENTRIES) == set(kvcache.__all__)


def test_every_member_of_a_class_has_one() -> None:
    for name in kvcache.__all__:
        kind = getattr(kvcache, name)
        if not inspect.isclass(kind):
            continue
        members = {member for member in vars(kind) if not member.startswith("_")}
        listed = {member.name for member in ENTRIES[name].members}
        assert members - listed == set(), name


def test_docstrings_come_along() -> None:
    page = python_pages.package_page(ROOT / "python" / "kvcache")
    assert "The same tokens again, on the same cache blocks" in page
    assert ":param block_len: tokens per cache block; 0: 32." in page
    assert ":raises Error: state\\_not\\_saved." in page
