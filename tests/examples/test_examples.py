"""Every example runs, checks itself, and has its page."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("KVCACHE_BUILD_DIR", ROOT / "build"))
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", BUILD / "goldens"))
# examples/trigo has programs and tests of its own.
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/main.cpp"))


def run(example: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = BUILD / "examples" / example / f"example_{example}"
    return subprocess.run([program, *arguments], text=True, capture_output=True, check=False)


@pytest.mark.parametrize("model", sorted(path.name for path in MODELS.iterdir()))
@pytest.mark.parametrize("example", EXAMPLES)
def test_runs_and_finds_its_result_right(example: str, model: str) -> None:
    finished = run(example, MODELS / model)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stdout


@pytest.mark.parametrize("example", EXAMPLES)
def test_bad_usage_and_a_missing_model_are_told(example: str) -> None:
    usage = run(example)
    assert (usage.returncode, usage.stderr) == (2, f"usage: example_{example} MODEL_DIR\n")
    missing = run(example, "/missing")
    assert missing.returncode == 1
    assert missing.stderr.startswith("error: /missing does not exist")


@pytest.mark.parametrize("example", EXAMPLES)
def test_is_a_whole_project_with_a_page(example: str) -> None:
    directory = ROOT / "examples" / example
    assert f"add_executable(example_{example} " in (directory / "CMakeLists.txt").read_text()
    page = re.search(r"\.\./\.\./(docs/\w+\.md)", (directory / "README.md").read_text())
    assert page
    assert f"examples/{example}/main.cpp" in (ROOT / page[1]).read_text()
