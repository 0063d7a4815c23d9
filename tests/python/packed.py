"""Quantised weights, and what is multiplied with them, as docs/MODEL_FILE.md describes them."""

from __future__ import annotations

import numpy as np


def packed_value(values: np.ndarray, bits: int, i: int, o: int) -> int:
    """Input i of output o less the zero point, as docs/MODEL_FILE.md says where it lies."""
    group = i // 4
    if bits == 8:
        return int(values[o // 64, group, o % 64, i % 4]) - 128
    byte = int(values[o // 64, group // 2, o % 64, i % 4])
    return (byte >> 4 if group % 2 else byte & 15) - 8


def rounded_to_int8(x: np.ndarray, block_size: int) -> np.ndarray:
    """Activations [..., inputs] as docs/MODEL_FILE.md rounds them."""
    result = np.empty_like(x)
    for first in range(0, x.shape[-1], block_size):
        part = x[..., first : first + block_size]
        largest = np.maximum(np.abs(part).max(axis=-1, keepdims=True), np.float32(1e-30))
        values = np.rint(part * (np.float32(127) / largest))
        result[..., first : first + block_size] = values * (largest / np.float32(127))
    return result
