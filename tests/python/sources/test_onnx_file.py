"""An ONNX file's tensors are read as the format says, or refused by their names."""

from __future__ import annotations

import os
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kvcache_export.errors import ExportError
from kvcache_export.sources.onnx_file import OnnxFile

NODE = helper.make_node("Identity", ["w"], ["y"])


def write(
    directory: Path, *tensors: TensorProto, nodes: list[onnx.NodeProto] | None = None
) -> Path:
    graph = helper.make_graph([NODE] if nodes is None else nodes, "g", [], [], tensors)
    (directory / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return directory / "model.onnx"


def tensor(kind: int = TensorProto.FLOAT, shape: tuple[int, ...] = (2, 3)) -> TensorProto:
    return TensorProto(name="w", data_type=kind, dims=shape)


def external(shape: tuple[int, ...] = (2, 3), **entries: object) -> TensorProto:
    found = tensor(shape=shape)
    found.data_location = TensorProto.EXTERNAL
    for key, value in ({"location": "data"} | entries).items():
        found.external_data.add(key=key, value=str(value))
    return found


TYPES = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16, np.uint8, np.int8]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(3, 5), (7,), (), (0, 4)])
@pytest.mark.parametrize("place", ["raw", "external", "list"])
def test_reads_what_the_library_wrote(tmp_path: Path, dtype: type, shape: tuple, place: str):
    values = np.asarray(np.random.default_rng(0).standard_normal(shape) * 9, dtype)
    stored = numpy_helper.from_array(values, "w")
    if place == "list":
        stored = helper.make_tensor("w", stored.data_type, shape, values.reshape(-1).tolist())
    if place == "external":
        (tmp_path / "data").write_bytes(b"-----" + stored.raw_data + b"-")
        stored.ClearField("raw_data")
        stored.data_location = TensorProto.EXTERNAL
        stored.external_data.add(key="location", value="data")
        stored.external_data.add(key="offset", value="5")
    file = OnnxFile(write(tmp_path, stored))
    assert list(file) == ["w"]
    assert file.shape("w") == shape
    assert file.read("w").dtype == dtype
    np.testing.assert_array_equal(file.read("w"), values)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"location": "../data"},
            "tensor 'w' is in '../data', and external data must be a file be",
        ),
        ({"location": "/etc/passwd"}, "tensor 'w' is in '/etc/passwd', and external data must be"),
        ({"location": ".."}, "tensor 'w' is in '..', and external data must be a file beside"),
        ({"location": ""}, "tensor 'w' is in '', and external data must be a file beside"),
        ({"location": "a\0b"}, "external data must be a file beside"),
        ({"location": "else"}, "cannot read .*else: No such file or directory"),
        ({"location": "folder"}, "cannot read .*folder: it is not a regular file"),
        ({"location": "pipe"}, "cannot read .*pipe: it is not a regular file"),
        (
            {"offset": 1},
            "tensor 'w' ends at byte 25 of data, which has 24; download the file again",
        ),
        ({"offset": -4}, "tensor 'w' has offset '-4' of its external data, expected a number of"),
        ({"offset": "²"}, "tensor 'w' has offset '²' of its external data, expected a number of"),
        (
            {"offset": 10**18 * 9},
            "tensor 'w' has offset '9000000000000000000' of its external data",
        ),
        ({"offset": 10**18 - 1}, "tensor 'w' ends at byte 1000000000000000023 of data, which has"),
        (
            {"length": 20},
            r"tensor 'w' of shape \[2, 3\] has 20 bytes of external data, expected 24",
        ),
    ],
)
def test_external_data_stay_in_the_directory_and_in_their_file(
    entries: dict, message: str, tmp_path: Path
):
    (tmp_path / "data").write_bytes(bytes(24))
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    file = OnnxFile(write(tmp_path, external(**entries)))
    with pytest.raises(ExportError, match=message) as caught:
        file.read("w")
    assert str(tmp_path) in str(caught.value)


def test_a_huge_tensor_is_refused_before_memory_is_taken(tmp_path: Path):
    (tmp_path / "data").write_bytes(bytes(24))
    file = OnnxFile(write(tmp_path, external((2**31, 2**31))))
    with pytest.raises(ExportError, match=r"tensor 'w' ends at byte \d{20} of data, which has 24"):
        file.read("w")


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (
            tensor(TensorProto.INT64),
            "has element type INT64, expected one of F64, F32, F16, BF16, U",
        ),
        (tensor(TensorProto.FLOAT8E5M2), "has element type FLOAT8E5M2, expected one of F64"),
        (tensor(12345), "has element type 12345, expected one of F64"),
        (tensor(shape=(2, -3)), r"has shape \[2, -3\], which has a size below 0"),
        (tensor(), r"of shape \[2, 3\]: "),
        (
            TensorProto(name="w", data_type=1, dims=(2, 3), raw_data=b"1234"),
            r"of shape \[2, 3\] has 4 bytes, expected 24",
        ),
        (
            TensorProto(name="w", data_type=1, dims=(2, 3), float_data=[1] * 7),
            r"of shape \[2, 3\]: ",
        ),
    ],
)
def test_tensors_that_are_not_what_they_say_are_refused(
    stored: TensorProto, message: str, tmp_path: Path
):
    file = OnnxFile(write(tmp_path, stored))
    with pytest.raises(ExportError, match=f"^tensor 'w' {message}") as caught:
        file.read("w")
    assert str(tmp_path / "model.onnx") in str(caught.value)


@pytest.mark.parametrize("kept", [0, 1, 20])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path):
    path = write(tmp_path, numpy_helper.from_array(np.zeros((2, 3), np.float32), "w"))
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ExportError, match=r"model\.onnx is no ONNX file, or a broken one"):
        OnnxFile(path)


def test_what_is_no_onnx_file_is_refused(tmp_path: Path):
    with pytest.raises(ExportError, match="is no ONNX file, or a broken one: it has no nodes"):
        OnnxFile(write(tmp_path, nodes=[]))
    with pytest.raises(ExportError, match=f"cannot read {tmp_path}: it is not a regular file"):
        OnnxFile(tmp_path)
    with pytest.raises(ExportError, match=r"cannot read .*else: No such file or directory"):
        OnnxFile(tmp_path / "else")
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(
        ExportError, match="has 2147483648 bytes, and an ONNX file at most 214748364"
    ):
        OnnxFile(large)


@pytest.mark.parametrize("text", [b"Identity", b"the_name", b"w"])
def test_a_name_that_is_no_text_is_refused(text: bytes, tmp_path: Path):
    node = helper.make_node("Identity", ["w"], ["y"], name="the_name")
    stored = numpy_helper.from_array(np.zeros((2, 3), np.float32), "w")
    path = write(tmp_path, stored, nodes=[node])
    name = bytes([len(text)]) + text
    path.write_bytes(path.read_bytes().replace(name, name[:-1] + b"\xff"))
    with pytest.raises(ExportError, match="is no ONNX file, or a broken one: a name is no UTF-8"):
        OnnxFile(path)


def test_a_name_that_stands_for_two_tensors_is_refused(tmp_path: Path):
    twice = [numpy_helper.from_array(np.zeros(size, np.float32), "w") for size in (2, 3)]
    with pytest.raises(ExportError, match="tensor 'w' is there twice"):
        OnnxFile(write(tmp_path, *twice))


def test_constants_and_tensors_of_the_first_branch_are_found(tmp_path: Path):
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("", 1, [1], [5.0]))
    inner = numpy_helper.from_array(np.ones(2, np.float32), "inner")
    branches = {
        "then_branch": helper.make_graph([constant], "with a past", [], [], [inner]),
        "else_branch": helper.make_graph([constant], "without", [], [], [inner]),
    }
    chosen = helper.make_node("If", ["use_cache_branch"], ["y"], **branches)
    file = OnnxFile(write(tmp_path, nodes=[chosen]))
    assert [node.op_type for node in file.nodes] == ["If", "Constant"]
    assert sorted(file) == ["c", "inner"]
    assert file.read("c") == [5.0]
