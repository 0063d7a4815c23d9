"""Quantised blocks are read as ONNX Runtime's own operator takes them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from kvcache_export.errors import ExportError
from kvcache_export.precision import MatrixType
from kvcache_export.runtime import ort
from kvcache_export.sources.onnx_file import OnnxFile
from kvcache_export.sources.onnx_operands import Blocks, Dense, Joined, Piece

INT4, UINT4 = MatrixType("int4", 32), MatrixType("uint4", 32)

CASES = 40


def random_blocks(
    generator: np.random.Generator, shape: tuple[int, int], bits: int, size: int, *, zeros: bool
) -> dict[str, np.ndarray]:
    """Initializers w, s and z of MatMulNBits."""
    outputs, inputs = shape
    blocks = math.ceil(inputs / size)
    found = {
        "w": generator.integers(0, 256, (outputs, blocks, size * bits // 8), np.uint8),
        "s": generator.standard_normal((outputs, blocks)).astype(np.float32),
    }
    if zeros:
        packed = math.ceil(blocks * bits / 8)
        found["z"] = generator.integers(0, 256, (outputs, packed), np.uint8)
    return found


def model_of(tensors: dict[str, np.ndarray], **attributes: int) -> onnx.ModelProto:
    """x [rows, K] by the matrix, y [rows, N]."""
    node = helper.make_node(
        "MatMulNBits", ["x", *tensors], ["y"], domain="com.microsoft", **attributes
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, attributes["K"]])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, attributes["N"]])],
        [numpy_helper.from_array(values, name) for name, values in tensors.items()],
    )
    domains = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10)


def file_of(directory: Path, model: onnx.ModelProto) -> OnnxFile:
    path = directory / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return OnnxFile(path)


@pytest.mark.parametrize("seed", range(CASES))
def test_a_product_by_what_is_read_is_onnx_runtimes(seed: int, tmp_path: Path):
    generator = np.random.default_rng(seed)
    bits, size = int(generator.choice([4, 8])), int(generator.choice([16, 32, 64, 128]))
    outputs, inputs = (int(each) for each in generator.integers(1, 200, 2))
    zeros = bool(generator.integers(2))
    tensors = random_blocks(generator, (outputs, inputs), bits, size, zeros=zeros)
    model = model_of(tensors, K=inputs, N=outputs, bits=bits, block_size=size, accuracy_level=1)
    file = file_of(tmp_path, model)
    matrix = Blocks(file, "w", "s", "z" if zeros else None, (outputs, inputs), bits, size)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(["y"], {"x": np.eye(inputs, dtype=np.float32)})
    np.testing.assert_allclose(matrix.read(), theirs.T, rtol=1e-6, atol=0)


def blocks(directory: Path, *, bits: int = 4, size: int = 32, **changed: np.ndarray) -> Blocks:
    """Of a matrix [3, 40], with tensors put in place of those that belong to it."""
    tensors = random_blocks(np.random.default_rng(0), (3, 40), 4, 32, zeros=True) | changed
    file = file_of(directory, model_of(tensors, K=40, N=3, bits=4, block_size=32))
    return Blocks(file, "w", "s", "z", (3, 40), bits, size)


@pytest.mark.parametrize(
    ("sizes", "changed", "message"),
    [
        ({"bits": 2}, {}, "tensor 'w' has 2 bits a value, expected 4 or 8"),
        ({"size": 8}, {}, "tensor 'w' has blocks of 8 inputs, expected a power of two of at least"),
        ({"size": 48}, {}, "tensor 'w' has blocks of 48 inputs, expected a power of two"),
        (
            {"size": 64},
            {},
            r"tensor 's' has shape \[3, 2\], expected 3 elements: of a matrix \[3, 40\] in blocks"
            " of 64",
        ),
        ({}, {"w": np.zeros((3, 2, 15), np.uint8)}, r"tensor 'w' has shape \[3, 2, 15\], expected"),
        ({}, {"w": np.zeros((3, 2, 16), np.int8)}, "tensor 'w' has element type I8, expected U8"),
        ({}, {"s": np.zeros((3, 2), np.float64)}, "tensor 's' has element type F64, expected F32"),
        ({}, {"z": np.zeros((3, 2), np.uint8)}, r"tensor 'z' has shape \[3, 2\], expected 3 elem"),
        ({}, {"z": np.zeros(3, np.float32)}, "tensor 'z' has element type F32, expected U8"),
    ],
)
def test_sizes_and_types_that_do_not_fit_are_refused(
    sizes: dict, changed: dict, message: str, tmp_path: Path
):
    with pytest.raises(ExportError, match=message) as caught:
        blocks(tmp_path, **sizes, **changed)
    assert str(tmp_path / "model.onnx") in str(caught.value)


def test_a_tensor_of_blocks_that_is_computed_is_refused(tmp_path: Path):
    of = blocks(tmp_path)
    with pytest.raises(ExportError, match="tensor 'nothing' is no constant, and 'w' needs it"):
        Blocks(of.file, "w", "nothing", None, (3, 40), 4, 32)


def test_scales_are_taken_over_where_zero_points_are_the_middle(tmp_path: Path):
    middle = np.full((3, 1), 0x88, np.uint8)
    scales = np.float32([[1, 2**-3], [0, -5], [2**10, 1.5]])
    of = blocks(tmp_path, z=middle, s=scales)
    np.testing.assert_array_equal(of.block_scales(INT4), scales.astype(np.float16))
    assert of.block_scales(MatrixType("int8", 32)) is None
    assert of.block_scales(MatrixType("int4", 16)) is None
    assert blocks(tmp_path, z=middle ^ 1, s=scales).block_scales(INT4) is None


def test_other_zero_points_are_minimums(tmp_path: Path):
    """Of a scale s and a zero point z, the minimum is -s * z."""
    zeros = np.array([[0x80], [0x3F], [0x17]], np.uint8)  # the first block's in the lower half
    scales = np.float32([[1, 2**-3], [0, -5], [2**10, 1.5]])
    of = blocks(tmp_path, z=zeros, s=scales)
    minimums = -scales * np.float32([[0, 8], [15, 3], [7, 1]])
    expected = np.stack([scales, minimums], axis=-1).reshape(3, 4).astype(np.float16)
    np.testing.assert_array_equal(of.block_scales(UINT4), expected)
    values = (of.read() - np.repeat(minimums, 32, axis=1)[:, :40]) / np.where(
        scales == 0, 1, scales
    ).repeat(32, axis=1)[:, :40]
    assert (values == np.rint(values)).all() and (values >= 0).all() and (values <= 15).all()


@pytest.mark.parametrize("scale", [1e5, 1e-7, -1e9, np.inf, np.nan])
def test_scales_beyond_float16_are_not_taken_over(scale: float, tmp_path: Path):
    scales = np.full((3, 2), scale, np.float32)
    assert blocks(tmp_path, z=np.full((3, 1), 0x88, np.uint8), s=scales).block_scales(INT4) is None


def test_pieces_and_joined_matrices_are_rows_of_their_parts(tmp_path: Path):
    of = blocks(tmp_path, z=np.full((3, 1), 0x88, np.uint8))
    parts = Piece(of, 0, 1), Piece(of, 1, 2)
    whole = Joined(parts)
    assert [part.shape for part in parts] == [(1, 40), (2, 40)]
    assert whole.shape == of.shape
    np.testing.assert_array_equal(whole.read(), of.read())
    np.testing.assert_array_equal(whole.block_scales(INT4), of.block_scales(INT4))
    assert Joined((of, Dense(of.file, "s"))).block_scales(INT4) is None


def test_matrices_that_differ_are_not_joined(tmp_path: Path):
    of = blocks(tmp_path)
    with pytest.raises(ExportError, match=r"belong side by side differ: F32 \[3, 40\], F32 \[3, 2"):
        Joined((of, Dense(of.file, "s"))).read()
