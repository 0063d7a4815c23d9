"""Rows of int8 with their scale, made and read by standard operators: to the bit."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxscript import GraphBuilder

from kvcache_export.graph import IR_VERSION
from kvcache_export.nodes import OPSET_VERSION, quantized_cache

HEAD_DIM = 12
BFLOAT16 = ir.DataType.BFLOAT16.numpy()


def reference(rows: np.ndarray) -> np.ndarray:
    """The bytes that docs/MODEL_FILE.md describes, by looking at a bfloat16's bits."""
    largest = np.maximum(np.abs(rows).max(axis=-1, keepdims=True), np.float32(1e-30))
    scale = (largest / np.float32(127)).astype(BFLOAT16)
    values = np.round(rows * (np.float32(1) / scale.astype(np.float32)))  # ties to even
    assert np.abs(values).max() <= 127
    return np.concatenate([values.astype(np.int8), scale.view(np.int8)], axis=-1)


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    """rows [1, 1, count, head_dim] to `encoded` [..., head_dim + 2] and back, `decoded`."""
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET_VERSION}, name="rows")
    builder = GraphBuilder(graph)
    rows = builder.input("rows", ir.DataType.FLOAT, [1, 1, "count", HEAD_DIM])
    encoded = quantized_cache.encoded(builder.op, rows)
    decoded = quantized_cache.decoded(builder.op, encoded)
    for name, value, dtype in (
        ("encoded", encoded, ir.DataType.INT8),
        ("decoded", decoded, ir.DataType.FLOAT),
    ):
        value.type = ir.TensorType(dtype)
        builder.add_output(value, name)
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString()
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"])


def run(session: ort.InferenceSession, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    encoded, decoded = session.run(None, {"rows": rows[None, None]})
    return encoded[0, 0], decoded[0, 0]


def rows_of_all_magnitudes() -> np.ndarray:
    generator = np.random.default_rng(0)
    magnitudes = np.float32(10.0) ** np.linspace(-40, 37, 3000, dtype=np.float32)[:, None]
    random = generator.standard_normal((3000, HEAD_DIM), np.float32) * magnitudes
    # Scales next to where a bfloat16 rounds up or down, to even and into the next power of two.
    steps = np.arange(128, 257, dtype=np.float32)[:, None] + np.float32([0.49, 0.5, 0.51])
    edges = np.zeros((steps.size, HEAD_DIM), np.float32)
    edges[:, 0] = 127 * steps.ravel() / 256
    edges[:, 1] = -edges[:, 0] / 2
    return np.concatenate([random, edges, np.zeros((1, HEAD_DIM), np.float32)])


def test_rows_become_the_bytes_of_the_contract_and_are_read_exactly(session: ort.InferenceSession):
    rows = rows_of_all_magnitudes()
    encoded, decoded = run(session, rows)
    expected = reference(rows)
    np.testing.assert_array_equal(encoded, expected)
    scales = expected[:, HEAD_DIM:].copy().view(BFLOAT16).astype(np.float64)
    exact = expected[:, :HEAD_DIM].astype(np.float64) * scales
    np.testing.assert_array_equal(decoded, exact)
    largest = np.abs(rows).max(axis=-1, keepdims=True)
    assert (np.abs(rows - exact) <= 0.502 * np.maximum(largest, 1e-30) / 127).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_row_that_is_not_finite_is_nan_and_no_other(session: ort.InferenceSession, bad: float):
    rows = np.ones((3, HEAD_DIM), np.float32)
    rows[1, 5] = bad
    _, decoded = run(session, rows)
    assert np.isnan(decoded[1]).all()
    np.testing.assert_allclose(decoded[[0, 2]], 1, rtol=2**-8)
