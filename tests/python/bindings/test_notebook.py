"""The notebook of examples/python runs from its first cell to its last."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kvcache

ROOT = Path(__file__).parents[3]
NOTEBOOK = ROOT / "examples" / "python" / "tree_of_moves.ipynb"
PNG = b"\x89PNG\r\n\x1a\n"


def test_cells_run_one_after_the_other(tmp_path: Path) -> None:
    """As a program: its cells have no commands of a notebook's own, and need no kernel."""
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    program = tmp_path / "cells.py"
    program.write_text("\n\n".join(code))
    found = f"{Path(kvcache.__file__).parents[1]}:{ROOT / 'python'}"
    ended = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": found, "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "39 nodes; the prefix has still 3 tokens" in ended.stdout
    picture = (tmp_path / "tree_of_moves" / "tree.png").read_bytes()
    assert picture.startswith(PNG) and len(picture) > 10_000


def test_it_is_kept_without_results() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(cell["outputs"] == [] for cell in cells if cell["cell_type"] == "code")
