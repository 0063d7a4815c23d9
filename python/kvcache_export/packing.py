"""Weights in the order in which the library's kernels read them.

A matrix [inputs, outputs] is cut into panels of 64 outputs, [panels, inputs, 64], the last one
filled up with zeros. Decoding then reads a weight file from front to back, and a prefill finds each
panel in one piece; both work on the mapped file, so weights are in memory once.
"""

import math

import numpy as np

PANEL_COLUMNS = 64  # kPanelColumns of src/kernels/cpu/linear_cpu.hpp


def pack(weight: np.ndarray) -> np.ndarray:
    """[inputs, outputs] to [panels, inputs, 64]."""
    inputs, outputs = weight.shape
    panels = math.ceil(outputs / PANEL_COLUMNS)
    filled = np.pad(weight, ((0, 0), (0, panels * PANEL_COLUMNS - outputs)))
    return np.ascontiguousarray(filled.reshape(inputs, panels, PANEL_COLUMNS).transpose(1, 0, 2))


def alternating(weight: np.ndarray, parts: tuple[int, ...]) -> np.ndarray:
    """Matrices side by side to one whose panels are theirs in turn: [inputs, whole panels].

    All have the same number of outputs; each is filled up with zeros by itself.
    """
    inputs, panels = weight.shape[0], math.ceil(parts[0] / PANEL_COLUMNS)
    apart = weight.reshape(inputs, len(parts), parts[0])
    filled = np.pad(apart, ((0, 0), (0, 0), (0, panels * PANEL_COLUMNS - parts[0])))
    in_panels = filled.reshape(inputs, len(parts), panels, PANEL_COLUMNS)
    return in_panels.transpose(0, 2, 1, 3).reshape(inputs, -1)
