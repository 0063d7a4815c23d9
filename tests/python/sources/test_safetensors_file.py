"""A safetensors file is read as the format says, or refused by its name."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kvcache_export.errors import ExportError
from kvcache_export.sources.safetensors_file import SafetensorsFile


def write(path: Path, header: object, data: bytes = b"", length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def tensor(dtype: str, shape: list, start: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 4)])
def test_reads_what_the_library_wrote(tmp_path: Path, dtype: type, shape: tuple[int, ...]):
    tensors = {
        name: np.asarray(np.random.default_rng(seed).standard_normal(shape), dtype)
        for seed, name in enumerate("ba")
    }
    save_file(tensors, tmp_path / "file", metadata={"format": "pt"})
    file = SafetensorsFile(tmp_path / "file")
    assert sorted(file) == ["a", "b"]
    for name, values in tensors.items():
        assert file.shape(name) == shape
        assert file.read(name).dtype == dtype
        np.testing.assert_array_equal(file.read(name), values)


TWO = {"a": tensor("F32", [2], 0, 8), "b": tensor("F32", [2], 8, 16)}


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        (b"", None, ""),
        (TWO, 2**63, "header too large"),
        (TWO, 10**9, "header too large"),
        (TWO, 200, "invalid header length"),
        (TWO, 20, "invalid JSON in header"),
        (b"[" * 50_000, None, "invalid JSON in header"),
        ({**TWO, "b": tensor("F32", [2], 4, 12)}, None, "invalid offset"),  # overlapping
        ({**TWO, "b": tensor("F32", [2], 9, 17)}, None, "invalid offset"),  # a hole
        ({**TWO, "b": tensor("F32", [2], 16, 8)}, None, ""),
        ({**TWO, "b": tensor("F32", [2], 8, 2**63)}, None, ""),
        ({**TWO, "b": tensor("F32", [3], 8, 16)}, None, ""),  # bytes of another shape
        ({**TWO, "b": tensor("F64", [2], 8, 16)}, None, ""),  # bytes of another type
        ({**TWO, "b": tensor("F99", [2], 8, 16)}, None, ""),
        ({**TWO, "b": tensor("F32", [-2], 8, 16)}, None, ""),
        ({**TWO, "b": tensor("F32", [2.0], 8, 16)}, None, ""),
        ({**TWO, "b": tensor("F32", [2**40, 2**40], 8, 16)}, None, "overflow"),
        ({**TWO, "b": tensor("F32", [2], 8.0, 16)}, None, ""),
        ({**TWO, "b": {"dtype": "F32"}}, None, ""),
        ({"a": tensor("F32", [2], 0, 8)}, None, ""),  # data that belongs to no tensor
        (
            b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},'
            b' "a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}}',
            None,
            "it has 'a' twice",
        ),
    ],
)
def test_damaged_header(tmp_path: Path, header: object, length: int | None, message: str):
    path = write(tmp_path / "file", header, bytes(16), length)
    with pytest.raises(ExportError) as error:
        SafetensorsFile(path)
    assert message in str(error.value)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ([0, 2**63], "Maximum allowed dimension exceeded"),
        ([0, 2**62, 4], "array is too big"),
        ([0] * 65, "maximum supported dimension for an ndarray"),
        ([0] * 5000, "maximum supported dimension for an ndarray"),
    ],
)
def test_shapes_that_no_array_has(tmp_path: Path, shape: list[int], message: str):
    """The format's library takes them: they hold no bytes."""
    file = SafetensorsFile(
        write(tmp_path / "file", {**TWO, "c": tensor("F32", shape, 16, 16)}, bytes(16))
    )
    np.testing.assert_array_equal(file.read("a"), [0, 0])
    with pytest.raises(ExportError, match=message) as error:
        file.read("c")
    assert str(error.value).startswith(f"cannot read {tmp_path / 'file'}: 'c' of shape [0, ")


def test_what_is_no_regular_file(tmp_path: Path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    for path, reason in (
        (tmp_path / "pipe", "it is not a regular file"),
        (Path("/dev/zero"), "it is not a regular file"),
        (tmp_path, "it is not a regular file"),
        (tmp_path / "nowhere", "No such file or directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
    ):
        with pytest.raises(ExportError, match=f"cannot read {path}: {reason}"):
            SafetensorsFile(path)


def test_a_file_that_shrinks_is_an_error(tmp_path: Path):
    file = SafetensorsFile(write(tmp_path / "file", TWO, bytes(16)))
    os.truncate(tmp_path / "file", file.path.stat().st_size - 1)
    np.testing.assert_array_equal(file.read("a"), [0, 0])
    with pytest.raises(ExportError, match="it has become shorter meanwhile"):
        file.read("b")
