"""The browser, the program, and what is measured once for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_program import MODELS, run
from chromium import Browser, start

pytest.register_assert_rewrite("drawn_figures")  # so that its failures say what was found

EVERY_MODE = "sequence,recompute,fork,tree,batch,search,evaluator,window,start,save"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    driver = start()
    yield Browser(driver)
    driver.quit()


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A page of every mode over a real model, and the JSON of the same run."""
    folder = tmp_path_factory.mktemp("report")
    page, document = folder / "report.html", folder / "report.json"
    options = ["--mode", EVERY_MODE, "--repeat", 3, "--rows", 4, "--siblings", 5, "--clients", 2]
    options += ["--nodes", 4, "--tokens", 28, "--window", 16, "--stride", 8, "--depth", "4,16"]
    run("bench", MODELS / "plain", *options, "--html", page, "--json", document)
    return page, document
