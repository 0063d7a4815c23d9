"""Weights in the order in which the library's kernels read them.

A matrix [inputs, outputs] is cut into panels of 64 outputs, [panels, inputs, 64], the last one
filled up with zeros. Decoding then reads a weight file from front to back, and a prefill finds each
panel in one piece; both work on the mapped file, so weights are in memory once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
from onnxscript.nn import Parameter

PANEL_COLUMNS = 64  # kPanelColumns of src/kernels/cpu/linear_cpu.hpp


class PackedParameter(Parameter):
    """A weight that the checkpoint has as [inputs, outputs] and the graph as panels."""

    def __init__(self, shape: Sequence[int], dtype: ir.DataType):
        self.checkpoint_shape = tuple(shape)
        inputs, outputs = shape
        super().__init__([math.ceil(outputs / PANEL_COLUMNS), inputs, PANEL_COLUMNS], dtype)


def pack(weight: np.ndarray) -> np.ndarray:
    """[inputs, outputs] to [panels, inputs, 64]."""
    inputs, outputs = weight.shape
    panels = math.ceil(outputs / PANEL_COLUMNS)
    filled = np.pad(weight, ((0, 0), (0, panels * PANEL_COLUMNS - outputs)))
    return np.ascontiguousarray(filled.reshape(inputs, panels, PANEL_COLUMNS).transpose(1, 0, 2))
