"""Random weights, as a family initializes its models."""

import zlib
from collections.abc import Mapping

import numpy as np

from ..family import Config, Family
from ..precision import MatrixType
from ..spec import Shape


class RandomWeights:
    """Normal weights of the family's deviations; biases are 0 and norms 1.

    Each tensor has a generator of its own, so its values depend on the seed and its name alone.
    """

    def __init__(self, family: Family, config: Config, seed: int):
        self._deviation = config.deviation
        self._parameters = {
            tensor: parameter
            for parameter in config.spec.parameters()
            for tensor in family.tensors(parameter)
        }
        self._seed = seed

    def check(self, expected: Mapping[str, Shape]) -> None:
        pass

    def block_scales(self, name: str, type_: MatrixType) -> None:
        return None

    def read(self, name: str, shape: Shape) -> np.ndarray:
        parameter = self._parameters[name]
        if parameter.endswith(".bias"):
            return np.zeros(shape, np.float32)
        if parameter.endswith("norm.weight"):
            return np.ones(shape, np.float32)
        generator = np.random.default_rng([self._seed, zlib.crc32(name.encode())])
        weight = generator.standard_normal(shape, np.float32)
        weight *= np.float32(self._deviation(parameter))
        return weight
