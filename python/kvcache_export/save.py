"""The model's files: written aside, digested, and put in place together.

A failure at any point leaves the output directory as it was: the files are made in a directory
beside their destination and renamed one by one once all are complete, config.json last.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx_ir as ir

from .errors import ExportError

MODEL_FILE = "gpt2_with_cache.onnx"
DATA_FILE = MODEL_FILE + ".data"
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

Progress = Callable[[str], None]


def weight_bytes(model: ir.Model) -> int:
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def write_model(
    model: ir.Model, directory: Path, single_file: bool, progress: Progress
) -> list[str]:
    """Writes the graph and, unless `single_file`, its weights beside it; the names of the files.

    External weights lie in the order in which the graph reads them.
    """
    if single_file:
        ir.save(model, directory / MODEL_FILE)
        return [MODEL_FILE]
    ir.save(
        model,
        directory / MODEL_FILE,
        external_data=DATA_FILE,
        size_threshold_bytes=INLINE_BYTES,
        alignment=PAGE_BYTES,
        align_threshold=INLINE_BYTES,
        callback=lambda _, info: progress(f"writing weights, {info.index + 1} of {info.total}"),
    )
    _rewrite_in_large_parts(directory / DATA_FILE)
    return [MODEL_FILE, DATA_FILE]


def _rewrite_in_large_parts(path: Path) -> None:
    """The same file again, so that the system's cache holds it in large pages.

    Linux makes those as large as a write is, where the file system can (XFS; ext4 from 6.16 on).
    Mapping half a gigabyte then takes 0.5 ms instead of 40, copying it 40 instead of 60.
    """
    again = path.with_name(path.name + ".again")
    with path.open("rb") as source, again.open("wb") as target:
        shutil.copyfileobj(source, target, WRITE_BYTES)
    again.replace(path)


def write_config(config: dict[str, Any], directory: Path) -> None:
    (directory / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
    """A temporary directory inside `output`; removed in the end, as is an `output` left empty.

    An OSError in between, such as a full disk, becomes an ExportError.
    """
    _refuse_foreign(output)
    made = [path for path in (output, *output.parents) if not path.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".export-", dir=output))
    except OSError as error:
        _remove_empty(made)
        raise ExportError(f"cannot write to {output}: {error.strerror}") from error
    try:
        yield temporary
    except OSError as error:
        # numpy reports a write that the system cut short without saying why.
        reason = error.strerror or f"{error}; is the disk full?"
        raise ExportError(f"cannot write to {output}: {reason}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(made)


def _refuse_foreign(output: Path) -> None:
    """Keeps an export from overwriting the config.json of something else, such as a checkpoint."""
    config = output / CONFIG_FILE
    try:
        ours = json.loads(config.read_text(encoding="utf-8")).get("format") == FORMAT
    except OSError:  # none there, or no directory at all: the caller will notice
        return
    except (ValueError, AttributeError):
        ours = False
    if not ours:
        raise ExportError(f"{config} belongs to something else; choose another --output-dir")


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        with contextlib.suppress(OSError):
            directory.rmdir()


def publish(staged: Path, output: Path, model_files: list[str]) -> None:
    """Moves the complete files into place, config.json last, and removes what they leave unused."""
    names = [*reversed(model_files), CONFIG_FILE]
    for name in names:
        _flush(staged / name)
    for name in names:
        (staged / name).replace(output / name)
    if DATA_FILE not in model_files:
        (output / DATA_FILE).unlink(missing_ok=True)
    _flush(output)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
