"""Every message that docs/TROUBLESHOOTING.md quotes is what the product says."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

import kvcache

PAGE = (ROOT / "docs" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"^```text\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)


class Provoked:
    """Each method makes one mistake; its name says which."""

    def __init__(self, goldens: Path, folder: Path) -> None:
        self.folder = folder
        self.goldens = goldens
        self.model = kvcache.Model.load(goldens / "plain")
        self.sequence = self.model.new_sequence()
        self.sequence.extend([1, 2, 3])

    def _copy(self) -> Path:
        return Path(shutil.copytree(self.goldens / "plain", self.folder / "model"))

    def a_model_that_is_not_there(self) -> None:
        kvcache.Model.load("models-of-nobody")

    def a_truncated_file(self) -> None:
        (weights,) = self._copy().glob("*.data")
        weights.write_bytes(weights.read_bytes()[:-1])
        kvcache.Model.load(weights.parent)

    def a_config_that_is_cut_off(self) -> None:
        copy = self._copy()
        (copy / "config.json").write_text("{")
        kvcache.Model.load(copy)

    def a_gpu_that_is_not_in_the_build(self) -> None:
        kvcache.Model.load(self.goldens / "plain", require_device="cuda")

    def a_model_without_tokenizer(self) -> None:
        kvcache.Tokenizer.load(self.goldens / "plain")

    def an_empty_prompt(self) -> None:
        self.sequence.extend([])

    def a_token_of_another_vocabulary(self) -> None:
        self.sequence.extend([97])

    def a_text_longer_than_the_positions(self) -> None:
        self.sequence.extend([1] * 62)

    def a_full_cache(self) -> None:
        small = kvcache.Model.load(self.goldens / "plain", block_len=8, cache_bytes=20_000)
        small.new_sequence().extend([1] * 60)

    def a_rewind_too_far(self) -> None:
        self.sequence.rewind(4)

    def a_sequence_twice_in_a_batch(self) -> None:
        kvcache.extend([(self.sequence, [1]), (self.sequence, [2])])

    def a_parent_that_is_the_node(self) -> None:
        self.sequence.evaluate([5], [0])

    def a_commit_to_another_sequence(self) -> None:
        tree = self.sequence.evaluate([5], [-1])
        other = self.model.new_sequence()
        other.extend([4])
        other.commit(tree, 0)

    def a_value_of_a_model_without(self) -> None:
        policy = kvcache.Policy(kvcache.SharedModelInferencer(self.model), [1])
        policy.evaluate([])

    def a_state_of_another_model(self) -> None:
        self.sequence.save(self.folder / "state")
        kvcache.Model.load(self.goldens / "value-head").load_sequence(self.folder / "state")

    def a_file_that_is_no_state(self) -> None:
        (self.folder / "text").write_text("text")
        self.model.load_sequence(self.folder / "text")

    def a_folder_that_is_not_there(self) -> None:
        self.sequence.save(self.folder / "nowhere" / "state")

    def a_sequence_that_generates(self) -> None:
        generation = kvcache.generate(self.sequence, max_new_tokens=5)
        next(iter(generation))
        self.sequence.extend([1])

    def tokens_that_are_floats(self) -> None:
        self.sequence.extend([1, 2.5])  # type: ignore[list-item]

    def a_runtime_that_is_not_there(self) -> None:
        program = "import os; os.environ['KVCACHE_ONNXRUNTIME'] = '/nowhere/lib.so'; import kvcache"
        built = str(Path(kvcache.__file__).parent.parent)
        words = [sys.executable, "-c", program]
        ran = subprocess.run(
            words, capture_output=True, text=True, env={"PYTHONPATH": built}, check=False
        )
        raise ImportError(ran.stderr.splitlines()[-1].removeprefix("ImportError: "))

    def a_hub_out_of_reach(self) -> None:
        words = ["--model", "nobody/nothing", "--output-dir", str(self.folder / "out")]
        ran = subprocess.run(
            [sys.executable, ROOT / "export_gpt2_kvcache.py", *words],
            capture_output=True,
            text=True,
            env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(self.folder)},
            check=False,
        )
        raise OSError(ran.stderr.splitlines()[-1].removeprefix("error: "))


MISTAKES = [name for name in vars(Provoked) if not name.startswith("_")]


@pytest.fixture(scope="module")
def said(goldens: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The message of each mistake."""
    messages = {}
    for name in MISTAKES:
        mistakes = Provoked(goldens, tmp_path_factory.mktemp(name))
        mistake: Callable[[], None] = getattr(mistakes, name)
        with pytest.raises((kvcache.Error, TypeError, ImportError, OSError)) as raised:
            mistake()
        messages[name] = str(raised.value)
    return messages


def says(message: str, quoted: str) -> bool:
    return re.fullmatch(".+".join(map(re.escape, quoted.split("…"))), message) is not None


@pytest.mark.parametrize("quoted", QUOTED)
def test_the_product_says_so(said: dict[str, str], quoted: str) -> None:
    assert any(says(message, quoted) for message in said.values()), said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_each_mistake_is_on_the_page(said: dict[str, str], mistake: str) -> None:
    assert any(says(said[mistake], quoted) for quoted in QUOTED), said[mistake]
