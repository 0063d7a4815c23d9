"""The pictures of docs/CONCEPTS.md are what their script draws, and have the page's colours."""

from __future__ import annotations

from xml.etree import ElementTree

import pictures
import pytest
from paths import ROOT

PAGE = (ROOT / "docs" / "CONCEPTS.md").read_text(encoding="utf-8")
SVG = "{http://www.w3.org/2000/svg}"


def test_the_page_shows_each_picture() -> None:
    assert {path.stem for path in pictures.PICTURES.glob("*.svg")} == set(pictures.ALL)
    for name in pictures.ALL:
        assert PAGE.count(f"](pictures/{name}.svg)") == 1


@pytest.mark.parametrize("name", pictures.ALL)
def test_is_what_the_script_draws(name: str) -> None:
    stored = (pictures.PICTURES / f"{name}.svg").read_text(encoding="utf-8")
    assert stored == pictures.ALL[name]().svg(), "run python docs/site/pictures.py"


@pytest.mark.parametrize("name", pictures.ALL)
def test_is_as_wide_as_a_phone_and_nothing_is_outside(name: str) -> None:
    root = ElementTree.fromstring(pictures.ALL[name]().svg())
    _, _, width, height = map(float, root.get("viewBox", "").split())
    assert width <= 340
    for rectangle in root.iter(f"{SVG}rect"):
        x, y = float(rectangle.get("x", "")), float(rectangle.get("y", ""))
        assert 0 <= x <= width - float(rectangle.get("width", ""))
        assert 0 <= y <= height - float(rectangle.get("height", ""))
    for text in root.iter(f"{SVG}text"):
        assert 0 < float(text.get("y", "")) < height
        assert text.get("fill") == "currentColor"


def test_in_a_page_a_picture_has_no_colours_of_text_of_its_own() -> None:
    inline_pictures = pytest.importorskip("inline_pictures")
    shown = inline_pictures.inline(pictures.blocks().svg(), 'a "picture"')
    assert "<style" not in shown
    assert 'aria-label="a &quot;picture&quot;"' in shown
    assert 'fill="currentColor"' in shown
