"""What pages show in Python runs as it stands."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from kvcache_export.chat.probe import express

ROOT = Path(__file__).parents[3]
CHAT = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
CHAT += "{% if add_generation_prompt %}[assistant]{% endif %}"
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture
def beside_models(
    model_dir: Path, letters: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with models/, which has a tokenizer and a chat template."""
    shutil.copytree(model_dir, tmp_path / "models")
    (tmp_path / "models" / "tokenizer.json").write_text(letters)
    (tmp_path / "models" / "chat_template.json").write_text(json.dumps(express(CHAT, {})))
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("beside_models")
@pytest.mark.parametrize(
    ("page", "blocks"),
    [("README.md", 1), ("docs/PYTHON.md", 12), ("docs/SEARCH.md", 1), ("docs/TOUR.md", 1)],
)
def test_blocks_run_one_after_the_other(page: str, blocks: int) -> None:
    found = BLOCK.findall((ROOT / page).read_text())
    assert len(found) == blocks
    names: dict[str, object] = {}
    for i, block in enumerate(found):
        exec(compile(block, f"{page}, block {i + 1}", "exec"), names)
