"""Random weights: Hugging Face's initialization, from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import checkpoints
import numpy as np
import pytest

from kvcache_export import sources
from kvcache_export.errors import ExportError
from kvcache_export.families import gpt2


def test_random_weights_follow_hugging_face():
    source = sources.from_seed("gpt2", 3)
    assert source.origin == "random-init:gpt2:seed=3"
    assert source.spec == gpt2.parse({}).spec

    def read(name: str) -> np.ndarray:
        return source.weights.read(name, (512, 256))

    assert read("transformer.wte.weight").std() == pytest.approx(0.02, rel=0.02)
    for name in ("attn", "mlp"):
        residual = read(f"transformer.h.0.{name}.c_proj.weight").std()
        assert residual == pytest.approx(0.02 / np.sqrt(24), rel=0.02)
    assert (read("transformer.h.0.ln_1.weight") == 1).all()
    assert (read("transformer.ln_f.weight") == 1).all()
    assert (read("transformer.h.0.ln_1.bias") == 0).all()
    assert (read("transformer.h.0.attn.c_attn.bias") == 0).all()


def test_random_weights_depend_on_seed_and_name_alone():
    one, same, other = (sources.from_seed("gpt2", seed).weights for seed in (1, 1, 2))
    one.read("transformer.wpe.weight", (9, 9))  # what was read before doesn't matter
    first = one.read("transformer.wte.weight", (9, 9))
    np.testing.assert_array_equal(first, same.read("transformer.wte.weight", (9, 9)))
    assert (first != other.read("transformer.wte.weight", (9, 9))).any()
    assert (first != one.read("transformer.wpe.weight", (9, 9))).any()


def test_random_weights_of_a_config_file(tmp_path: Path):
    path = tmp_path / "small.json"
    path.write_text(json.dumps(checkpoints.SMALL))
    assert sources.from_seed(str(path), 0).spec.vocab_size == 61
    assert sources.from_seed(str(path), 0).origin == "random-init:small:seed=0"


def test_no_such_architecture():
    with pytest.raises(ExportError, match=r"no such architecture or file: 'gpt3'.*gpt2-medium"):
        sources.from_seed("gpt3", 0)
