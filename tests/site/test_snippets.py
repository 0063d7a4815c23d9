"""No block of code of any page goes without a test that compiles, runs or reads it."""

from __future__ import annotations

import json
import re

import pytest
import snippets
from paths import ROOT

# C++ is test_cpp_snippets.py's and the shell test_shell_snippets.py's, on whatever page.
ON_EVERY_PAGE = {"cpp", "bash"}
TRIED_BY = {
    ("README.md", "python"): "tests/python/bindings/test_documentation.py",
    ("docs/PYTHON.md", "python"): "tests/python/bindings/test_documentation.py",
    ("docs/SEARCH.md", "python"): "tests/python/bindings/test_documentation.py",
    ("docs/TOUR.md", "python"): "tests/python/bindings/test_documentation.py",
    ("docs/C.md", "python"): "tests/c/test_documentation.py",
    ("docs/C.md", "c"): "tests/c/test_documentation.py",
    ("README.md", "cmake"): "tests/site/test_cpp_snippets.py",
    ("docs/TOUR.md", "cmake"): "tests/site/test_shell_snippets.py",
    ("docs/CHAT.md", "json"): "tests/site/test_shell_snippets.py",
    ("docs/MODEL_FILE.md", "json"): "tests/site/test_snippets.py",
    ("docs/TROUBLESHOOTING.md", "text"): "tests/site/test_troubleshooting.py",
}
NOT_CODE = {
    ("README.md", "text"): "what a measurement printed",  # the answer: tests/text/test_readme.py
    ("docs/ARCHITECTURE.md", ""): "a drawing",
}


def test_each_is_tried_or_is_no_code() -> None:
    found = {(snippet.page, snippet.language) for snippet in snippets.everywhere()}
    others = {place for place in found if place[1] not in ON_EVERY_PAGE}
    assert others == {*TRIED_BY, *NOT_CODE}


@pytest.mark.parametrize(("place", "test"), TRIED_BY.items(), ids=str)
def test_the_test_looks_at_the_page(place: tuple[str, str], test: str) -> None:
    page, language = place
    name = page.rsplit("/", maxsplit=1)[-1]
    text = (ROOT / test).read_text(encoding="utf-8")
    assert name in text or f'"{page}"' in text, language


def test_none_is_hidden() -> None:
    """A fence within a list, or one that does not end, would not be found."""
    for pattern in snippets.PAGES:
        for path in ROOT.glob(pattern):
            text = path.read_text(encoding="utf-8")
            fences = re.findall(r"^ *(?:```|~~~)", text, re.MULTILINE)
            assert len(fences) == 2 * len(snippets.FENCE.findall(text)), path


def test_the_model_files_json_is_json() -> None:
    config = json.loads(snippets.one("docs/MODEL_FILE.md", "json").text)
    assert config["format"] == "kvcache"
