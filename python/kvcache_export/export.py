"""One export from beginning to end: build, write aside, verify, publish."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx_ir as ir
from onnxscript.nn import Parameter

from . import save, verify
from .gpt2 import build_model
from .precision import DTYPES, convert
from .verify import Agreement
from .weights import Source

FORMAT_VERSION = 1
VARIANT = "cached_attention"

MEGABYTE = 10**6


def export(
    source: Source,
    output: str,
    dtype: str,
    single_file: bool,
    say: Callable[[str], None],
    progress: save.Progress,
) -> None:
    """Writes the model directory of docs/MODEL_FILE.md and says what the user should read.

    Raises ExportError (bad input, nothing written) or VerificationError (bad result, nothing published).
    """
    config = source.config
    say("Model configuration:")
    say(f"  Layers: {config.n_layer}")
    say(f"  Heads: {config.n_head}")
    say(f"  Head dimension: {config.head_dim}")
    say(f"  Vocabulary size: {config.vocab_size}")
    say(f"  Max sequence length: {config.n_positions}")
    model = model_with_weights(source, dtype, dtype)

    say(f"Exporting to ONNX: {os.path.join(output, save.MODEL_FILE)}")
    if single_file and save.weight_bytes(model) > save.SINGLE_FILE_WEIGHT_BYTES:
        say("Note: over protobuf's 2 GB, so the weights go to a second file")
        single_file = False
    with save.staging(Path(output)) as staged:
        names = save.write_model(model, staged, single_file, progress)
        verify.check_graph(staged / save.MODEL_FILE)
        agreement = _verified(source, staged, dtype)
        files = [save.describe(staged / name) for name in names]
        save.write_config(_model_config(source, model, dtype, files, agreement), staged)
        save.publish(staged, Path(output), names)

    say("✓ Model exported successfully")
    say(f"✓ Configuration saved: {os.path.join(output, save.CONFIG_FILE)}")
    say("✓ ONNX model is valid")
    run_as = " (run in float32 with the bfloat16 weights)" if dtype == "bfloat16" else ""
    say(
        f"✓ Cached and uncached logits agree{run_as}: max difference {agreement.max_abs_diff:.1e}"
        f" (largest logit {agreement.max_abs_logit:.1f})"
    )
    say(f"Model size: {sum(file['bytes'] for file in files) / MEGABYTE:.0f} MB")


def model_with_weights(source: Source, dtype: str, rounded_to: str) -> ir.Model:
    """The model in `dtype` with the source's weights rounded to `rounded_to`, read when they are written."""
    model = build_model(source.config, DTYPES[dtype])
    parameters = [value for value in model.graph.initializers.values() if isinstance(value, Parameter)]
    shapes = {value.name: tuple(value.shape.numpy()) for value in parameters}
    source.weights.check(shapes)
    for value in parameters:
        value.const_value = _lazy_weight(source, value, shapes[value.name], dtype, rounded_to)
    return model


def _lazy_weight(
    source: Source, value: ir.Value, shape: tuple[int, ...], dtype: str, rounded_to: str
) -> ir.LazyTensor:
    def read() -> ir.Tensor:
        rounded = convert(source.weights.read(value.name, shape), rounded_to, value.name)
        return ir.Tensor(convert(rounded, dtype, value.name), name=value.name)

    return ir.LazyTensor(read, DTYPES[dtype], value.shape, name=value.name)


def _verified(source: Source, staged: Path, dtype: str) -> Agreement:
    """The agreement of cached with uncached logits, measured on the staged file.

    ONNX Runtime has no bfloat16 kernels on the CPU: such a model is measured as the same graph in float32
    holding the same, rounded weights.
    """
    if dtype != "bfloat16":
        return verify.compare_cached(staged / save.MODEL_FILE, source.config, dtype)
    stand_in = staged / "float32"
    stand_in.mkdir()
    model = model_with_weights(source, "float32", rounded_to=dtype)
    save.write_model(model, stand_in, single_file=False, progress=lambda done, total: None)
    return verify.compare_cached(stand_in / save.MODEL_FILE, source.config, "float32")


def _model_config(
    source: Source, model: ir.Model, dtype: str, files: list[dict[str, Any]], agreement: Agreement
) -> dict[str, Any]:
    """config.json: what the C++ side needs to know before it opens the graph."""
    config = source.config
    return {
        "format": "kvcache",
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
        "dtype": dtype,
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "model_file": save.MODEL_FILE,
        "files": files,
        "weight_bytes_per_token": _weight_bytes_per_token(source, model, dtype),
        "verification": {
            "cached_vs_uncached_max_abs_diff": agreement.max_abs_diff,
            "max_abs_logit": agreement.max_abs_logit,
        },
    }


def _weight_bytes_per_token(source: Source, model: ir.Model, dtype: str) -> int:
    """What decoding one token has to read: all weights, but one row only of a table looked up by id."""
    config = source.config
    looked_up = config.n_positions + (0 if config.tie_word_embeddings else config.vocab_size)
    tables = 1 if config.tie_word_embeddings else 2
    unread_values = (looked_up - tables) * config.n_embd
    return save.weight_bytes(model) - unread_values * DTYPES[dtype].numpy().itemsize
