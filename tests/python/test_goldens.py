"""Exported goldens give Hugging Face's logits and greedy tokens (tests/goldens/make_goldens.py)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import reference_gpt2
from plain_ort import PlainModel, relative_difference
from safetensors.numpy import load_file

from kvcache_export import model, save, sources
from kvcache_export.precision import Precision
from kvcache_export.verify import Runner

GOLDENS = sorted(
    path.parent for path in (Path(__file__).parents[1] / "goldens").glob("*/golden.json")
)
WITH_VALUES = [golden for golden in GOLDENS if (golden / "values.npy").exists()]

# Largest logit difference as a share of the largest logit. A value has 24 bits in float32, 11 in
# float16 and 8 in bfloat16; measured were 1e-6, 3e-3 and 3e-2.
TOLERANCE = {"float32": 1e-5, "float16": 1e-2, "bfloat16": 5e-2}


@pytest.fixture(params=GOLDENS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_are_goldens():
    assert len(GOLDENS) >= 5
    assert WITH_VALUES


def test_float32_logits_and_greedy_tokens(golden: Path, export):
    expected = json.loads((golden / "golden.json").read_text())
    plain = PlainModel(export("--model", golden))

    logits, _ = plain.run(np.array([expected["ids"]]))

    assert relative_difference(logits[0], np.load(golden / "logits.npy")) < TOLERANCE["float32"]
    assert plain.greedy(expected["prompt"], len(expected["greedy"])) == expected["greedy"]


@pytest.mark.parametrize("golden", WITH_VALUES, ids=lambda path: path.name)
def test_values(golden: Path, export):
    ids = json.loads((golden / "golden.json").read_text())["ids"]

    _, (values, *_) = PlainModel(export("--model", golden)).run(np.array([ids]))

    expected = np.load(golden / "values.npy")
    assert np.ptp(expected) > 0.1
    np.testing.assert_allclose(values[0, :, 0], expected, atol=TOLERANCE["float32"])


def test_float16_logits(golden: Path, export):
    ids = json.loads((golden / "golden.json").read_text())["ids"]

    logits, _ = PlainModel(export("--model", golden, "--dtype", "float16")).run(np.array([ids]))

    assert logits.dtype == np.float16
    assert relative_difference(logits[0], np.load(golden / "logits.npy")) < TOLERANCE["float16"]


def test_bfloat16_logits(golden: Path, tmp_path: Path):
    """ONNX Runtime's CPU can't run bfloat16: only the weights are, the arithmetic is float32."""
    ids = json.loads((golden / "golden.json").read_text())["ids"]
    source = sources.from_checkpoint(str(golden))
    rounded = model.with_weights(source, Precision("float32", "float32"), rounded_to="bfloat16")
    file = tmp_path / "rounded.onnx"
    save.write_model(rounded, file, single_file=False, progress=lambda *_: None)

    logits = Runner(file).logits(np.array([ids]), [len(ids)])

    assert relative_difference(logits[0], np.load(golden / "logits.npy")) < TOLERANCE["bfloat16"]


def test_reference_agrees_with_hugging_face(golden: Path):
    """The tests' own oracle is right, too."""
    config = json.loads((golden / "config.json").read_text())
    tensors = {
        name.removeprefix("model."): tensor
        for name, tensor in load_file(golden / "model.safetensors").items()
    }
    ids = json.loads((golden / "golden.json").read_text())["ids"]

    logits = reference_gpt2.logits(config, tensors, ids)

    assert relative_difference(logits, np.load(golden / "logits.npy")) < 1e-6
