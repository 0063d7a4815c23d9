"""A model's tensors, which are made as they are read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kvcache_export import model, sources
from kvcache_export.precision import Precision
from kvcache_export.sources.source import Source


class Counted:
    """A source's weights, and which of them were read."""

    def __init__(self, source: Source):
        self.weights, self.read_names = source.weights, []

    def __getattr__(self, name: str):
        return getattr(self.weights, name)

    def read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        self.read_names.append(name)
        return self.weights.read(name, shape)


def tensors(source: Source, weights: str) -> dict[str, object]:
    built = model.with_weights(source, Precision("float32", weights, 16))
    return {name: value.const_value for name, value in built.graph.initializers.items()}


@pytest.mark.parametrize("weights", ["int8", "int4", "uint4"])
def test_a_quantised_weight_is_read_once(weights: str, small_checkpoint: Path):
    """In the graph's order, in which a file is written; in another, values are the same."""
    source = sources.from_checkpoint(str(small_checkpoint))
    counted = Counted(source)
    found = tensors(replace(source, weights=counted), weights)
    in_order = {name: tensor.numpy() for name, tensor in found.items()}
    assert len(counted.read_names) == len(set(counted.read_names)) > 10
    backwards = tensors(source, weights)
    for name in reversed(backwards):
        np.testing.assert_array_equal(backwards[name].numpy(), in_order[name])
        np.testing.assert_array_equal(backwards[name].numpy(), in_order[name])
    assert sum(name.endswith(".weight_scales") for name in in_order) > 4
