"""What a node of an ONNX graph multiplies by, adds or looks up: one tensor, or quantised blocks.

Matrices come as [outputs, inputs], as Hugging Face's checkpoints have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ..errors import ExportError
from ..precision import MatrixType
from ..spec import Shape
from .onnx_file import OnnxFile

HALF_PRECISION = 2.0**-11  # what rounding to a normal number of float16 moves it by at most


@dataclass(frozen=True)
class Dense:
    """A tensor as it is, or a matrix that is stored [inputs, outputs]."""

    file: OnnxFile
    name: str
    by_inputs: bool = False
    offset: float = 0.0  # what the export added to every element

    @property
    def dtype(self) -> str:
        return "F32" if self.offset else self.file.dtype(self.name)

    @property
    def shape(self) -> Shape:
        stored = self.file.shape(self.name)
        return stored[::-1] if self.by_inputs else stored

    def read(self) -> np.ndarray:
        values = self.file.read(self.name)
        if self.offset:
            values = values.astype(np.float32) - np.float32(self.offset)
        return values.T if self.by_inputs else values

    def block_scales(self, type_: MatrixType) -> np.ndarray | None:
        return None


@dataclass(frozen=True)
class Blocks:
    """A matrix [outputs, inputs] of ONNX Runtime's block quantisation, `bits` a value.

    weight = scale · (value - zero point); consecutive inputs share both. Two values of 4 bits are a
    byte, the first in its lower half (com.microsoft.MatMulNBits, GatherBlockQuantized).
    """

    file: OnnxFile
    name: str
    scales: str
    zero_points: str | None
    shape: Shape
    bits: int
    block_size: int

    dtype = "F32"  # of what is read

    def __post_init__(self) -> None:
        """Raises ExportError where the tensors' sizes are not those of such a matrix."""
        if self.bits not in (4, 8):
            raise self.file.refused(self.name, f"has {self.bits} bits a value, expected 4 or 8")
        size = self.block_size
        if size < 16 or size & (size - 1):
            raise self.file.refused(
                self.name, f"has blocks of {size} inputs, expected a power of two of at least 16"
            )
        outputs, _ = self.shape
        values = self._blocks * self.block_size * self.bits // 8
        expected = {self.name: (("U8",), outputs * values)}
        expected[self.scales] = (("F32", "F16", "BF16"), outputs * self._blocks)
        if self.zero_points is not None:
            packed = math.ceil(self._blocks * self.bits / 8)
            expected[self.zero_points] = (("U8",), outputs * packed)
        for name, (types, count) in expected.items():
            if name not in self.file:
                raise self.file.refused(name, f"is no constant, and {self.name!r} needs it")
            if self.file.dtype(name) not in types:
                raise self.file.refused(
                    name,
                    f"has element type {self.file.dtype(name)}, expected {' or '.join(types)}",
                )
            if math.prod(self.file.shape(name)) != count:
                raise self.file.refused(
                    name,
                    f"has shape {list(self.file.shape(name))}, expected {count} elements: of a"
                    f" matrix {list(self.shape)} in blocks of {self.block_size}",
                )

    @property
    def _blocks(self) -> int:
        """Of each output."""
        return math.ceil(self.shape[1] / self.block_size)

    def read(self) -> np.ndarray:
        outputs, inputs = self.shape
        values = self._unpacked(self.file.read(self.name), self._blocks * self.block_size)
        found = values.reshape(outputs, self._blocks, self.block_size).astype(np.float32)
        del values
        found -= self._zero_points()[..., None]
        found *= self._scales().astype(np.float32)[..., None]
        return found.reshape(outputs, -1)[:, :inputs]

    def block_scales(self, type_: MatrixType) -> np.ndarray | None:
        """Float16 [outputs, blocks] where blocks are ours, of a type with minimums scales and
        minimums in turns; None of others.

        Values are kept as they are, and a scale of float32 is rounded to float16.
        """
        if (type_.bits, type_.block_size) != (self.bits, self.block_size):
            return None
        scales, zero_points = self._scales().astype(np.float32), self._zero_points()
        if type_.minimums:
            scales = np.stack([scales, -zero_points * scales], axis=-1).reshape(len(scales), -1)
        elif (zero_points != 1 << (type_.bits - 1)).any():
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            rounded = scales.astype(np.float16)
            moved = np.abs(rounded.astype(np.float32) - scales)
        return rounded if (moved <= np.abs(scales) * HALF_PRECISION).all() else None

    def _scales(self) -> np.ndarray:
        return self.file.read(self.scales).reshape(self.shape[0], self._blocks)

    def _zero_points(self) -> np.ndarray:
        """Float32 [outputs, blocks]."""
        shape = (self.shape[0], self._blocks)
        if self.zero_points is None:
            return np.full(shape, 1 << (self.bits - 1), np.float32)
        return self._unpacked(self.file.read(self.zero_points), shape[1]).astype(np.float32)

    def _unpacked(self, stored: np.ndarray, count: int) -> np.ndarray:
        """uint8 [outputs, count], of rows that each begin with a byte of their own."""
        rows = stored.reshape(self.shape[0], -1)
        if self.bits == 8:
            return rows
        values = np.empty((rows.shape[0], rows.shape[1] * 2), np.uint8)
        np.bitwise_and(rows, 15, out=values[:, ::2])
        np.right_shift(rows, 4, out=values[:, 1::2])
        return values[:, :count]


Operand = Dense | Blocks


@dataclass(frozen=True)
class Piece:
    """The rows of an operand from `first` on: one matrix of several that are stored as one."""

    of: Operand
    first: int
    count: int

    @property
    def dtype(self) -> str:
        return self.of.dtype

    @property
    def shape(self) -> Shape:
        return (self.count, *self.of.shape[1:])

    def read(self) -> np.ndarray:
        return self._rows(self.of.read())

    def block_scales(self, type_: MatrixType) -> np.ndarray | None:
        scales = self.of.block_scales(type_)
        return None if scales is None else self._rows(scales)

    def _rows(self, values: np.ndarray) -> np.ndarray:
        """A copy, so that the whole can go."""
        return values[self.first : self.first + self.count].copy()


@dataclass(frozen=True)
class Joined:
    """Matrices that a family's checkpoint has as one, along the outputs."""

    parts: tuple[Operand, ...]

    @property
    def dtype(self) -> str:
        return self.parts[0].dtype

    @property
    def shape(self) -> Shape:
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def read(self) -> np.ndarray:
        if len({(part.dtype, part.shape[1:]) for part in self.parts}) > 1:
            shapes = ", ".join(f"{part.dtype} {list(part.shape)}" for part in self.parts)
            raise ExportError(f"matrices that belong side by side differ: {shapes}")
        return np.concatenate([part.read() for part in self.parts])

    def block_scales(self, type_: MatrixType) -> np.ndarray | None:
        found = [part.block_scales(type_) for part in self.parts]
        return None if any(each is None for each in found) else np.concatenate(found)
