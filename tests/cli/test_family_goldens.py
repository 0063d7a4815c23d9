"""The library gives Hugging Face's logits of every family's golden: prefill, steps, trees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plain_ort import relative_difference
from programs import Program

from kvcache_export.cli import ANY, main

GOLDENS = sorted(
    path.parent for path in (Path(__file__).parents[1] / "goldens/families").glob("*/golden.json")
)
TOLERANCE = 1e-4  # of docs/EXACTNESS.md; measured were 4e-6


@pytest.fixture(scope="module", params=GOLDENS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture(scope="module")
def model(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("family")
    assert main(["--model", str(golden), "--output-dir", str(output)], ANY) == 0
    return output


def ids_of(golden: Path) -> list[int]:
    return json.loads((golden / "golden.json").read_text())["ids"]


def run(kvcache: Program, *arguments: object) -> str:
    finished = kvcache(*arguments, "--device", "cpu")
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def test_logits(kvcache: Program, golden: Path, model: Path, tmp_path: Path):
    ids = ",".join(map(str, ids_of(golden)))
    run(kvcache, "logits", model, "--ids", ids, "--npy", tmp_path / "x.npy")
    expected = np.load(golden / "logits.npy")
    assert relative_difference(np.load(tmp_path / "x.npy"), expected) < TOLERANCE


def test_greedy_tokens(kvcache: Program, golden: Path, model: Path):
    """By steps of one token, which run without ONNX Runtime, over the cache."""
    expected = json.loads((golden / "golden.json").read_text())
    prompt, count = ",".join(map(str, expected["prompt"])), len(expected["greedy"])
    found = run(kvcache, "generate", model, "--ids", prompt, "--max-new-tokens", count)
    assert list(map(int, found.split())) == expected["greedy"]


def test_a_tree_that_is_a_chain_beside_others(
    kvcache: Program, golden: Path, model: Path, tmp_path: Path
):
    """The golden's text behind its first tokens, each with a sibling that goes nowhere."""
    ids = ids_of(golden)
    vocab_size = json.loads((golden / "config.json").read_text())["vocab_size"]
    prefix, rest = ids[:9], ids[9:]
    tokens, parents, chain = [], [], -1
    for token in rest:
        tokens += [(token + 1) % vocab_size, token]
        parents += [chain, chain]
        chain = len(tokens) - 1
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"tokens": tokens, "parents": parents}))
    text, npy = ",".join(map(str, prefix)), tmp_path / "tree.npy"
    run(kvcache, "eval-tree", model, "--ids", text, "--tree", tree, "--npy", npy)
    expected = np.load(golden / "logits.npy")[len(prefix) :]
    assert relative_difference(np.load(npy)[1::2], expected) < TOLERANCE
