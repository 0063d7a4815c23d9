"""The model to export: a checkpoint of a directory or the Hugging Face hub, or random weights."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint import HEAD_WEIGHT, CheckpointWeights
from .config import PRESETS, Gpt2Config, read_config
from .errors import ExportError
from .weights import RandomWeights, Weights


@dataclass(frozen=True)
class Source:
    """A model to export."""

    origin: str  # as config.json records it: gpt2, a directory's name, or random-init:gpt2:seed=0
    config: Gpt2Config
    weights: Weights
    notes: tuple[str, ...] = ()  # where it is not what its config says, for the user


def from_checkpoint(model: str) -> Source:
    """A directory with config.json and safetensors, or a model id on the Hugging Face hub."""
    if os.path.isdir(model):  # noqa: PTH112 (Path's raises where a name is too long)
        directory, origin = Path(model), _printable(Path(model).resolve().name)
    elif os.path.lexists(model) or model.startswith((".", "/", "~")):
        raise ExportError(f"no such directory: {model!r}")
    else:
        directory, origin = _download(model), model
    config, weights = read_config(directory / "config.json"), CheckpointWeights(directory)
    if not config.tie_word_embeddings or weights.ties_head():
        return Source(origin, config, weights)
    note = (
        f"{HEAD_WEIGHT} differs from the token embedding, so it is the head, as in transformers,"
        " though config.json ties them"
    )
    return Source(origin, replace(config, tie_word_embeddings=False), weights, (note,))


def from_seed(architecture: str, seed: int) -> Source:
    """Random weights for a preset ("gpt2-medium") or a config.json."""
    if architecture in PRESETS:
        name, config = architecture, PRESETS[architecture]
    elif os.path.isfile(architecture):  # noqa: PTH113 (as above)
        name, config = _printable(Path(architecture).stem), read_config(Path(architecture))
    else:
        raise ExportError(
            f"no such architecture or file: {architecture!r} (give a config.json or one of"
            f" {', '.join(PRESETS)})"
        )
    return Source(f"random-init:{name}:seed={seed}", config, RandomWeights(config, seed))


def _download(model: str) -> Path:
    try:
        from . import hub
    except ModuleNotFoundError:
        raise
    except Exception as error:  # it reads variables of the environment when it is imported
        raise ExportError(
            f"the Hugging Face hub's client does not start: {error}; check the variables that begin"
            " with HF_"
        ) from error
    return hub.download(model)


def _printable(name: str) -> str:
    """A file's name as config.json can hold it: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")
