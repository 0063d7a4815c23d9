"""An ONNX file without the weights inside it: each is left where it is, as external data are.

A parser would hold them all at once, twice while it reads. Messages of protobuf are fields one
after another (https://protobuf.dev/programming-guides/encoding): a tag with a number and a type,
then a number, four or eight bytes, or a length and as many bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, ModelProto, TensorProto

INSIDE = "."  # what external data that are inside the file itself have as their location
KEPT = 4096  # bytes of a tensor that stays in the graph

VARINT, EIGHT_BYTES, BYTES, FOUR_BYTES = 0, 1, 2, 5
FIXED_SIZES = {EIGHT_BYTES: 8, FOUR_BYTES: 4}
LONGEST_VARINT = 10  # bytes


@dataclass(frozen=True)
class Field:
    number: int
    kind: int
    start: int  # of its tag
    value: int  # where what comes after tag and length begins
    end: int


def _number(of: type[Message], name: str) -> int:
    return of.DESCRIPTOR.fields_by_name[name].number


# The fields that lead from a model to its tensors.
PATH = (_number(ModelProto, "graph"), _number(GraphProto, "initializer"))
RAW_DATA = _number(TensorProto, "raw_data")


def without_weights(file: BinaryIO, size: int) -> bytes:
    """The model of `size` bytes, to be parsed; tensors of more than KEPT bytes are external.

    Raises DecodeError where it is no message of protobuf.
    """
    return _copied(file, 0, size, PATH)


def _copied(file: BinaryIO, start: int, end: int, path: tuple[int, ...]) -> bytes:
    """A message in which the tensors at the end of `path` are without their bytes."""
    copy, weights = bytearray(), None
    for field in _fields(file, start, end):
        if path and field.number == path[0] and field.kind == BYTES:
            inner = _copied(file, field.value, field.end, path[1:])
            copy += _varint(field.number << 3 | BYTES) + _varint(len(inner)) + inner
            continue
        is_weights = not path and field.number == RAW_DATA and field.kind == BYTES
        if is_weights:
            weights = field if field.end - field.value > KEPT else None  # the last one counts
        if not is_weights or weights is None:
            file.seek(field.start)
            copy += file.read(field.end - field.start)
    return bytes(copy) if weights is None else bytes(copy) + _external(weights)


def _external(weights: Field) -> bytes:
    """What is to be added to a tensor's message."""
    tensor = TensorProto(data_location=TensorProto.EXTERNAL)
    places = {"location": INSIDE, "offset": weights.value, "length": weights.end - weights.value}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor.SerializeToString()


def _fields(file: BinaryIO, start: int, end: int) -> Iterator[Field]:
    while start < end:
        file.seek(start)
        tag = _read_varint(file)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _read_varint(file)
            length = 0
        elif kind == BYTES:
            length = _read_varint(file)
        elif kind in FIXED_SIZES:
            length = FIXED_SIZES[kind]
        else:
            raise DecodeError(f"byte {start} begins a field of unknown type {kind}")
        value = file.tell()
        if value + length > end:
            raise DecodeError(f"the field at byte {start} ends beyond byte {end}")
        yield Field(number, kind, start, value, value + length)
        start = value + length


def _read_varint(file: BinaryIO) -> int:
    found = 0
    for place in range(LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            break
        found |= (byte[0] & 0x7F) << 7 * place
        if byte[0] < 0x80:
            return found
    raise DecodeError(f"no number ends at byte {file.tell()}")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
