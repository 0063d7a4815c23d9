"""What narrower weights cost, and on which tokens it is measured."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plain_ort import PlainModel

from kvcache_export.errors import ExportError
from kvcache_export.families import gpt2
from kvcache_export.precision import Precision
from kvcache_export.rounding import cost, token_ids

GPT2 = gpt2.parse({}).spec


def test_the_same_logits_cost_nothing():
    logits = np.random.default_rng(0).standard_normal((2, 3, 5)).astype(np.float32)
    same = cost(logits, logits)
    assert (same.tokens, same.max_abs_logit_diff, same.top1_agreement) == (6, 0, 1)
    assert same.mean_kl_divergence == 0
    assert same.max_abs_logit == np.abs(logits).max()


def test_a_cost_worked_out_by_hand():
    expected = np.log(np.array([[[0.5, 0.25, 0.25], [0.25, 0.5, 0.25]]], np.float32))
    found = np.log(np.array([[[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]], np.float32))
    of = cost(found, expected)
    assert of.top1_agreement == 0.5
    assert of.max_abs_logit_diff == pytest.approx(np.log(2))
    assert of.mean_abs_logit_diff == pytest.approx(2 * np.log(2) / 6)
    assert of.mean_kl_divergence == pytest.approx(0.25 * np.log(2) / 2)  # (¼ ln ½ + ½ ln 2) / 2


def test_random_ids_fill_the_vocabulary_and_repeat():
    ids = token_ids(GPT2, None)
    assert ids.shape == (2, 256)
    assert 0 <= ids.min() < ids.max() < GPT2.vocab_size
    assert (ids == token_ids(GPT2, None)).all()


@pytest.mark.parametrize(("count", "shape"), [(1, (1, 1)), (256, (1, 256)), (600, (2, 256))])
def test_given_ids_become_rows(count: int, shape: tuple[int, int]):
    ids = token_ids(GPT2, list(range(count)))
    assert ids.shape == shape
    assert ids.ravel().tolist() == list(range(ids.size))


@pytest.mark.parametrize(
    ("ids", "message"),
    [([], "holds no token id"), ([1, 50257], r"token 1 is 50257, must be in \[0, 50257\)")],
)
def test_bad_ids(ids: list[int], message: str):
    with pytest.raises(ExportError, match=message):
        token_ids(GPT2, ids)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_of_another_type_than_16_bits_are_refused(dtype: str):
    with pytest.raises(ExportError, match=f"--weights float32 with --dtype {dtype}"):
        Precision(dtype, "float32")


@pytest.mark.parametrize("weights", ["float16", "bfloat16"])
def test_the_file_runs_in_plain_onnx_runtime(export, small_checkpoint: Path, weights: str):
    """And gives the float32 model's logits but for the rounding that config.json tells."""
    narrow = export("--model", small_checkpoint, "--weights", weights)
    ids = np.arange(20)[None]
    found, _ = PlainModel(narrow).run(ids)
    expected, _ = PlainModel(export("--model", small_checkpoint)).run(ids)
    limit = json.loads((narrow / "config.json").read_text())["rounding"]["max_abs_logit_diff"]
    assert found.dtype == np.float32
    assert 0 < np.abs(found - expected).max() < 3 * limit


def test_measured_on_given_ids(export, small_checkpoint: Path, tmp_path: Path):
    ids = tmp_path / "ids.json"
    ids.write_text(json.dumps(list(range(40))))
    model = export("--model", small_checkpoint, "--weights", "float16", "--rounding-ids", str(ids))
    assert json.loads((model / "config.json").read_text())["rounding"]["tokens"] == 32
