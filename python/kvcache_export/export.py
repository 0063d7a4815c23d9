"""One export from beginning to end: build, write aside, verify, publish."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir

from . import (
    calibration,
    manifest,
    model,
    output_directory,
    rounding,
    save,
    signals,
    stand_ins,
    tokenizer_files,
    verify,
)
from .precision import Precision
from .publish import publish
from .rounding import RoundingCosts
from .sources import Source
from .spec import DecoderSpec
from .verify import Agreement

MEGABYTE = 10**6


@dataclass(frozen=True)
class Export:
    """What is exported, and how; `say` gets the lines that the user reads.

    What rounding costs is measured on `rounding_ids`, or on random ones. Weights of 4 bits are
    rounded so that products lose little on `calibration_ids`, where given.
    """

    source: Source
    precision: Precision
    rounding_ids: Sequence[int] | None
    calibration_ids: Sequence[int] | None
    single_file: bool
    hidden_states: bool
    say: Callable[[str], None]
    progress: save.Progress
    calibration_option: str = calibration.OPTION  # where the ids came from, as errors call it

    def __post_init__(self) -> None:
        object.__setattr__(self, "precision", model.settled(self.source, self.precision))

    def to(self, output: str) -> None:
        """Writes the model directory of docs/MODEL_FILE.md.

        Raises ExportError or VerificationError, and then leaves `output` as it was.
        """
        source, say, model_file = self.source, self.say, self.source.family.model_file
        say(_summary(source.spec))
        for note in source.notes:
            say(f"Note: {note}")
        ids = rounding.token_ids(source.spec, self.rounding_ids)
        of_text = self._calibration_rows()
        built = model.with_weights(source, self.precision, hidden_states=self.hidden_states)
        say(f"Exporting to ONNX: {_shown(output, model_file)}")
        size, single_file = save.weight_bytes(built), self.single_file
        if single_file and size > save.SINGLE_FILE_WEIGHT_BYTES:
            say("Note: over protobuf's 2 GB, so the weights go to a file of their own")
            single_file = False

        with output_directory.staging(Path(output), model_file) as staging:
            staging.check_room(size)
            file = staging.directory / model_file
            with self._calibrated(staging, built, of_text) as built:
                written = save.write_model(built, file, single_file, self.progress)
            written += tokenizer_files.copy(source.tokenizer, staging.directory)
            if source.chat_template is not None:
                written += source.chat_template.write(staging.directory)
            config, summary = self._verified(file, written, ids)
            with signals.deferred():
                publish(staging, config)
                signals.note_published(output)
            self.progress("")
        say("✓ Model exported successfully")
        say(f"✓ Configuration saved: {_shown(output, save.CONFIG_FILE)}")
        for line in summary:
            say(line)

    def _calibration_rows(self) -> np.ndarray | None:
        given = self.calibration_ids
        if given is None:
            return None
        calibration.check(self.source, self.precision, self.calibration_option)
        return rounding.token_ids(self.source.spec, given, self.calibration_option)

    @contextlib.contextmanager
    def _calibrated(
        self, staging: output_directory.Staging, built: ir.Model, ids: np.ndarray | None
    ) -> Iterator[ir.Model]:
        """`built`, or the model quantised for the text; what that takes is there meanwhile."""
        sizes = {} if ids is None else calibration.calibrated(self.source, self.precision)
        if not sizes:
            yield built
            return
        staging.check_room(
            ids.size * sum(sizes.values()) * np.dtype(np.float32).itemsize,
            f"what {len(sizes)} matrices are multiplied with in the text of"
            f" {self.calibration_option} takes",
        )
        directory = staging.directory / "calibration"
        try:
            file = staging.directory / self.source.family.model_file
            with stand_ins.in_float32(file, self.source, self.progress) as wide:
                inputs = calibration.inputs(wide, sizes, ids, directory, self.progress)
            yield model.with_weights(
                self.source, self.precision, hidden_states=self.hidden_states, inputs=inputs
            )
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _verified(
        self, file: Path, written: list[tuple[Path, str]], ids: np.ndarray
    ) -> tuple[dict[str, Any], list[str]]:
        """config.json's contents, and what the user is told of the model."""
        precision = self.precision
        self.progress("checking the graph")
        verify.check_graph(file)
        self.progress("comparing cached with uncached logits")
        agreement = self._agreement(file)
        costs = self._rounding_costs(file, ids)
        self.progress("computing digests")
        config = manifest.contents(
            self.source,
            precision,
            types=model.matrix_types(self.source, precision),
            files=[manifest.describe(path, role) for path, role in written],
            agreement=agreement,
            costs=costs,
            hidden_states=self.hidden_states,
        )
        summary = [
            "✓ ONNX model is valid",
            f"✓ Cached and uncached logits agree{_run_as(precision)}: max difference"
            f" {agreement.max_abs_diff:.1e} (largest logit {agreement.max_abs_logit:.1f})",
        ]
        for what, cost in (
            (f"Weights in {_described(precision)}", costs.weights),
            (f"Keys and values in {precision.cache_dtype}", costs.cache),
        ):
            if cost is not None:
                summary.append(f"✓ {what}, against float32: {cost}")
        tokenizer = [path.name for path, role in written if role == tokenizer_files.ROLE]
        if tokenizer:
            summary.append(f"✓ Tokenizer copied: {', '.join(tokenizer)}")
        size = sum(path.stat().st_size for path, _ in written)
        return config, [*summary, f"Model size: {size / MEGABYTE:.0f} MB"]

    def _agreement(self, file: Path) -> Agreement:
        """How well cached and uncached logits of the written file agree.

        ONNX Runtime has no bfloat16 kernels on the CPU: such a model is measured as the same graph
        in float32, with the same weights (those rounded to bfloat16). Where activations are
        rounded, it is the same file without that: rounding makes steps of the last places'
        differences.
        """
        source, precision = self.source, self.precision
        types = (precision.dtype, precision.cache_dtype if precision.narrow_cache else None)
        if precision.rounded_activations:
            with stand_ins.over_its_weights(file, source, precision, rounded=False) as unrounded:
                return verify.compare_cached(unrounded, source.spec, *types, self.progress)
        if precision.dtype != "bfloat16":
            return verify.compare_cached(file, source.spec, *types, self.progress)
        with stand_ins.in_float32(file, source, self.progress, rounded_to="bfloat16") as wide:
            return verify.compare_cached(wide, source.spec, "float32", progress=self.progress)

    def _rounding_costs(self, file: Path, ids: np.ndarray) -> RoundingCosts:
        """What the written model's logits lose to each kind of rounding that it has.

        That of the weights, and of activations with them, against the same model in float32, both
        over a float32 cache. That of keys and values against the same file over a float32 cache,
        both with float32 activations: where those are rounded too, the last place's difference
        moves a logit as far as their rounding does.
        """

        def logits(file: Path) -> np.ndarray:  # one model at a time in memory
            return verify.Runner(file).logits(ids, [ids.shape[1]])

        def changed(**changes: bool) -> np.ndarray:
            with stand_ins.over_its_weights(file, self.source, self.precision, **changes) as other:
                return logits(other)

        of_weights = of_cache = None
        if self.precision.mixed:
            self.progress("comparing with float32 weights, model 1 of 2")
            found = changed(narrow_cache=False)
            with stand_ins.in_float32(file, self.source, self.progress) as wide:
                self.progress("comparing with float32 weights, model 2 of 2")
                of_weights = rounding.cost(found, logits(wide))
        if self.precision.narrow_cache:
            self.progress("comparing with a float32 cache, model 1 of 2")
            found = changed(rounded=False)
            self.progress("comparing with a float32 cache, model 2 of 2")
            of_cache = rounding.cost(found, changed(rounded=False, narrow_cache=False))
        return RoundingCosts(of_weights, of_cache)


def _run_as(precision: Precision) -> str:
    """How the comparison of cached and uncached logits was run, if not as the model is."""
    if precision.rounded_activations:
        return " (run with float32 activations)"
    return " (run in float32 with the bfloat16 weights)" if precision.dtype == "bfloat16" else ""


def _described(precision: Precision) -> str:
    blocks = f" in blocks of {precision.block_size}" if precision.quantized else ""
    rounded = precision.rounded_activations
    activations = rounded or (precision.dtype if precision.quantized else None)
    parts = [f"{precision.weights}{blocks}"]
    parts += [f"{pattern} in {weights}" for pattern, weights in precision.overrides.items()]
    if activations:
        parts.append(f"activations in {activations}")
    return ", ".join(parts)


def _summary(spec: DecoderSpec) -> str:
    def of_layers(name: str) -> str:
        values = dict.fromkeys(getattr(layer.attention, name) for layer in spec.layers)
        return " or ".join(map(str, values))

    head = spec.value_head
    sizes = "" if head is None else " → ".join(map(str, (spec.hidden_size, *head.inner_sizes, 1)))
    return (
        "Model configuration:\n"
        f"  Layers: {len(spec.layers)}\n"
        f"  Heads: {of_layers('num_heads')}\n"
        f"  Head dimension: {of_layers('head_dim')}\n"
        f"  Vocabulary size: {spec.vocab_size}\n"
        f"  Max sequence length: {spec.max_seq_len}"
        + (f"\n  Value head: {sizes} ({head.activation}, {head.output_activation})" if head else "")
    )


def _shown(output: str, name: str) -> str:
    return os.path.join(output, name)  # noqa: PTH118 (a Path would drop the leading ./)
