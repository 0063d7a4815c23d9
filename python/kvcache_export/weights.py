"""Where weights come from: a checkpoint directory, the Hugging Face hub, or a seed.

A weight is read when it is written, one at a time, so that the exporter holds one tensor and not a model.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from safetensors import SafetensorError, safe_open

from . import hub
from .config import PRESETS, Gpt2Config, read_config
from .errors import ExportError

Shape = tuple[int, ...]

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
PREFIX = "transformer."

# Buffers of older checkpoints: the causal mask and its fill value. They are not weights.
MASK_BUFFERS = (".attn.bias", ".attn.masked_bias")


class Weights(Protocol):
    def check(self, expected: Mapping[str, Shape]) -> None:
        """Raises ExportError naming the first tensor that is missing, misshapen or unexpected."""

    def read(self, name: str, shape: Shape) -> np.ndarray:
        """One tensor, in the element type it is stored in."""


@dataclass(frozen=True)
class Source:
    """A model to export: what it is called, where it came from, its config and its weights."""

    title: str  # as shown to the user: gpt2
    origin: str  # as recorded in config.json: gpt2, or random-init:gpt2:seed=0
    config: Gpt2Config
    weights: Weights


def from_checkpoint(model: str) -> Source:
    """A directory with config.json and safetensors, or a model id on the Hugging Face hub."""
    directory = Path(model)
    if not directory.is_dir():
        directory = hub.download(model)
        title = origin = model
    else:
        title = origin = directory.resolve().name
    return Source(title, origin, read_config(directory / "config.json"), CheckpointWeights(directory))


def from_seed(architecture: str, seed: int) -> Source:
    """Random weights for a preset ("gpt2-medium") or a config.json."""
    if architecture in PRESETS:
        title, config = architecture, PRESETS[architecture]
    elif Path(architecture).is_file():
        path = Path(architecture)
        title, config = path.stem, read_config(path)
    else:
        raise ExportError(
            f"no such architecture or file: {architecture!r} (give a config.json or one of"
            f" {', '.join(PRESETS)})"
        )
    origin = f"random-init:{title}:seed={seed}"
    return Source(title, origin, config, RandomWeights(config, seed))


class RandomWeights:
    """Hugging Face's GPT-2 initialization: normal weights of deviation `initializer_range`, those that
    write to the residual stream scaled by 1/sqrt(2 * n_layer), biases 0, norms 1.

    Each tensor has a generator of its own, so its values depend on the seed and its name alone.
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
    """The safetensors of a directory, one file or sharded, with or without the `transformer.` prefix."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.files = {
            key: file
            for file in (_open(path) for path in _safetensors_paths(directory))
            for key in file.keys()
        }

    def check(self, expected: Mapping[str, Shape]) -> None:
        for name, shape in expected.items():
            key = self._key(name)
            found = tuple(self.files[key].get_slice(key).get_shape())
            if found != shape:
                raise ExportError(
                    f"tensor {key!r} has shape {list(found)}, expected {list(shape)} ({self.directory})"
                )
        for key in self.files:
            name = PREFIX + key.removeprefix(PREFIX)
            part_of_transformer = name.split(".")[1] in ("wte", "wpe", "h", "ln_f")
            if part_of_transformer and name not in expected and not name.endswith(MASK_BUFFERS):
                raise ExportError(
                    f"unexpected tensor {key!r}: the config has no place for it ({self.directory})"
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
    if (directory / SINGLE).is_file():
        return [directory / SINGLE]
    index = directory / INDEX
    if index.is_file():
        try:
            shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise ExportError(f"{index} is not a safetensors index: {error!r}") from error
        return [directory / name for name in sorted(set(shards))]
    if (directory / "pytorch_model.bin").is_file():
        raise ExportError(
            f"{directory} has pytorch_model.bin only; convert it to safetensors with transformers:"
            " from_pretrained(...) and save_pretrained(...)"
        )
    raise ExportError(f"no {SINGLE} in {directory}")
