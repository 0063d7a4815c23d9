"""What README.md and docs/PYTHON.md show in Python runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def beside_models(
    model_dir: Path, letters: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with models/, which has a tokenizer."""
    shutil.copytree(model_dir, tmp_path / "models")
    (tmp_path / "models" / "tokenizer.json").write_text(letters)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_models")
@pytest.mark.parametrize(("page", "blocks"), [("README.md", 1), ("docs/PYTHON.md", 8)])
def test_blocks_run_one_after_the_other(page: str, blocks: int) -> None:
    found = BLOCK.findall((ROOT / page).read_text())
    assert len(found) == blocks
    names: dict[str, object] = {}
    for i, block in enumerate(found):
        exec(compile(block, f"{page}, block {i + 1}", "exec"), names)
