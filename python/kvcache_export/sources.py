"""The model to export: a checkpoint of a directory or the Hugging Face hub, or random weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .config import PRESETS, Gpt2Config, read_config
from .errors import ExportError
from .weights import CheckpointWeights, RandomWeights, Weights


@dataclass(frozen=True)
class Source:
    """A model to export."""

    origin: str  # as config.json records it: gpt2, a directory's name, or random-init:gpt2:seed=0
    config: Gpt2Config
    weights: Weights


def from_checkpoint(model: str) -> Source:
    """A directory with config.json and safetensors, or a model id on the Hugging Face hub."""
    directory, origin = Path(model), Path(model).resolve().name
    if not directory.is_dir():
        if directory.exists() or model.startswith((".", "/", "~")):
            raise ExportError(f"no such directory: {model!r}")
        from . import hub

        directory, origin = hub.download(model), model
    return Source(origin, read_config(directory / "config.json"), CheckpointWeights(directory))


def from_seed(architecture: str, seed: int) -> Source:
    """Random weights for a preset ("gpt2-medium") or a config.json."""
    if architecture in PRESETS:
        name, config = architecture, PRESETS[architecture]
    elif Path(architecture).is_file():
        name, config = Path(architecture).stem, read_config(Path(architecture))
    else:
        raise ExportError(
            f"no such architecture or file: {architecture!r} (give a config.json or one of"
            f" {', '.join(PRESETS)})"
        )
    return Source(f"random-init:{name}:seed={seed}", config, RandomWeights(config, seed))
