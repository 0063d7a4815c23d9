"""A model to export: what it is, and its parameters as the description has them.

Parameters are read one at a time, as they are written: the exporter holds one and never a model.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from .. import value_heads
from ..chat import Template
from ..family import Config, Family
from ..precision import MatrixType
from ..spec import DecoderSpec, Layout, Matrix, Shape
from ..tokenizer_files import Made


class Weights(Protocol):
    """Tensors by a checkpoint's names."""

    def check(self, expected: Mapping[str, Shape]) -> None:
        """Raises ExportError naming the first tensor that is missing, misshapen or unexpected."""

    def read(self, name: str, shape: Shape) -> np.ndarray:
        """One tensor, in the element type it is stored in."""

    def block_scales(self, name: str, type_: MatrixType) -> np.ndarray | None:
        """Scales, float16 [rows, blocks], of a matrix that is stored in such blocks already; each
        with its minimum behind it where the type has them."""


@dataclass(frozen=True)
class Source:
    origin: str  # as config.json records it: gpt2, a directory's name, or random-init:gpt2:seed=0
    family: Family
    config: Config
    weights: Weights
    tokenizer: tuple[Path | Made, ...] = ()  # its files, which are copied
    chat_template: Template | None = None
    notes: tuple[str, ...] = ()  # where it is not what its config says, for the user

    @property
    def spec(self) -> DecoderSpec:
        return self.config.spec

    def without_value_head(self) -> "Source":
        """The same without that output; its tensors are left out."""
        config = replace(self.config, spec=replace(self.spec, value_head=None))
        notes = tuple(note for note in self.notes if not note.startswith(value_heads.PREFIX))
        return replace(self, config=config, notes=notes)

    def check(self) -> None:
        """Raises ExportError for a tensor that is missing, misshapen or unexpected."""
        self.weights.check({name: shape for of in self._tensors.values() for name, shape in of})

    def read(self, parameter: str) -> np.ndarray:
        """A parameter of the spec's shape, in the element type it is stored in."""
        parts = [self.weights.read(name, shape) for name, shape in self._tensors[parameter]]
        transposed = self._is_transposed(parameter)
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts, 0 if transposed else -1)
        if self.family.norm_offset and parameter.endswith("norm.weight"):
            whole = whole.astype(np.float32) + np.float32(self.family.norm_offset)
        return whole.T if transposed else whole

    def block_scales(self, parameter: str, type_: MatrixType) -> np.ndarray | None:
        """Those of a matrix in the file, float16 [blocks, outputs], where all of it is in blocks
        as ours are: then it is stored as it is, without being rounded again."""
        if self.family.inputs_first:
            return None
        names = [name for name, _ in self._tensors[parameter]]
        parts = [self.weights.block_scales(name, type_) for name in names]
        return None if any(part is None for part in parts) else np.concatenate(parts).T

    def stored_name(self, parameter: str) -> str:
        """What an error calls a parameter."""
        return " + ".join(name for name, _ in self._tensors[parameter])

    def matrix_names(self) -> dict[str, tuple[str, ...]]:
        """The checkpoint's names of each matrix, by its role."""
        return {role: self.family.names(role) for role in self._matrices}

    @functools.cached_property
    def _matrices(self) -> dict[str, Matrix]:
        return self.spec.matrices()

    @functools.cached_property
    def _tensors(self) -> dict[str, list[tuple[str, Shape]]]:
        """Names and shapes of what each parameter is, or is joined of, in the checkpoint."""
        found = {}
        for parameter, shape in self.spec.parameters().items():
            names, matrix = self.family.tensors(parameter), self._matrices.get(_role(parameter))
            sizes = matrix.parts if matrix and len(names) > 1 else shape[-1:]
            shapes = [(*shape[:-1], size) for size in sizes]
            if self._is_transposed(parameter):
                shapes = [each[::-1] for each in shapes]
            found[parameter] = list(zip(names, shapes, strict=True))
        return found

    def _is_transposed(self, parameter: str) -> bool:
        matrix = self._matrices.get(_role(parameter))
        by_inputs = matrix is not None and matrix.layout is not Layout.ROWS
        return by_inputs and parameter.endswith(".weight") and not self.family.inputs_first


def _role(parameter: str) -> str:
    return parameter.rpartition(".")[0]
