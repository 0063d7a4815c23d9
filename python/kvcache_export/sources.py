"""The model to export: a checkpoint of a directory or the Hugging Face hub, or random weights."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path

from .checkpoint import HEAD_WEIGHT, CheckpointWeights
from .config import PRESETS, Gpt2Config, read_config
from .errors import ExportError
from .shards import check_no_adapter
from .weights import RandomWeights, Weights

ADVICE = "give a directory with config.json and safetensors, or a model id of the hub"


@dataclass(frozen=True)
class Source:
    """A model to export."""

    origin: str  # as config.json records it: gpt2, a directory's name, or random-init:gpt2:seed=0
    config: Gpt2Config
    weights: Weights
    notes: tuple[str, ...] = ()  # where it is not what its config says, for the user


def from_checkpoint(model: str) -> Source:
    """A directory with config.json and safetensors, or a model id on the Hugging Face hub."""
    mode = _mode(model)
    if stat.S_ISDIR(mode):
        directory, origin = Path(model), _printable(Path(model).resolve().name)
    elif mode or model.startswith((".", "/", "~")):
        raise ExportError(f"no such directory: {model!r}; {ADVICE}")
    else:
        directory, origin = _download(model), model
    check_no_adapter(directory)  # one alone has no config.json
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
    elif stat.S_ISREG(_mode(architecture)):
        name, config = _printable(Path(architecture).stem), read_config(Path(architecture))
    else:
        raise ExportError(
            f"no such architecture or file: {architecture!r} (give a config.json or one of"
            f" {', '.join(PRESETS)})"
        )
    return Source(f"random-init:{name}:seed={seed}", config, RandomWeights(config, seed))


def _mode(path: str) -> int:
    """What is there, as stat says it; 0 where nothing is."""
    try:
        return Path(path).stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return 0
        raise ExportError(f"cannot read {path}: {error.strerror}") from error


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
