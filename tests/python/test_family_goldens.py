"""Exported goldens of the families give Hugging Face's logits and greedy tokens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from plain_ort import PlainModel, relative_difference

from kvcache_export import families

GOLDENS = sorted(
    path.parent for path in (Path(__file__).parents[1] / "goldens/families").glob("*/golden.json")
)

# Largest logit difference as a share of the largest logit: 24 bits in float32, 11 in float16.
TOLERANCE = {"float32": 1e-5, "float16": 2e-2}


@pytest.fixture(params=GOLDENS, ids=lambda path: path.name)
def golden(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_there_is_one_of_each_family():
    types = {json.loads((each / "config.json").read_text())["model_type"] for each in GOLDENS}
    known = {family.model_type for family in families._FAMILIES.values()}
    assert types == known - {"gpt2", "toy"}


def test_float32_logits_and_greedy_tokens(golden: Path, export):
    expected = json.loads((golden / "golden.json").read_text())
    plain = PlainModel(export("--model", golden))

    logits, _ = plain.run(np.array([expected["ids"]]))

    assert relative_difference(logits[0], np.load(golden / "logits.npy")) < TOLERANCE["float32"]
    assert plain.greedy(expected["prompt"], len(expected["greedy"])) == expected["greedy"]


def test_steps_over_the_cache(golden: Path, export):
    """Windows are those of a text, not of what was run at once."""
    ids = json.loads((golden / "golden.json").read_text())["ids"]
    plain, past, found = PlainModel(export("--model", golden)), None, []
    for step in np.split(np.array(ids), [5, 6, 7, 15]):
        logits, past = plain.run(step[None], past)
        found.append(logits[0])
    expected = np.load(golden / "logits.npy")
    assert relative_difference(np.concatenate(found), expected) < TOLERANCE["float32"]


def test_float16_logits(golden: Path, export):
    ids = json.loads((golden / "golden.json").read_text())["ids"]
    plain = PlainModel(export("--model", golden, "--dtype", "float16"))

    logits, _ = plain.run(np.array([ids]))

    assert relative_difference(logits[0], np.load(golden / "logits.npy")) < TOLERANCE["float16"]
