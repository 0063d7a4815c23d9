"""Packed weights: the layout of docs/MODEL_FILE.md, element by element."""

import numpy as np
import onnx_ir as ir
import pytest

from kvcache_export.packing import PANEL_COLUMNS, PackedParameter, pack


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


def test_packed_parameter_knows_both_shapes():
    parameter = PackedParameter([5, 65], ir.DataType.FLOAT)
    assert parameter.checkpoint_shape == (5, 65)
    assert list(parameter.shape) == [2, 5, 64]
