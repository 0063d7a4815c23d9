"""Packed weights: the layout of docs/MODEL_FILE.md, element by element."""

import numpy as np
import pytest

from kvcache_export.packing import PANEL_COLUMNS, alternating, pack


@pytest.mark.parametrize("outputs", [1, 63, 64, 65, 200])
def test_pack(outputs: int):
    inputs = 5
    weight = np.random.default_rng(outputs).standard_normal((inputs, outputs), np.float32)
    packed = pack(weight)
    assert packed.shape == (-(-outputs // PANEL_COLUMNS), inputs, PANEL_COLUMNS)
    assert packed.flags.c_contiguous
    for i, o in np.ndindex(inputs, packed.shape[0] * PANEL_COLUMNS):
        expected = weight[i, o] if o < outputs else 0
        assert packed[o // PANEL_COLUMNS, i, o % PANEL_COLUMNS] == expected


@pytest.mark.parametrize("outputs", [1, 64, 65])
def test_alternating(outputs: int):
    """A panel of the one, then a panel of the other, each filled up by itself."""
    inputs = 5
    pair = np.random.default_rng(outputs).standard_normal((2, inputs, outputs), np.float32)
    packed = pack(alternating(np.concatenate(list(pair), axis=1), (outputs, outputs)))
    for which in range(2):
        np.testing.assert_array_equal(packed[which::2], pack(pair[which]))
