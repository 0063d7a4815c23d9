"""Weights, by Hugging Face's names: what an export asks of them, and random ones.

Weights are read one at a time, as they are written: the exporter holds a tensor and never a model.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Protocol

import numpy as np

from .config import Gpt2Config

Shape = tuple[int, ...]


class Weights(Protocol):
    def check(self, expected: Mapping[str, Shape]) -> None:
        """Raises ExportError naming the first tensor that is missing, misshapen or unexpected."""

    def read(self, name: str, shape: Shape) -> np.ndarray:
        """One tensor, in the element type it is stored in."""


class RandomWeights:
    """Hugging Face's GPT-2 initialization.

    Weights are normal with deviation `initializer_range`, divided by sqrt(2 * n_layer) for those
    that write to the residual stream; biases are 0 and norms 1. Each tensor has a generator of its
    own, so its values depend on the seed and its name alone.
    """

    def __init__(self, config: Gpt2Config, seed: int):
        self.deviation = config.initializer_range
        self.residual_deviation = config.initializer_range / math.sqrt(2 * config.n_layer)
        self.seed = seed

    def check(self, expected: Mapping[str, Shape]) -> None:
        pass

    def read(self, name: str, shape: Shape) -> np.ndarray:
        if name.endswith(".bias"):
            return np.zeros(shape, np.float32)
        if ".ln_" in name:
            return np.ones(shape, np.float32)
        generator = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        weight = generator.standard_normal(shape, np.float32)
        residual = name.endswith(".c_proj.weight")
        weight *= np.float32(self.residual_deviation if residual else self.deviation)
        return weight
