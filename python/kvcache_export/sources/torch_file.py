"""A file of torch.save: tensors by their names, and the plain values beside them.

Pickles run code when they are read; torch's reader of tensors and plain values alone does not, and
nothing else is asked to. torch is no requirement of the exporter, so it is looked for here.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import ExportError
from ..json_file import shown

# Where checkpoints keep a model's tensors, if not at the top.
STATE_DICTS = ("model_state_dict", "state_dict", "model")


def load(path: Path) -> Mapping[str, Any]:
    """What the file holds, its tensors mapped. Raises ExportError where it is no checkpoint."""
    try:
        import torch
    except ModuleNotFoundError as error:
        raise ExportError(
            f"{path} is a file of PyTorch, and Python package torch is missing; run: python -m pip"
            " install torch, or convert the file to safetensors where torch is"
        ) from error
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ExportError(f"cannot read {path}: it is not a regular file")
        path.open("rb").close()
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # of the archive, of the pickle and of what it asks for, many kinds
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ExportError(
            f"cannot read {path}: it must be a file of torch.save that holds tensors and plain"
            f" values only ({reason})"
        ) from error
    if not isinstance(found, Mapping):
        raise ExportError(f"{path} must hold a dictionary, not {type(found).__name__}")
    return found


class TorchFile:
    """The tensors of one state dictionary, as a safetensors file has them."""

    def __init__(self, path: Path, held: Mapping[str, Any]):
        import torch

        self.path = path
        found = next((held[key] for key in STATE_DICTS if isinstance(held.get(key), Mapping)), held)
        self._tensors = {
            key: value for key, value in found.items() if isinstance(value, torch.Tensor)
        }
        if not self._tensors or not all(isinstance(key, str) for key in self._tensors):
            raise ExportError(
                f"{path} holds no tensors by name, at its top or as {', '.join(STATE_DICTS)}; it"
                f" has {shown(sorted(map(str, held)))}"
            )

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def dtype(self, key: str) -> str:
        """As safetensors calls it; torch's name where no export reads such a tensor."""
        name = str(self._tensors[key].dtype)
        return NAMES.get(name, name)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._tensors[key].shape)

    def read(self, key: str) -> np.ndarray:
        """The tensor, in the element type it is stored in, which must be one of NAMES."""
        import torch

        tensor = self._tensors[key].detach().contiguous()
        if tensor.dtype is torch.bfloat16:  # which numpy has not
            return tensor.view(torch.uint16).numpy().view(ml_dtypes.bfloat16)
        return tensor.numpy()


NAMES = {
    **{"torch.float64": "F64", "torch.float32": "F32"},
    **{"torch.float16": "F16", "torch.bfloat16": "BF16"},
}
