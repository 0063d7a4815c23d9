"""One ONNX file of somebody else's: its graph, and its tensors read one at a time.

Everything in it is checked before it is used: how many bytes a tensor needs, that they are there,
and that what it calls its external data is a file beside it. Data are read and not mapped: a file
that shrinks meanwhile is an error here, and would end the process there.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, TensorProto

from .. import fields
from ..errors import ExportError
from ..json_file import shown
from ..spec import Shape
from . import onnx_inner_data

MAX_GRAPH_BYTES = 2**31 - 1  # protobuf's own

# Element types that are read, as safetensors calls them where it has them.
DTYPES = {
    TensorProto.DOUBLE: ("F64", np.dtype("<f8")),
    TensorProto.FLOAT: ("F32", np.dtype("<f4")),
    TensorProto.FLOAT16: ("F16", np.dtype("<f2")),
    TensorProto.BFLOAT16: ("BF16", np.dtype(ml_dtypes.bfloat16)),
    TensorProto.UINT8: ("U8", np.dtype("u1")),
    TensorProto.INT8: ("I8", np.dtype("i1")),
}


class OnnxFile:
    """`nodes` are those of the graph, and of branches those of the first.

    Exports that are merged of two, with and without a past, choose between them by an `If`; both
    have the same weights, which are outside, and the first is the one with a past.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ExportError(f"cannot read {path}: it is not a regular file")
            if status.st_size > MAX_GRAPH_BYTES:
                raise ExportError(
                    f"cannot read {path}: it has {status.st_size} bytes, and an ONNX file at most"
                    f" {MAX_GRAPH_BYTES}; larger models have external data"
                )
            with path.open("rb") as opened:
                graph = onnx_inner_data.without_weights(opened, status.st_size)
            model = onnx.ModelProto.FromString(graph)
        except OSError as error:
            raise ExportError(f"cannot read {path}: {error.strerror or error}") from error
        except DecodeError as error:
            raise ExportError(f"{path} is no ONNX file, or a broken one: {error}") from error
        if not model.graph.node:
            raise ExportError(f"{path} is no ONNX file, or a broken one: it has no nodes")
        self.nodes = list(_nodes(model.graph))
        _check_text(path, _names_of_nodes(self.nodes))
        tensors = list(_tensors(model.graph, self.nodes))
        _check_text(path, _names_of_tensors(tensors))
        self._tensors: dict[str, TensorProto] = {}
        for tensor in tensors:
            if self._tensors.setdefault(tensor.name, tensor) is not tensor:
                raise self.refused(tensor.name, "is there twice")

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def dtype(self, name: str) -> str:
        """As safetensors calls it; ONNX's name where no export reads such a tensor."""
        kind = self._tensors[name].data_type
        if kind in DTYPES:
            return DTYPES[kind][0]
        known = kind in TensorProto.DataType.values()
        return TensorProto.DataType.Name(kind) if known else str(kind)

    def is_float(self, name: str) -> bool:
        return "F" in self.dtype(name)  # FLOAT8… too, which is refused where it is read

    def shape(self, name: str) -> Shape:
        return tuple(self._tensors[name].dims)

    def read(self, name: str) -> np.ndarray:
        """The tensor, in the element type it is stored in."""
        tensor, shape = self._tensors[name], self.shape(name)
        if tensor.data_type not in DTYPES:
            raise self.refused(
                name,
                f"has element type {self.dtype(name)}, expected one of"
                f" {', '.join(each for each, _ in DTYPES.values())}",
            )
        if any(size < 0 for size in shape):
            raise self.refused(name, f"has shape {list(shape)}, which has a size below 0")
        dtype = DTYPES[tensor.data_type][1]
        size = math.prod(shape) * dtype.itemsize
        if tensor.data_location == TensorProto.EXTERNAL:
            return self._external(tensor, size).view(dtype).reshape(shape)
        if tensor.HasField("raw_data"):
            if len(tensor.raw_data) != size:
                raise self.refused(
                    name,
                    f"of shape {list(shape)} has {len(tensor.raw_data)} bytes, expected {size}",
                )
            return np.frombuffer(tensor.raw_data, dtype).reshape(shape)
        return self._listed(tensor, shape)

    def refused(self, name: str, reason: str) -> ExportError:
        return ExportError(f"tensor {shown(name)} {reason} ({self.path})")

    def _listed(self, tensor: TensorProto, shape: Shape) -> np.ndarray:
        """Of a tensor whose elements are a list of numbers."""
        try:
            values = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError) as error:
            raise self.refused(tensor.name, f"of shape {list(shape)}: {error}") from error
        return values

    def _external(self, tensor: TensorProto, size: int) -> np.ndarray:
        """The bytes of a tensor that lie in a file beside the graph, or further on in its own."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location")
        if location == onnx_inner_data.INSIDE:
            location = self.path.name
        elif not fields.is_file_name(location):
            raise self.refused(
                tensor.name,
                f"is in {shown(location)}, and external data must be a file beside the graph",
            )
        offset = self._number(tensor, entries, "offset", 0)
        if "length" in entries and (length := self._number(tensor, entries, "length", 0)) != size:
            raise self.refused(
                tensor.name,
                f"of shape {list(tensor.dims)} has {length} bytes of external data, expected"
                f" {size}",
            )
        path = self.path.parent / location
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):
                raise ExportError(f"cannot read {path}: it is not a regular file")
            if offset + size > status.st_size:
                raise self.refused(
                    tensor.name,
                    f"ends at byte {offset + size} of {location}, which has {status.st_size};"
                    " download the file again",
                )
            values = np.empty(size, np.uint8)
            with path.open("rb") as file:
                file.seek(offset)
                count = file.readinto(values)
        except OSError as error:
            raise ExportError(f"cannot read {path}: {error.strerror or error}") from error
        if count != size:
            raise ExportError(f"cannot read {path}: it has become shorter meanwhile")
        return values

    def _number(self, tensor: TensorProto, entries: dict[str, str], key: str, default: int) -> int:
        text = entries.get(key, str(default))
        if not (text.isascii() and text.isdecimal() and len(text) < 19):
            raise self.refused(
                tensor.name,
                f"has {key} {shown(text)} of its external data, expected a number of bytes",
            )
        return int(text)


def attributes(node: NodeProto) -> dict[str, int | float]:
    """A node's numbers by their names."""
    kinds = (AttributeProto.INT, AttributeProto.FLOAT)
    return {
        each.name: each.i if each.type == AttributeProto.INT else each.f
        for each in node.attribute
        if each.type in kinds
    }


def turns_over(node: NodeProto) -> bool:
    """Whether it is a transposition of a matrix."""
    orders = [list(each.ints) for each in node.attribute if each.name == "perm"]
    return node.op_type == "Transpose" and orders in ([], [[1, 0]])


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for inner in _branches(node):
            yield from _nodes(inner)


def _tensors(graph: GraphProto, nodes: list[NodeProto]) -> Iterator[TensorProto]:
    """Initializers, of branches too, and constants by the names of their outputs."""
    yield from graph.initializer
    for node in nodes:
        for inner in _branches(node):
            yield from inner.initializer
        if node.op_type == "Constant" and len(node.output) == 1:
            for each in node.attribute:
                if each.name == "value":
                    each.t.name = node.output[0]
                    yield each.t


def _names_of_nodes(nodes: list[NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (each.name for each in node.attribute)


def _names_of_tensors(tensors: list[TensorProto]) -> Iterator[str]:
    for tensor in tensors:
        yield tensor.name
        for entry in tensor.external_data:
            yield from (entry.key, entry.value)


def _check_text(path: Path, strings: Iterator[str]) -> None:
    """Protobuf sees what is no UTF-8 only as it is read, and then may give it as bytes."""
    try:
        text = all(isinstance(each, str) for each in strings)
    except UnicodeDecodeError:
        text = False
    if not text:
        raise ExportError(f"{path} is no ONNX file, or a broken one: a name is no UTF-8")


def _branches(node: NodeProto) -> list[GraphProto]:
    graphs = [each for each in node.attribute if each.type == AttributeProto.GRAPH]
    if node.op_type == "If":
        return [each.g for each in graphs if each.name == "then_branch"]
    return [each.g for each in graphs]
