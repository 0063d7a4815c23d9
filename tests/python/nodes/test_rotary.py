"""Rotary positions: the tables, and pairs turned by them as complex numbers are."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnxscript import GraphBuilder

from kvcache_export.graph import IR_VERSION
from kvcache_export.nodes import OPSET_VERSION, rotary
from kvcache_export.spec import Rotary

HEAD_DIM = 10


@pytest.mark.parametrize("base", [1e4, 5e5])
def test_tables(base: float):
    tables = rotary.tables(Rotary(8, base), 100)
    assert {table.shape for table in tables.values()} == {(100, 4)}
    assert {table.dtype for table in tables.values()} == {np.dtype(np.float32)}
    for position in (0, 1, 99):
        for pair in range(4):
            angle = position / base ** (2 * pair / 8)
            assert tables["cos"][position, pair] == np.float32(np.cos(angle))
            assert tables["sin"][position, pair] == np.float32(np.sin(angle))


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("dims", [2, 6, HEAD_DIM])
def test_rotated(dims: int, interleaved: bool):
    graph = ir.Graph([], [], nodes=[], opset_imports={"": OPSET_VERSION}, name="turn")
    builder = GraphBuilder(graph)
    x = builder.input("x", ir.DataType.FLOAT, [2, 3, "tokens", HEAD_DIM])
    cos, sin = (
        builder.input(name, ir.DataType.FLOAT, [2, "tokens", dims // 2]) for name in ("cos", "sin")
    )
    turned = rotary.rotated(builder.op, x, cos, sin, interleaved=interleaved)
    turned.type = ir.TensorType(ir.DataType.FLOAT)
    builder.add_output(turned, "turned")
    model = ir.to_proto(ir.Model(graph, ir_version=IR_VERSION)).SerializeToString()
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])

    generator = np.random.default_rng(0)
    for tokens in (0, 1, 4):
        values = generator.standard_normal((2, 3, tokens, HEAD_DIM), np.float32)
        angles = generator.uniform(0, 7, (2, tokens, dims // 2))
        tables = {"cos": np.float32(np.cos(angles)), "sin": np.float32(np.sin(angles))}
        (found,) = session.run(None, {"x": values, **tables})

        pairs = values[..., :dims]
        halves = (pairs[..., ::2], pairs[..., 1::2]) if interleaved else np.split(pairs, 2, -1)
        expected = (halves[0] + 1j * halves[1]) * np.exp(1j * angles)[:, None]
        pairs = found[..., :dims]
        halves = (pairs[..., ::2], pairs[..., 1::2]) if interleaved else np.split(pairs, 2, -1)
        # Two products and their sum, each rounded to float32.
        np.testing.assert_allclose(halves[0], expected.real, atol=1e-6)
        np.testing.assert_allclose(halves[1], expected.imag, atol=1e-6)
        np.testing.assert_array_equal(found[..., dims:], values[..., dims:])
