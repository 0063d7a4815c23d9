"""What docs/C.md shows is compiled and runs as it stands."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import c_library
import pytest
from paths import DEBIAN_ROOT

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "C.md").read_text()
MODELS = Path(os.environ.get("KVCACHE_MODELS_DIR", c_library.BUILT / "goldens"))
STRICT = ["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def beside_models(tmp_path: Path) -> Path:
    shutil.copytree(MODELS / "plain", tmp_path / "models")
    return tmp_path


def test_the_program(beside_models: Path) -> None:
    """It prints the tokens that are the likeliest without a cache."""
    source = beside_models / "program.c"
    source.write_text(block("c"))
    folder = c_library.LIBRARY.parent
    linked = [f"-L{folder}", "-lkvcache", f"-Wl,-rpath,{folder}"]
    unpacked = sorted((DEBIAN_ROOT / "usr" / "lib").glob("*-linux-gnu"))  # set up without root
    linked += [f"-Wl,-rpath-link,{folder}" for folder in unpacked]
    program = beside_models / "program"
    words = ["cc", *STRICT, f"-I{ROOT / 'include'}", source, "-o", program, *linked]
    subprocess.run(words, check=True)
    ran = subprocess.run([program], cwd=beside_models, capture_output=True, text=True, check=True)
    printed = [int(word) for word in ran.stdout.split()]
    assert len(printed) == 10
    c = c_library.Library()
    model = c.make("model_load", str(beside_models / "models").encode(), None)
    tokens = [1]
    for _ in range(10):
        given = c_library.array(c_library.ctypes.c_int64, tokens)
        rows = c.rows(c.make("model_forward_without_cache", model, given, len(tokens), 0))
        tokens.append(int(rows[0].argmax()))
    c.functions.kvcache_model_destroy(model)
    assert printed == tokens[1:]

    shutil.rmtree(beside_models / "models")
    ran = subprocess.run([program], cwd=beside_models, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert "models" in ran.stderr


def test_the_lines_of_python(beside_models: Path) -> None:
    """With the built library found by its name."""
    lines = block("python").replace('"libkvcache.so"', repr(str(c_library.LIBRARY)))
    subprocess.run([sys.executable, "-c", lines], cwd=beside_models, check=True)
