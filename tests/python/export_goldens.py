"""The goldens of other tools' exports, unpacked, and graphs changed or made for a test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import archives
import numpy as np
import onnx

EXPORTS = Path(__file__).parents[1] / "goldens" / "exports"


def unpacked(directory: Path, export: str, *, config: bool = True) -> Path:
    """An export's directory, as its tool left it, with the checkpoint's config.json or without."""
    archive = EXPORTS / f"{export}.tar.xz"
    archives.unpack(archive, directory)
    if config:
        shutil.copy(archive.parent / "config.json", directory)
    return directory


def ids_of(export: str) -> np.ndarray:
    """The golden's tokens [1, tokens]."""
    golden = json.loads((EXPORTS / export).parent.joinpath("golden.json").read_text())
    return np.array([golden["ids"]])


def logits_of(export: str) -> np.ndarray:
    """Hugging Face's, float32 [tokens, vocab_size]."""
    return np.load((EXPORTS / export).parent / "logits.npy")


def changed(directory: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    """The same directory, its graph changed."""
    model = onnx.load(directory / "model.onnx", load_external_data=False)
    change(model)
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    return directory


def node_of(model: onnx.ModelProto, operator: str) -> onnx.NodeProto:
    """The first of an operator."""
    return next(node for node in model.graph.node if node.op_type == operator)


def set_attribute(node: onnx.NodeProto, name: str, value: object) -> None:
    kept = [each for each in node.attribute if each.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
