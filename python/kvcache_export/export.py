"""One export from beginning to end: build, write aside, verify, publish."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx_ir as ir
from onnxscript.nn import Parameter

from . import manifest, save, verify
from .config import Gpt2Config
from .gpt2 import build_model
from .packing import PackedParameter, pack
from .precision import DTYPES, convert
from .sources import Source
from .verify import Agreement

MEGABYTE = 10**6


def export(
    source: Source,
    output: str,
    *,
    dtype: str,
    single_file: bool,
    say: Callable[[str], None],
    progress: save.Progress,
) -> None:
    """Writes the model directory of docs/MODEL_FILE.md; `say` gets the lines that the user reads.

    Raises ExportError or VerificationError, and then leaves `output` as it was.
    """
    say(_summary(source.config))
    model = model_with_weights(source, dtype, rounded_to=dtype)
    say(f"Exporting to ONNX: {_shown(output, save.MODEL_FILE)}")
    if single_file and save.weight_bytes(model) > save.SINGLE_FILE_WEIGHT_BYTES:
        say("Note: over protobuf's 2 GB, so the weights go to a file of their own")
        single_file = False

    with save.staging(Path(output)) as staged:
        names = save.write_model(model, staged, single_file, progress)
        progress("checking the graph")
        verify.check_graph(staged / save.MODEL_FILE)
        progress("comparing cached with uncached logits")
        agreement = _agreement(source, staged, dtype, progress)
        progress("computing digests")
        files = [manifest.describe(staged / name) for name in names]
        save.write_config(manifest.contents(source, dtype, files, agreement), staged)
        save.publish(staged, Path(output), names)
        progress("")

    say("✓ Model exported successfully")
    say(f"✓ Configuration saved: {_shown(output, save.CONFIG_FILE)}")
    say("✓ ONNX model is valid")
    run_as = " (run in float32 with the bfloat16 weights)" if dtype == "bfloat16" else ""
    say(
        f"✓ Cached and uncached logits agree{run_as}: max difference {agreement.max_abs_diff:.1e}"
        f" (largest logit {agreement.max_abs_logit:.1f})"
    )
    say(f"Model size: {sum(file['bytes'] for file in files) / MEGABYTE:.0f} MB")


def model_with_weights(source: Source, dtype: str, *, rounded_to: str) -> ir.Model:
    """The model in `dtype`; its weights, rounded to `rounded_to`, are read when it is written."""
    model = build_model(source.config, DTYPES[dtype])
    initializers = model.graph.initializers.values()
    parameters = [value for value in initializers if isinstance(value, Parameter)]
    source.weights.check({value.name: _checkpoint_shape(value) for value in parameters})
    for value in parameters:
        value.const_value = _lazy_weight(source, value, dtype, rounded_to)
    return model


def _lazy_weight(source: Source, value: Parameter, dtype: str, rounded_to: str) -> ir.LazyTensor:
    def read() -> ir.Tensor:
        weight = source.weights.read(value.name, _checkpoint_shape(value))
        weight = convert(weight, rounded_to, value.name)
        if isinstance(value, PackedParameter):
            weight = pack(weight)
        return ir.Tensor(weight.astype(DTYPES[dtype].numpy(), copy=False), name=value.name)

    return ir.LazyTensor(read, DTYPES[dtype], value.shape, name=value.name)


def _checkpoint_shape(value: Parameter) -> tuple[int, ...]:
    if isinstance(value, PackedParameter):
        return value.checkpoint_shape
    return tuple(value.shape.numpy())


def _agreement(source: Source, staged: Path, dtype: str, progress: save.Progress) -> Agreement:
    """How well cached and uncached logits of the staged file agree.

    ONNX Runtime has no bfloat16 kernels on the CPU: such a model is measured as the same graph in
    float32, with the same weights (those rounded to bfloat16).
    """
    if dtype != "bfloat16":
        return verify.compare_cached(staged / save.MODEL_FILE, source.config, dtype)
    stand_in = staged / "float32"
    stand_in.mkdir()
    model = model_with_weights(source, "float32", rounded_to=dtype)
    save.write_model(model, stand_in, single_file=False, progress=progress)
    return verify.compare_cached(stand_in / save.MODEL_FILE, source.config, "float32")


def _summary(config: Gpt2Config) -> str:
    return (
        "Model configuration:\n"
        f"  Layers: {config.n_layer}\n"
        f"  Heads: {config.n_head}\n"
        f"  Head dimension: {config.head_dim}\n"
        f"  Vocabulary size: {config.vocab_size}\n"
        f"  Max sequence length: {config.n_positions}"
    )


def _shown(output: str, name: str) -> str:
    return os.path.join(output, name)  # noqa: PTH118 (a Path would drop the leading ./)
