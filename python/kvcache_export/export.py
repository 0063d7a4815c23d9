"""One export from beginning to end: build, write aside, verify, publish."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from onnxscript.nn import Parameter

from . import functions, manifest, output_directory, rounding, save, signals, verify
from .config import Gpt2Config
from .gpt2 import build_model
from .packing import PackedParameter, pack
from .precision import ACCURACY_LEVELS, DTYPES, Precision, Product, convert
from .publish import publish
from .quantization import QuantizedParameter, ScalesParameter
from .quantized_cache import SCALE_BYTES
from .rounding import RoundingCosts
from .sources import Source
from .verify import Agreement

MEGABYTE = 10**6


def export(
    source: Source,
    output: str,
    *,
    precision: Precision,
    rounding_ids: Sequence[int] | None,
    single_file: bool,
    say: Callable[[str], None],
    progress: save.Progress,
) -> None:
    """Writes the model directory of docs/MODEL_FILE.md; `say` gets the lines that the user reads.

    What rounding the weights, or keys and values, costs is measured on `rounding_ids`, or on random
    ones.
    Raises ExportError or VerificationError, and then leaves `output` as it was.
    """
    say(_summary(source.config))
    for note in source.notes:
        say(f"Note: {note}")
    ids = rounding.token_ids(source.config, rounding_ids)
    model = model_with_weights(source, precision)
    say(f"Exporting to ONNX: {_shown(output, save.MODEL_FILE)}")
    if single_file and save.weight_bytes(model) > save.SINGLE_FILE_WEIGHT_BYTES:
        say("Note: over protobuf's 2 GB, so the weights go to a file of their own")
        single_file = False

    published = False
    try:
        with output_directory.staging(Path(output)) as staging:
            staging.check_room(save.weight_bytes(model))
            config, summary = _write_and_verify(
                staging.directory,
                source,
                model,
                precision=precision,
                ids=ids,
                single_file=single_file,
                progress=progress,
            )
            with signals.deferred():
                publish(staging, config)
                published = True
            progress("")
        say("✓ Model exported successfully")
        say(f"✓ Configuration saved: {_shown(output, save.CONFIG_FILE)}")
        for line in summary:
            say(line)
    except signals.Ended as end:
        end.published = output if published else None
        raise


def _write_and_verify(
    staged: Path,
    source: Source,
    model: ir.Model,
    *,
    precision: Precision,
    ids: np.ndarray,
    single_file: bool,
    progress: save.Progress,
) -> tuple[dict[str, Any], list[str]]:
    """Makes the files of the model; config.json's contents, and what the user is told of them."""
    names = save.write_model(model, staged, single_file, progress)
    progress("checking the graph")
    verify.check_graph(staged / save.MODEL_FILE)
    progress("comparing cached with uncached logits")
    agreement = _agreement(source, staged, precision, progress)
    costs = _rounding_costs(source, staged, precision, ids, progress)
    progress("computing digests")
    files = [manifest.describe(staged / name) for name in names]
    config = manifest.contents(source, precision, files, agreement, costs)
    summary = [
        "✓ ONNX model is valid",
        f"✓ Cached and uncached logits agree{_run_as(precision)}: max difference"
        f" {agreement.max_abs_diff:.1e} (largest logit {agreement.max_abs_logit:.1f})",
    ]
    if costs.weights is not None:
        summary.append(f"✓ Weights in {_described(precision)}, against float32: {costs.weights}")
    if costs.cache is not None:
        summary.append(
            f"✓ Keys and values in {precision.cache_dtype}, against float32: {costs.cache}"
        )
    size = sum(file["bytes"] for file in files)
    summary.append(f"Model size: {size / MEGABYTE:.0f} MB")
    return config, summary


def _run_as(precision: Precision) -> str:
    """How the comparison of cached and uncached logits was run, if not as the model is."""
    if precision.rounded_activations:
        return " (run with float32 activations)"
    return " (run in float32 with the bfloat16 weights)" if precision.dtype == "bfloat16" else ""


def _described(precision: Precision) -> str:
    blocks = f" in blocks of {precision.block_size}" if precision.quantized else ""
    rounded = precision.rounded_activations
    activations = rounded or (precision.dtype if precision.quantized else None)
    return f"{precision.weights}{blocks}{f', activations in {activations}' if activations else ''}"


def model_with_weights(
    source: Source, precision: Precision, *, rounded_to: str | None = None
) -> ir.Model:
    """The model; its weights are read when it is written.

    Each is rounded to its element type, or to `rounded_to` before.
    """
    model = build_model(source.config, precision)
    initializers = model.graph.initializers.values()
    parameters = [value for value in initializers if isinstance(value, Parameter)]
    scales = {value.weight: value for value in parameters if isinstance(value, ScalesParameter)}
    stored = [value for value in parameters if not isinstance(value, ScalesParameter)]
    source.weights.check({value.name: _checkpoint_shape(value) for value in stored})
    for value in stored:
        if isinstance(value, QuantizedParameter):
            _quantize_lazily(source, value, scales[value])
        else:
            value.const_value = _lazy_weight(source, value, rounded_to)
    return model


def _lazy_weight(source: Source, value: Parameter, rounded_to: str | None) -> ir.LazyTensor:
    name = next(name for name, dtype in DTYPES.items() if dtype == value.dtype)

    def read() -> ir.Tensor:
        weight = source.weights.read(value.name, _checkpoint_shape(value))
        weight = convert(weight, rounded_to or name, value.name)
        if isinstance(value, PackedParameter):
            weight = pack(weight)
        return ir.Tensor(weight.astype(value.dtype.numpy(), copy=False), name=value.name)

    return ir.LazyTensor(read, value.dtype, value.shape, name=value.name)


def _quantize_lazily(source: Source, value: QuantizedParameter, scales: ScalesParameter) -> None:
    def quantized() -> tuple[np.ndarray, np.ndarray]:
        weight = source.weights.read(value.name, value.checkpoint_shape)
        return value.quantized(convert(weight, "float32", value.name), value.name)

    # Quantised once for each, so that one tensor at a time is in memory.
    for part, of in enumerate((value, scales)):
        of.const_value = ir.LazyTensor(
            lambda part=part, of=of: ir.Tensor(quantized()[part], name=of.name),
            of.dtype,
            of.shape,
            name=of.name,
        )


def _checkpoint_shape(value: Parameter) -> tuple[int, ...]:
    if isinstance(value, PackedParameter | QuantizedParameter):
        return value.checkpoint_shape
    return tuple(value.shape.numpy())


def _agreement(
    source: Source, staged: Path, precision: Precision, progress: save.Progress
) -> Agreement:
    """How well cached and uncached logits of the staged file agree.

    ONNX Runtime has no bfloat16 kernels on the CPU: such a model is measured as the same graph in
    float32, with the same weights (those rounded to bfloat16). Where activations are rounded, it is
    the same file without that: rounding makes steps of the last places' differences.
    """
    types = (precision.dtype, precision.cache_dtype if precision.narrow_cache else None)
    if precision.rounded_activations:
        with _changed(staged, _leave_activations_in_float32) as stand_in:
            return verify.compare_cached(stand_in, source.config, *types)
    if precision.dtype != "bfloat16":
        return verify.compare_cached(staged / save.MODEL_FILE, source.config, *types)
    with _in_float32(source, staged, "bfloat16", progress) as stand_in:
        return verify.compare_cached(stand_in, source.config, "float32")


def _rounding_costs(
    source: Source, staged: Path, precision: Precision, ids: np.ndarray, progress: save.Progress
) -> RoundingCosts:
    """What the staged model's logits lose to each kind of rounding that it has.

    That of the weights, and of activations with them, against the same model in float32, both over
    a float32 cache. That of keys and values against the same file over a float32 cache, both with
    float32 activations: where those are rounded too, the last place's difference moves a logit as
    far as their rounding does.
    """

    def logits(file: Path) -> np.ndarray:  # one model at a time in memory
        return verify.Runner(file, source.config).logits(ids, [ids.shape[1]])

    of_weights = of_cache = None
    if precision.mixed:
        progress("comparing with float32 weights")
        with _changed(staged, _keep_cache_in_float32) as stand_in:
            found = logits(stand_in)
        with _in_float32(source, staged, None, progress) as stand_in:
            of_weights = rounding.cost(found, logits(stand_in))
    if precision.narrow_cache:
        progress("comparing with a float32 cache")
        with _changed(staged, _leave_activations_in_float32) as stand_in:
            found = logits(stand_in)
        with _changed(staged, _leave_activations_in_float32, _keep_cache_in_float32) as stand_in:
            of_cache = rounding.cost(found, logits(stand_in))
    return RoundingCosts(of_weights, of_cache)


@contextlib.contextmanager
def _changed(staged: Path, *changes: Callable[[onnx.ModelProto], None]) -> Iterator[Path]:
    """The staged file with another graph over the same weights, as long as the block lasts."""
    model = onnx.load(staged / save.MODEL_FILE, load_external_data=False)
    for change in changes:
        change(model)
    stand_in = staged / "changed.onnx"
    try:
        onnx.save(model, stand_in)
        yield stand_in
    finally:
        stand_in.unlink(missing_ok=True)


def _leave_activations_in_float32(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "accuracy_level":
                attribute.i = ACCURACY_LEVELS["float32"]
    for make in (functions.linear, functions.linear_gelu, functions.head):
        name, plain = make(Product.BFLOAT16).name, make(Product.PLAIN)
        for function in model.functions:
            if function.name == name:
                function.CopyFrom(ir.to_proto(plain))
                function.name = name


def _keep_cache_in_float32(model: onnx.ModelProto) -> None:
    plain = functions.cached_attention(quantized=False)
    for function in model.functions:
        if function.name == plain.name:
            function.CopyFrom(ir.to_proto(plain))
    for value in (*model.graph.input, *model.graph.output):
        if value.name.startswith(("past_key_", "past_value_", "present_")):
            tensor = value.type.tensor_type
            if tensor.elem_type == onnx.TensorProto.INT8:
                tensor.shape.dim[3].dim_value -= SCALE_BYTES
            tensor.elem_type = onnx.TensorProto.FLOAT


@contextlib.contextmanager
def _in_float32(
    source: Source, staged: Path, rounded_to: str | None, progress: save.Progress
) -> Iterator[Path]:
    """The graph in float32 all through, as long as the block lasts."""
    stand_in = staged / "float32"
    stand_in.mkdir()
    try:
        model = model_with_weights(source, Precision("float32", "float32"), rounded_to=rounded_to)
        save.write_model(model, stand_in, single_file=False, progress=progress)
        yield stand_in / save.MODEL_FILE
    finally:
        shutil.rmtree(stand_in)


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
