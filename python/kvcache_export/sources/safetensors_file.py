"""One safetensors file: its header checked, its tensors read one at a time.

The library checks the header. Tensors are read and not mapped: a file that shrinks meanwhile is an
error here, and would end the process there.
"""

import math
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from .. import json_file
from ..errors import ExportError

LENGTH_BYTES = 8  # of the header, little-endian, before it

DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


class SafetensorsFile:
    """The tensors of a file, by the names it gives them."""

    def __init__(self, path: Path):
        self.path = path
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise ExportError(f"cannot read {path}: it is not a regular file")
            path.open("rb").close()  # safe_open calls any file that it can't open a missing one
            with safe_open(path, framework="numpy"):
                pass
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(LENGTH_BYTES))
                header = json_file.parse(file.read(length), f"the header of {path}")
        except (OSError, SafetensorError, struct.error) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ExportError(f"cannot read {path}: {reason}") from error
        self._start = LENGTH_BYTES + length
        self._tensors = {key: header[key] for key in header if key != "__metadata__"}

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def dtype(self, key: str) -> str:
        return self._tensors[key]["dtype"]

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._tensors[key]["shape"])

    def read(self, key: str) -> np.ndarray:
        """The tensor, in the element type it is stored in, which must be one of DTYPES."""
        dtype, shape = DTYPES[self.dtype(key)], self.shape(key)
        try:
            values = np.empty(shape, dtype)
        except ValueError as error:  # the library takes [0, 2**63] and a hundred dimensions too
            raise ExportError(
                f"cannot read {self.path}: {key!r} of shape {list(shape)}: {error}"
            ) from error
        try:
            with self.path.open("rb") as file:
                file.seek(self._start + self._tensors[key]["data_offsets"][0])
                count = file.readinto(values.reshape(-1).view(np.uint8))
        except OSError as error:
            raise ExportError(f"cannot read {self.path}: {error.strerror}") from error
        if count != math.prod(shape) * dtype.itemsize:
            raise ExportError(f"cannot read {self.path}: it has become shorter meanwhile")
        return values
