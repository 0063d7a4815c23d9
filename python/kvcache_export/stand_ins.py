"""Models that a written one is compared with, each as long as a block lasts."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir

from . import graph, model, save
from .precision import Precision
from .sources import Source


@contextlib.contextmanager
def over_its_weights(
    written: Path,
    source: Source,
    precision: Precision,
    *,
    rounded: bool = True,
    narrow_cache: bool = True,
) -> Iterator[Path]:
    """Another graph over the written weights: with unrounded activations, or a wide cache."""
    tensors = ir.load(written).graph.initializers
    types = model.matrix_types(source, precision)
    if not rounded:
        types = {role: replace(of, round_input=None) for role, of in types.items()}
    if not narrow_cache:
        precision = replace(precision, cache_dtype=precision.dtype)
    other = graph.build(source.spec, precision, types, lambda name, *_: tensors[name].const_value)
    stand_in = written.with_name("changed.onnx")
    try:
        ir.save(other, stand_in)
        yield stand_in
    finally:
        stand_in.unlink(missing_ok=True)


@contextlib.contextmanager
def in_float32(
    written: Path, source: Source, progress: save.Progress, *, rounded_to: str | None = None
) -> Iterator[Path]:
    """The model in float32 all through; its weights rounded to another type before, if given."""
    directory = written.with_name("float32")
    directory.mkdir()
    try:
        wide = model.with_weights(source, Precision("float32", "float32"), rounded_to=rounded_to)
        save.write_model(wide, directory / written.name, single_file=False, progress=progress)
        yield directory / written.name
    finally:
        shutil.rmtree(directory)
