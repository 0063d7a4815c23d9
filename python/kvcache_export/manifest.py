"""config.json: what a program needs to know of the model before it opens the graph."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import xxhash

from .config import EMBEDDING, HEAD, Gpt2Config
from .precision import DTYPES, Precision
from .rounding import RoundingCosts
from .save import FORMAT, MODEL_FILE
from .sources import Source
from .verify import Agreement

FORMAT_VERSION = 1
VARIANT = "cached_attention"

CHUNK_BYTES = 1 << 22


def contents(
    source: Source,
    precision: Precision,
    files: list[dict[str, Any]],
    agreement: Agreement,
    costs: RoundingCosts,
) -> dict[str, Any]:
    """The fields of docs/MODEL_FILE.md; `costs` of weights and cache narrower than the model."""
    config = source.config
    fields = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "variant": VARIANT,
        "model_type": "gpt2",
        "source": source.origin,
        "num_layers": config.n_layer,
        "num_heads": config.n_head,
        "head_dim": config.head_dim,
        "hidden_size": config.n_embd,
        "vocab_size": config.vocab_size,
        "max_seq_len": config.n_positions,
        "dtype": precision.dtype,
        "cache_dtype": precision.cache_dtype,
        "weights": precision.weights,
        "activations": precision.rounded_activations or precision.dtype,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_ids[0] if config.eos_token_ids else None,
        "model_file": MODEL_FILE,
        "files": files,
        "weight_bytes_per_token": weight_bytes_per_token(config, precision),
        "verification": {
            "cached_vs_uncached_max_abs_diff": agreement.max_abs_diff,
            "max_abs_logit": agreement.max_abs_logit,
        },
    }
    if len(config.eos_token_ids) > 1:
        fields["eos_token_ids"] = list(config.eos_token_ids)
    if precision.quantized:
        fields["block_size"] = precision.block_size
    if precision.overrides:
        fields["weights_overrides"] = dict(precision.overrides)
    for name, cost in (("rounding", costs.weights), ("cache_rounding", costs.cache)):
        if cost is not None:
            fields[name] = dataclasses.asdict(cost)
    return fields


def describe(path: Path) -> dict[str, Any]:
    """A file's name, size in bytes and XXH3-128 digest (canonical big-endian hex)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return {"name": path.name, "bytes": path.stat().st_size, "xxh3_128": digest.hexdigest()}


def weight_bytes_per_token(config: Gpt2Config, precision: Precision) -> int:
    """How many bytes of weights the decoding of one token has to read.

    All of them once, but one row only of the position embedding, and of the token embedding where
    the head has a weight of its own (a tied head reads it whole).
    """
    hidden = config.n_embd
    matrices = config.matrices()
    table = precision.of(EMBEDDING)
    total = 0 if config.tie_word_embeddings else table.matrix_bytes(hidden, 1)
    biases = 0
    for name, (inputs, outputs) in matrices.items():
        if name != EMBEDDING or config.tie_word_embeddings:
            total += precision.of(name).matrix_bytes(inputs, outputs)
        if name not in (EMBEDDING, HEAD):
            biases += outputs
    norms = (2 * config.n_layer + 1) * 2 * hidden
    return total + (biases + norms + hidden) * DTYPES[precision.dtype].numpy().itemsize
