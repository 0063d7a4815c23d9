"""A file without its weights is the same model, whose tensors are where they were."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import onnx
import pytest
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper

from kvcache_export.sources.onnx_inner_data import INSIDE, KEPT, without_weights

CASES = 40


def random_model(generator: np.random.Generator) -> onnx.ModelProto:
    """Of tensors on both sides of the limit, with a constant, a branch and metadata."""
    tensors = []
    for number in range(int(generator.integers(0, 8))):
        count = int(generator.choice([0, 1, KEPT // 4, KEPT // 4 + 1, 5000]))
        values = generator.standard_normal(count).astype(np.float32)
        tensors.append(numpy_helper.from_array(values, f"t{number}"))
    constant = numpy_helper.from_array(generator.standard_normal(3000), "c")
    inner = helper.make_graph([], "inner", [], [], tensors[:1])
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("If", ["b"], ["y"], then_branch=inner, else_branch=inner),
        helper.make_node("Gemm", ["a", "t0"], ["z"], alpha=0.5, name="n" * 300),
    ]
    model = helper.make_model(helper.make_graph(nodes, "g", [], [], tensors), producer_name="é")
    helper.set_model_props(model, {"key": "value" * 100})
    return model


@pytest.mark.parametrize("seed", range(CASES))
def test_it_is_the_same_model_with_its_tensors_elsewhere(seed: int):
    known = random_model(np.random.default_rng(seed))
    stored = known.SerializeToString()
    found = onnx.ModelProto.FromString(without_weights(io.BytesIO(stored), len(stored)))
    for tensor in found.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            places = {entry.key: entry.value for entry in tensor.external_data}
            assert places["location"] == INSIDE
            start, length = int(places["offset"]), int(places["length"])
            assert length > KEPT
            tensor.raw_data = stored[start : start + length]
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
        else:
            assert len(tensor.raw_data) <= KEPT
    assert found == known


@pytest.mark.parametrize("sizes", [(5000, 8), (8, 5000), (5000, 6000)])
def test_of_bytes_that_are_there_twice_the_last_count(sizes: tuple[int, int]):
    parts = [TensorProto(raw_data=bytes([size % 7]) * size) for size in sizes]
    tensor = b"".join(part.SerializeToString() for part in parts)
    stored = model_of(tensor)
    read = onnx.ModelProto.FromString(without_weights(io.BytesIO(stored), len(stored)))
    (found,) = read.graph.initializer
    places = {
        entry.key: int(entry.value) for entry in found.external_data if entry.key != "location"
    }
    if sizes[-1] > KEPT:
        start = places["offset"]
        assert stored[start : start + places["length"]] == parts[-1].raw_data
    else:
        assert not places
        assert found.raw_data == parts[-1].raw_data


def model_of(tensor: bytes) -> bytes:
    """The bytes of a model of one tensor, whose message is given."""
    assert len(tensor) < 1 << 14
    for tag in (5 << 3 | 2, 7 << 3 | 2):
        tensor = bytes([tag, len(tensor) & 0x7F | 0x80, len(tensor) >> 7]) + tensor
    return tensor


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (b"\x3b", "byte 0 begins a field of unknown type 3"),
        (b"\x3a\x05abc", "the field at byte 0 ends beyond byte 5"),
        (b"\x3a\x03\x2a\x05a", "the field at byte 2 ends beyond byte 5"),
        (b"\x3a\x04\x2a\x05ab", "the field at byte 2 ends beyond byte 6"),
        (b"\x08", "no number ends at byte 1"),
        (b"\x08" + b"\xff" * 20, "no number ends at byte 11"),
        (b"\x09abc", "the field at byte 0 ends beyond byte 4"),
    ],
)
def test_what_is_no_message_is_refused(stored: bytes, message: str):
    with pytest.raises(DecodeError, match=message):
        without_weights(io.BytesIO(stored), len(stored))


@pytest.mark.parametrize("seed", range(CASES))
def test_broken_bytes_end_in_no_other_error(seed: int):
    generator = np.random.default_rng(seed)
    stored = bytearray(random_model(generator).SerializeToString())
    for place in generator.integers(0, len(stored), 5):
        stored[place] = generator.integers(0, 256)
    with contextlib.suppress(DecodeError):
        onnx.ModelProto.FromString(without_weights(io.BytesIO(stored), len(stored)))
