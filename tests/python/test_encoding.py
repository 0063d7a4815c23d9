"""What a matrix is in the file: its tensors, and values where docs/MODEL_FILE.md has them."""

from __future__ import annotations

import numpy as np
import pytest
from packed import packed_value

from kvcache_export.encoding import encoded, size, tensors
from kvcache_export.precision import MatrixType
from kvcache_export.spec import Layout, Matrix


def encode(matrix: Matrix, type_: MatrixType, weight: np.ndarray) -> dict[str, np.ndarray]:
    """The tensors, which have the element types and shapes that are said of them."""
    found = encoded(matrix, type_, weight, "w")
    said = {name: (dtype.numpy(), shape) for name, (dtype, shape) in tensors(matrix, type_).items()}
    assert {name: (value.dtype, value.shape) for name, value in found.items()} == said
    return found


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("layout", [Layout.ROWS, Layout.PANELS])
@pytest.mark.parametrize(("inputs", "outputs", "block_size"), [(40, 5, 16), (64, 130, 32)])
def test_errors_are_at_most_half_a_step_where_nothing_is_cut_off(
    inputs: int, outputs: int, block_size: int, bits: int, layout: Layout
):
    matrix = Matrix(inputs, (outputs,), layout)
    weight = np.random.default_rng(bits).standard_normal(matrix.shape, np.float32)
    values, scales = encode(matrix, MatrixType(f"int{bits}", block_size), weight).values()
    by_inputs = weight.T if layout is Layout.ROWS else weight
    for i, o in np.ndindex(inputs, outputs):
        scale = float(scales[o // 64, i // block_size, o % 64])
        value = packed_value(values, bits, i, o)
        # A scale rounded by 2^-11 moves the ends of its range and may cut them off, and the upper
        # one is a step nearer than the lower; of 4 bits the search may cut off more.
        half = 1 << (bits - 1)
        if -half < value < half - 1:
            assert abs(scale * value - by_inputs[i, o]) <= 0.56 * abs(scale)
        else:
            assert 0.9 < by_inputs[i, o] / (scale * value) < (1.01 if bits == 8 else 1.7)


def test_what_fills_up_inputs_and_outputs_is_zero():
    matrix = Matrix(17, (3,), Layout.PANELS)
    values, scales = encode(matrix, MatrixType("int4", 16), np.ones((17, 3), np.float32)).values()
    assert all(packed_value(values, 4, i, 0) == 0 for i in range(17, 32))
    assert all(packed_value(values, 4, i, 63) == 0 for i in range(32))
    assert not scales[0, :, 3:].any()


@pytest.mark.parametrize("type_", [MatrixType("float16"), MatrixType("int8", 16)], ids=str)
@pytest.mark.parametrize("outputs", [3, 64, 100])
def test_alternating_panels_are_those_of_each_matrix_alone(type_: MatrixType, outputs: int):
    weight = np.random.default_rng(outputs).standard_normal((24, 2 * outputs), np.float32)
    alone = Matrix(24, (outputs,), Layout.PANELS)
    both = encode(Matrix(24, (outputs, outputs), Layout.ALTERNATING_PANELS), type_, weight)
    for which, half in enumerate(np.split(weight, 2, axis=1)):
        for name, expected in encode(alone, type_, half).items():
            np.testing.assert_array_equal(both[name][which::2], expected)


def test_a_table_that_is_not_quantised_stays_as_it_is():
    weight = np.arange(6, dtype=np.float32).reshape(3, 2)
    (found,) = encode(Matrix(2, (3,), Layout.ROWS), MatrixType("float32"), weight).values()
    assert found is weight


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        (Matrix(40, (70,), Layout.PANELS), 3 * 128 * (16 + 2)),
        (Matrix(40, (70, 70), Layout.ALTERNATING_PANELS), 3 * 2 * 128 * (16 + 2)),
        (Matrix(40, (30, 30), Layout.PANELS), 3 * 64 * (16 + 2)),
    ],
)
def test_bytes_are_those_of_the_tensors(matrix: Matrix, expected: int):
    type_ = MatrixType("int8", 16)
    found = encode(matrix, type_, np.ones(matrix.shape, np.float32))
    assert size(matrix, type_) == sum(value.nbytes for value in found.values()) == expected
