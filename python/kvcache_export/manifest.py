"""config.json: what a program needs to know of the model before it opens the graph."""

import math
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import xxhash

from . import encoding
from .graph import HIDDEN_STATES_OUTPUT, VALUE_OUTPUT
from .precision import DTYPES, MatrixType, Precision
from .rounding import RoundingCosts
from .save import FORMAT
from .sources import Source
from .spec import DecoderSpec
from .verify import Agreement

FORMAT_VERSION = 2
VARIANT = "cached_attention"

CHUNK_BYTES = 1 << 22


def contents(
    source: Source,
    precision: Precision,
    *,
    types: Mapping[str, MatrixType],
    files: list[dict[str, Any]],
    agreement: Agreement,
    costs: RoundingCosts,
    hidden_states: bool = False,
) -> dict[str, Any]:
    """The fields of docs/MODEL_FILE.md; `costs` of weights and cache narrower than the model."""
    config = source.config
    fields = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "variant": VARIANT,
        "model_type": source.family.model_type,
        "source": source.origin,
        "spec": source.spec.to_json(),
        "outputs": _outputs(source.spec, hidden_states),
        "dtype": precision.dtype,
        "cache_dtype": precision.cache_dtype,
        "weights": precision.weights,
        "activations": precision.rounded_activations or precision.dtype,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_ids[0] if config.eos_token_ids else None,
        "pad_token_id": config.pad_token_id,
        "stop_token_ids": list(config.eos_token_ids),
        "model_file": source.family.model_file,
        "files": files,
        "weight_bytes_per_token": weight_bytes_per_token(source.spec, precision, types),
        "verification": {
            "cached_vs_uncached_max_abs_diff": agreement.max_abs_diff,
            "max_abs_logit": agreement.max_abs_logit,
        },
    }
    if precision.quantized:
        fields["block_size"] = precision.block_size
    if precision.overrides:
        fields["weights_overrides"] = dict(precision.overrides)
    for name, cost in (("rounding", costs.weights), ("cache_rounding", costs.cache)):
        if cost is not None:
            fields[name] = asdict(cost)
    return fields


def _outputs(spec: DecoderSpec, hidden_states: bool) -> list[dict[str, Any]]:
    """What the graph computes beside keys and values, and of which tokens."""
    sizes: dict[str, str | int] = {"logits": "vocab_size"}
    if hidden_states:
        sizes[HIDDEN_STATES_OUTPUT] = spec.hidden_size
    if spec.value_head is not None:
        sizes[VALUE_OUTPUT] = 1
    return [
        {"name": name, "shape": ["tokens", size], "tokens": "selected"}
        for name, size in sizes.items()
    ]


def describe(path: Path, role: str) -> dict[str, Any]:
    """A file's name, role, size in bytes and XXH3-128 digest (canonical big-endian hex)."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return {
        "name": path.name,
        "role": role,
        "bytes": path.stat().st_size,
        "xxh3_128": digest.hexdigest(),
    }


def weight_bytes_per_token(
    spec: DecoderSpec, precision: Precision, types: Mapping[str, MatrixType]
) -> int:
    """How many bytes of weights the decoding of one token has to read.

    All of them once, but one row only of the tables of positions, and of the token embedding where
    the head has a weight of its own (a tied head reads it whole).
    """
    matrices = spec.matrices()
    if not spec.head.tied:
        matrices["embedding.tokens"] = replace(matrices["embedding.tokens"], parts=(1,))
    elements = sum(
        shape[-1] if name == "embedding.positions.weight" else math.prod(shape)
        for name, shape in spec.parameters().items()
        if name.rpartition(".weight")[0] not in matrices
    )
    of_matrices = sum(encoding.size(matrix, types[role]) for role, matrix in matrices.items())
    rotary = {layer.attention.rotary for layer in spec.layers} - {None}
    angles = sum(each.dims for each in rotary) * DTYPES["float32"].numpy().itemsize
    return of_matrices + elements * DTYPES[precision.dtype].numpy().itemsize + angles
