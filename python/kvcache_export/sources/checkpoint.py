"""The tensors of a checkpoint, by the names that its family gives them."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from .. import value_heads
from ..errors import ExportError
from ..family import Family
from ..precision import MatrixType
from ..spec import Shape
from . import safetensors_file, tensor_names

COMPARED_ROWS = 4096


class TensorFile(Protocol):
    """A file's tensors, by the names it gives them; element types are called as in safetensors."""

    def __iter__(self) -> Iterator[str]: ...
    def dtype(self, key: str) -> str: ...
    def shape(self, key: str) -> Shape: ...
    def read(self, key: str) -> np.ndarray: ...


@runtime_checkable
class QuantizedFile(TensorFile, Protocol):
    """One that may have matrices in blocks as ours are."""

    def block_scales(self, key: str, type_: MatrixType) -> np.ndarray | None: ...


class CheckpointWeights:
    """One file or shards; names with the family's prefix or without, and with torch's wrappers."""

    def __init__(self, where: Path, files: Mapping[str, TensorFile], family: Family):
        """`files` has that of every tensor; `where` is what errors call them all."""
        self.where = where
        self.family = family
        self._files = files
        self._keys: dict[str, str] = {}
        for key in self._files:
            name = tensor_names.canonical(key, family)
            other = self._keys.setdefault(name, key)
            if other != key and not self._is_harmless(name) and self._differ(other, key):
                raise ExportError(
                    f"tensors {other!r} and {key!r} are both {name!r} and differ; export a"
                    f" checkpoint with one of them ({where})"
                )

    def ties_head(self) -> bool:
        """Whether a config's tied head is tied; to be called where it says so.

        As Hugging Face does since transformers 5: where the checkpoint holds a head that differs
        from the token embedding, the head counts and not the config; where it holds only one of the
        two tensors, that is both.
        """
        (embedding_name,) = self.family.tensors("embedding.tokens.weight")
        (head_name,) = self.family.tensors("head.weight")
        embedding, head = (self._keys.get(name) for name in (embedding_name, head_name))
        if embedding is not None and head is not None and self._differ(embedding, head):
            return False
        if head is not None:
            del self._keys[head_name]
            self._keys[embedding_name] = embedding or head
        return True

    def names(self) -> list[str]:
        return list(self._keys)

    def shape(self, name: str) -> Shape | None:
        """That of a tensor, None where there is none of that name."""
        key = self._keys.get(name)
        return None if key is None else self._files[key].shape(key)

    def check(self, expected: Mapping[str, Shape]) -> None:
        for name, shape in expected.items():
            key = self._key(name)
            stored = self._files[key]
            self._check_dtype(key)
            if stored.shape(key) != shape:
                raise ExportError(
                    f"tensor {key!r} has shape {list(stored.shape(key))}, expected {list(shape)}"
                    f" ({self.where})"
                )
        # A value head bears on no logit, so it may be left out whole.
        left_out = not any(name.startswith(value_heads.PREFIX) for name in expected)
        for name, key in self._keys.items():
            if left_out and name.startswith(value_heads.PREFIX):
                continue
            if name not in expected and not self._is_harmless(name):
                raise tensor_names.unexpected(key, self.where)

    def read(self, name: str, shape: Shape) -> np.ndarray:
        key = self._key(name)
        return self._files[key].read(key)

    def block_scales(self, name: str, type_: MatrixType) -> np.ndarray | None:
        file = self._files[self._key(name)]
        if not isinstance(file, QuantizedFile):
            return None
        return file.block_scales(self._key(name), type_)

    def _key(self, name: str) -> str:
        if name not in self._keys:
            raise ExportError(f"missing tensor {name!r} ({self.where})")
        return self._keys[name]

    def _is_harmless(self, name: str) -> bool:
        return tensor_names.is_harmless(name, self.family)

    def _check_dtype(self, key: str) -> None:
        dtype = self._files[key].dtype(key)
        if dtype not in safetensors_file.DTYPES:
            raise ExportError(
                f"tensor {key!r} has element type {dtype}, expected one of"
                f" {', '.join(safetensors_file.DTYPES)} ({self.where})"
            )

    def _differ(self, one: str, other: str) -> bool:
        """Whether two tensors have other shapes or, however they are stored, other values."""
        for key in (one, other):
            self._check_dtype(key)
        if self._files[one].shape(one) != self._files[other].shape(other):
            return True
        values = [self._files[key].read(key) for key in (one, other)]
        return any(
            (a.astype(np.float64) != b.astype(np.float64)).any()
            for a, b in zip(*(_in_parts(value) for value in values), strict=True)
        )


def _in_parts(values: np.ndarray) -> list[np.ndarray]:
    """Views of a few rows each, so that their conversion takes little memory."""
    rows = values.reshape(-1, values.shape[-1]) if values.size and values.ndim else np.ravel(values)
    return [rows[start : start + COMPARED_ROWS] for start in range(0, len(rows), COMPARED_ROWS)]
