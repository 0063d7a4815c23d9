"""Models of a second family, which the library's own kernels run: against double precision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pytest
import reference_toy
import toy_family
from plain_ort import PlainModel, relative_difference
from programs import Program

from kvcache_export.cli import ANY, main

VARIANTS = {**toy_family.VARIANTS, "layers of 16 heads to 2": {"num_attention_heads": 16}}
TOKENS = 24


class Toy:
    """A random model of the family, exported, and what it should say."""

    def __init__(self, directory: Path, seed: int, *options: str, **fields: Any) -> None:
        self.config = {**toy_family.SMALL, **fields}
        self.tensors = reference_toy.weights(self.config, seed)
        checkpoint = checkpoints.write(directory / "checkpoint", self.config, self.tensors)
        self.model = directory / "model"
        arguments = ["--model", checkpoint, "--output-dir", self.model, *options]
        assert main(list(map(str, arguments)), ANY) == 0
        generator = np.random.default_rng(seed)
        self.ids = generator.integers(self.config["vocab_size"], size=TOKENS).tolist()

    def expected(self, ids: list[int]) -> np.ndarray:
        return reference_toy.logits(self.config, self.tensors, ids)


def logits_of(kvcache: Program, toy: Toy, npy: Path, *options: object) -> np.ndarray:
    ids = ",".join(map(str, toy.ids))
    finished = kvcache("logits", toy.model, "--ids", ids, "--npy", npy, *options)
    assert finished.returncode == 0, finished.stderr
    return np.load(npy)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_double_precision(kvcache: Program, tmp_path: Path, variant: str):
    toy = Toy(tmp_path, 7, **VARIANTS[variant])
    found = logits_of(kvcache, toy, tmp_path / "x.npy")
    assert relative_difference(found, toy.expected(toy.ids)) < 1e-4


@pytest.mark.parametrize("variant", VARIANTS)
def test_generates_token_by_token(kvcache: Program, tmp_path: Path, variant: str):
    """By steps of one token, which run without ONNX Runtime, over the cache."""
    toy = Toy(tmp_path, 8, **VARIANTS[variant])
    prompt = ",".join(map(str, toy.ids[:3]))
    finished = kvcache("generate", toy.model, "--ids", prompt, "--max-new-tokens", 20)
    assert finished.returncode == 0, finished.stderr
    found = list(map(int, finished.stdout.split()))
    expected = toy.expected(toy.ids[:3] + found)[2:-1]
    assert found == expected.argmax(-1).tolist()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tree_has_the_logits_of_each_path(kvcache: Program, tmp_path: Path, variant: str):
    toy = Toy(tmp_path, 9, **VARIANTS[variant])
    generator = np.random.default_rng(9)
    prefix, tokens = toy.ids[:5], toy.ids[5:]
    parents = [int(generator.integers(max(-1, i - 4), i)) for i in range(len(tokens))]
    tree, npy = tmp_path / "tree.json", tmp_path / "tree.npy"
    tree.write_text(json.dumps({"tokens": tokens, "parents": parents}))
    ids = ",".join(map(str, prefix))
    finished = kvcache("eval-tree", toy.model, "--ids", ids, "--tree", tree, "--npy", npy)
    assert finished.returncode == 0, finished.stderr
    found = np.load(npy)
    for node in range(len(tokens)):
        path, at = [], node
        while at >= 0:
            path.insert(0, tokens[at])
            at = parents[at]
        assert relative_difference(found[node], toy.expected(prefix + path)[-1]) < 1e-4


@pytest.mark.parametrize(
    ("depth", "windows"),
    [
        pytest.param(4000, [None, None], marks=pytest.mark.full, id="whole"),
        pytest.param(4000, [None, 300], marks=pytest.mark.full, id="a window"),
        pytest.param(700, [None, 300], id="a window, not as far"),
    ],
)
def test_commits_far_into_a_text(kvcache: Program, tmp_path: Path, depth: int, windows: list):
    """What guesses leave in a cache of many tokens: the text goes on as double precision."""
    new_tokens = 48
    toy = Toy(tmp_path, 12, max_position_embeddings=4200, windows=windows)
    generator = np.random.default_rng(12)
    prompt = np.resize(generator.integers(toy.config["vocab_size"], size=90), depth).tolist()
    command = ("generate", toy.model, "--ids", ",".join(map(str, prompt)), "--json")
    length = ("--max-new-tokens", new_tokens)
    results = []
    for guess in ((), ("--prompt-lookup",), ("--draft-model", toy.model)):
        finished = kvcache(*command, *length, *guess)
        assert finished.returncode == 0, finished.stderr
        results.append(json.loads(finished.stdout))
    plain, looked_up, drafted = results
    assert looked_up["ids"] == drafted["ids"] == plain["ids"]
    assert drafted["speculation"]["accepted"] > 0  # how many are guessed goes by the time they take
    expected = toy.expected(prompt + plain["ids"])[depth - 1 : -1]
    assert plain["ids"] == expected.argmax(-1).tolist()


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (("--weights", "float16"), 1e-4),
        (("--weights", "bfloat16"), 1e-4),
        (("--weights", "bfloat16", "--activations", "bfloat16"), 2**-6),
        (("--weights", "int8", "--activations", "float32"), 1e-4),
        (("--weights", "int8"), 5e-2),
        (("--weights", "int4"), 5e-2),
        (("--cache-dtype", "float16"), 2**-10),
        (("--cache-dtype", "int8"), 2**-6),
        (("--dtype", "float16"), 2e-2),
    ],
    ids=str,
)
@pytest.mark.parametrize("variant", [pytest.param("plain", marks=pytest.mark.full), "all of it"])
def test_narrow_models_compute_what_plain_onnx_runtime_does(
    kvcache: Program, tmp_path: Path, variant: str, options: tuple[str, ...], limit: float
):
    toy = Toy(tmp_path, 10, *options, **VARIANTS[variant])
    expected = PlainModel(toy.model).run(np.array(toy.ids)[None])[0][0]
    found = logits_of(kvcache, toy, tmp_path / "x.npy", "--device", "cpu")
    assert relative_difference(found, expected.astype(np.float32)) < limit


def test_a_gate_without_a_kernel_is_named(kvcache: Program, tmp_path: Path):
    toy = Toy(tmp_path, 11, hidden_act="relu")
    finished = kvcache("logits", toy.model, "--ids", "1")
    assert finished.returncode != 0
    assert "a gate of relu in layer 0, which this library has no kernel for" in finished.stderr
