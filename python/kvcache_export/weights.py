"""Weights, by the names that Hugging Face's GPT-2 gives them: of a checkpoint or of a seed.

Weights are read one at a time, as they are written: the exporter holds a tensor and never a model.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from .config import Gpt2Config
from .errors import ExportError

Shape = tuple[int, ...]

SINGLE_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
PREFIX = "transformer."
STORED_DTYPES = ("F64", "F32", "F16", "BF16")

# Buffers of older checkpoints: the causal mask and its fill value. They are not weights.
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")


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


class CheckpointWeights:
    """The safetensors of a directory: one file or shards, names with `transformer.` or without."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.files = {
            key: file
            for file in (_open(path) for path in _safetensors_paths(directory))
            for key in file.keys()  # noqa: SIM118 (a safetensors file is no dict)
        }

    def check(self, expected: Mapping[str, Shape]) -> None:
        for name, shape in expected.items():
            key = self._key(name)
            stored = self.files[key].get_slice(key)
            if stored.get_dtype() not in STORED_DTYPES:
                raise ExportError(
                    f"tensor {key!r} has element type {stored.get_dtype()}, expected one of"
                    f" {', '.join(STORED_DTYPES)} ({self.directory})"
                )
            found = tuple(stored.get_shape())
            if found != shape:
                raise ExportError(
                    f"tensor {key!r} has shape {list(found)}, expected {list(shape)}"
                    f" ({self.directory})"
                )
        for key in self.files:
            name = PREFIX + key.removeprefix(PREFIX)
            part_of_transformer = name.split(".")[1] in ("wte", "wpe", "h", "ln_f")
            if part_of_transformer and name not in expected and not name.endswith(MASK_BUFFERS):
                raise ExportError(
                    f"unexpected tensor {key!r}: its config has no place for it ({self.directory})"
                )

    def read(self, name: str, shape: Shape) -> np.ndarray:
        key = self._key(name)
        return self.files[key].get_tensor(key)

    def _key(self, name: str) -> str:
        for key in (name, name.removeprefix(PREFIX)):
            if key in self.files:
                return key
        raise ExportError(f"missing tensor {name!r} ({self.directory})")


def _open(path: Path) -> safe_open:
    try:
        return safe_open(path, framework="numpy")
    except (OSError, SafetensorError) as error:
        raise ExportError(f"cannot read {path}: {error}") from error


def _safetensors_paths(directory: Path) -> list[Path]:
    if (directory / SINGLE_FILE).is_file():
        return [directory / SINGLE_FILE]
    if (directory / INDEX_FILE).is_file():
        return [directory / shard for shard in shard_names(directory / INDEX_FILE)]
    if (directory / "pytorch_model.bin").is_file():
        raise ExportError(
            f"{directory} has pytorch_model.bin only; convert it to safetensors with transformers:"
            " from_pretrained(...) and save_pretrained(...)"
        )
    raise ExportError(f"no {SINGLE_FILE} in {directory}")


def shard_names(index: Path) -> list[str]:
    """The files that an index of safetensors names."""
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted(set(weight_map.values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(f"{index} is not a safetensors index: {error!r}") from error
