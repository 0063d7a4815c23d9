"""The config of an export for onnxruntime-genai that has no config.json beside it.

genai_config.json knows the sizes; the rest, attributes and shapes of the graph tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto

from .. import json_file
from ..errors import ExportError
from ..gated import FULL, SLIDING
from ..json_file import shown
from .onnx_file import OnnxFile, attributes

# Types whose config is known when sizes, norms, windows and rotary tables are.
TYPES = ("llama", "mistral", "qwen2", "qwen3", "phi3")
ADVICE = "put the config.json of the checkpoint beside it that it was made of"
SIZES = {
    "hidden_size": "hidden_size",
    "head_size": "head_dim",
    "num_attention_heads": "num_attention_heads",
    "num_hidden_layers": "num_hidden_layers",
    "num_key_value_heads": "num_key_value_heads",
}
SIGNIFICANT = 6  # digits of a base of rotary frequencies that float32 tables tell


def fields_of(path: Path, file: OnnxFile) -> dict[str, Any]:
    """As in the checkpoint's config.json; ExportError naming what cannot be known without it."""
    model = _object(json_file.read_object(path).get("model"), path, "model")
    decoder = _object(model.get("decoder"), path, "model.decoder")
    if model.get("type") not in TYPES:
        raise ExportError(
            f"{path}: model.type is {shown(model.get('type'))}, of which it does not say enough"
            f" (known: {', '.join(TYPES)}); {ADVICE}"
        )
    attention = _first(file, path, "GroupQueryAttention")
    norm = attributes(_first(file, path, "SimplifiedLayerNormalization"))
    biases = any("_proj/Add" in node.name and "/attn/" in node.name for node in file.nodes)
    fields = {
        "model_type": model["type"],
        **{ours: decoder.get(theirs) for theirs, ours in SIZES.items()},
        "vocab_size": model.get("vocab_size"),
        "max_position_embeddings": model.get("context_length"),
        "bos_token_id": model.get("bos_token_id"),
        "eos_token_id": model.get("eos_token_id"),
        "pad_token_id": model.get("pad_token_id"),
        "intermediate_size": _outputs(file, path, "/mlp/gate_proj/"),
        "rms_norm_eps": float(str(np.float32(norm.get("epsilon", 1e-5)))),  # as it was written
        "attention_bias": model["type"] == "llama" and biases,
        "tie_word_embeddings": False,  # the graph has the head, whatever it is
        **_rotary(file, path, attention, decoder),
        **_windows(file, model["type"]),
    }
    missing = [name for name in (*SIZES.values(), "vocab_size") if fields[name] is None]
    if missing:
        raise ExportError(f"{path} does not say {missing[0]}; {ADVICE}")
    # Without a field the family's default counts, and Mistral's is a window.
    return {
        name: value
        for name, value in fields.items()
        if value is not None or name == "sliding_window"
    }


def _windows(file: OnnxFile, model_type: str) -> dict[str, Any]:
    """Those of the layers; onnx_attributes.py sees where they must not differ."""
    found = [
        attributes(node).get("local_window_size", -1)
        for node in file.nodes
        if node.op_type == "GroupQueryAttention"
    ]
    if max(found) == -1:
        return {"sliding_window": None}
    if not model_type.startswith("qwen"):
        return {"sliding_window": max(found)}
    kinds = [FULL if window == -1 else SLIDING for window in found]
    return {"sliding_window": max(found), "use_sliding_window": True, "layer_types": kinds}


def _rotary(
    file: OnnxFile, path: Path, attention: NodeProto, decoder: Mapping[str, Any]
) -> dict[str, Any]:
    """The base of frequencies, of what the tables turn by from position 0 to 1."""
    names = [*attention.input[7:9]]
    if len(names) < 2 or not all(name in file for name in names):
        raise ExportError(
            f"{path}: node {shown(attention.name)} has no tables of rotary positions that are"
            f" constants; {ADVICE}"
        )
    cosines, sines = (file.read(name).astype(np.float64) for name in names)
    if cosines.ndim != 2 or cosines.shape != sines.shape or min(cosines.shape) < 2:
        raise file.refused(names[0], f"has shape {list(cosines.shape)}, and is a table of angles")
    turns = np.arctan2(sines[1], cosines[1])
    pairs = len(turns)
    with np.errstate(all="ignore"):
        base = float(turns[1] ** -float(pairs))  # pair i turns by base ** (-i / pairs)
    if not np.isfinite(base) or base <= 1:
        raise ExportError(
            f"{path}: {names[0]!r} has no rotary frequencies that are known; {ADVICE}"
        )
    rounded = float(f"{base:.{SIGNIFICANT - 1}g}")
    head_dim = decoder.get("head_size")
    partial = 2 * pairs / head_dim if isinstance(head_dim, int) and head_dim > 0 else 1.0
    found: dict[str, Any] = {"rope_theta": rounded}
    return found if partial == 1 else {**found, "partial_rotary_factor": partial}


def _outputs(file: OnnxFile, path: Path, part: str) -> int | float:
    for node in file.nodes:
        if part in node.name and node.op_type == "MatMulNBits":
            return attributes(node).get("N", 0)
        if part in node.name and node.op_type == "MatMul":
            for name in node.input[1:2]:
                if name in file and len(file.shape(name)) == 2:
                    return file.shape(name)[1]
    raise ExportError(f"{path}: no product of the graph is called {part}; {ADVICE}")


def _first(file: OnnxFile, path: Path, operator: str) -> NodeProto:
    for node in file.nodes:
        if node.op_type == operator:
            return node
    raise ExportError(f"{path}: the graph has no node {operator}; {ADVICE}")


def _object(value: Any, path: Path, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ExportError(f"{path}: {name} must be an object, not {shown(value)}")
    return value
