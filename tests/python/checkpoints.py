"""Small random GPT-2 checkpoints on disk, as Hugging Face writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

SMALL = {
    "model_type": "gpt2",
    "vocab_size": 61,
    "n_positions": 32,
    "n_embd": 24,
    "n_layer": 2,
    "n_head": 2,
}


def weights(config: dict[str, Any], seed: int = 0) -> dict[str, np.ndarray]:
    """float32 weights that are all random, biases and norms too, and large enough to matter."""
    hidden = config["n_embd"]
    inner = config.get("n_inner") or 4 * hidden
    shapes = {
        "transformer.wte.weight": [config["vocab_size"], hidden],
        "transformer.wpe.weight": [config["n_positions"], hidden],
        "transformer.ln_f.weight": [hidden],
        "transformer.ln_f.bias": [hidden],
    }
    for layer in range(config["n_layer"]):
        for name, outputs, inputs in (
            ("attn.c_attn", 3 * hidden, hidden),
            ("attn.c_proj", hidden, hidden),
            ("mlp.c_fc", inner, hidden),
            ("mlp.c_proj", hidden, inner),
        ):
            shapes[f"transformer.h.{layer}.{name}.weight"] = [inputs, outputs]
            shapes[f"transformer.h.{layer}.{name}.bias"] = [outputs]
        for name in ("ln_1", "ln_2"):
            shapes[f"transformer.h.{layer}.{name}.weight"] = [hidden]
            shapes[f"transformer.h.{layer}.{name}.bias"] = [hidden]
    if not config.get("tie_word_embeddings", True):
        shapes["lm_head.weight"] = [config["vocab_size"], hidden]
    generator = np.random.default_rng(seed)
    return {
        name: np.float32(generator.normal(1.0 if "ln_" in name else 0.0, 0.3, shape))
        for name, shape in shapes.items()
    }


def value_head(
    hidden: int, sizes: tuple[int, int] = (10, 6), seed: int = 0, *, normed: bool = True
) -> dict[str, np.ndarray]:
    """A value head's float32 weights, by trigoRL's names, large enough to matter."""
    shapes: dict[str, list[int]] = {}
    inputs = hidden
    for i, outputs in enumerate(sizes, start=1):
        shapes[f"value_head.fc{i}.weight"] = [outputs, inputs]
        shapes[f"value_head.fc{i}.bias"] = [outputs]
        if normed:
            shapes[f"value_head.ln{i}.weight"] = [outputs]
            shapes[f"value_head.ln{i}.bias"] = [outputs]
        inputs = outputs
    shapes["value_head.fc_out.weight"] = [1, inputs]
    shapes["value_head.fc_out.bias"] = [1]
    generator = np.random.default_rng(seed)
    return {
        name: np.float32(generator.normal(1.0 if ".ln" in name else 0.0, 0.4, shape))
        for name, shape in shapes.items()
    }


def write(directory: Path, config: dict[str, Any], tensors: dict[str, np.ndarray]) -> Path:
    """The directory, made, with config.json and model.safetensors."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(json.dumps(config))
    save_file(tensors, directory / "model.safetensors")
    return directory


def write_random(directory: Path, seed: int = 0, **fields: Any) -> Path:
    """A checkpoint of SMALL with the given fields changed."""
    config = {**SMALL, **fields}
    return write(directory, config, weights(config, seed))
