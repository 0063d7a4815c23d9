"""The model's files: their names, and how the graph and its weights are written."""

import shutil
from pathlib import Path
from typing import Any, Protocol

import onnx_ir as ir

DATA_SUFFIX = ".data"  # of the weights' file, after the graph's name
CONFIG_FILE = "config.json"

# The value of config.json's field "format", by which our own are known.
FORMAT = "kvcache"

# A larger tensor starts on a page of its own, to be mapped; smaller ones stay in the graph.
PAGE_BYTES = 4096
INLINE_BYTES = 1024

# Several of the largest pages at once.
WRITE_BYTES = 8 << 20

# protobuf serializes at most 2^31 - 1 bytes; the rest is left to the graph.
SINGLE_FILE_WEIGHT_BYTES = 2**31 - 2**24


class Progress(Protocol):
    """Takes what is being done and, where that is known, how many parts of it are behind it."""

    def __call__(self, step: str, done: int = 0, total: int = 0) -> None: ...


def weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def write_model(
    model: ir.Model, file: Path, single_file: bool, progress: Progress
) -> list[tuple[Path, str]]:
    """Writes the graph and, unless `single_file`, its weights beside it; the files and their roles.

    External weights lie in the order in which the graph reads them.
    """
    if single_file:
        _save(model, file)
        return [(file, "graph")]
    data = file.with_name(file.name + DATA_SUFFIX)
    _save(
        model,
        file,
        external_data=data.name,
        size_threshold_bytes=INLINE_BYTES,
        alignment=PAGE_BYTES,
        align_threshold=INLINE_BYTES,
        callback=lambda _, info: progress(
            f"writing weights, {info.index + 1} of {info.total}", info.index, info.total
        ),
    )
    _rewrite_in_large_parts(data)
    return [(file, "graph"), (data, "weights")]


def _save(model: ir.Model, file: Path, **options: Any) -> None:
    """Tensors are read as they are written, and what is wrong with one is an error of its own.

    The library wraps errors of those that stay in the graph.
    """
    try:
        ir.save(model, file, **options)
    except ir.serde.SerdeError as error:
        cause: BaseException = error
        while isinstance(cause, ir.serde.SerdeError) and cause.__cause__ is not None:
            cause = cause.__cause__
        raise cause from error


def _rewrite_in_large_parts(path: Path) -> None:
    """The same file again, so that the system's cache holds it in large pages.

    Linux makes those as large as a write is, where the file system can (XFS; ext4 from 6.16 on).
    Mapping half a gigabyte then takes 0.5 ms instead of 40, copying it 40 instead of 60.
    """
    again = path.with_name(path.name + ".again")
    with path.open("rb") as source, again.open("wb") as target:
        shutil.copyfileobj(source, target, WRITE_BYTES)
    again.replace(path)
