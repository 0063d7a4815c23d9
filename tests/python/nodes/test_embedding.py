"""`Embedding`'s body: rows of the table, converted and scaled, and those of the positions."""

from __future__ import annotations

import numpy as np
import pytest
from packed import packed_value
from plain_ort import BFLOAT16, run_node

from kvcache_export.encoding import encoded
from kvcache_export.nodes.embedding import AS_FLOAT32, EMBEDDING
from kvcache_export.precision import MatrixType
from kvcache_export.spec import Layout, Matrix

COUNT, SIZE, BLOCK_SIZE = 70, 24, 16
IDS = np.array([[0, 69, 3], [64, 63, 3]])
POSITIONS = np.array([[0, 1, 2], [4, 3, 0]])
TABLE = Matrix(SIZE, (COUNT,), Layout.ROWS)


@pytest.mark.parametrize("weights", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("scale", [None, 3.0])
@pytest.mark.parametrize("learned", [False, True])
def test_rows(weights: str, scale: float | None, learned: bool):
    generator = np.random.default_rng(0)
    table = generator.standard_normal((COUNT, SIZE), np.float32)
    table = table.astype(BFLOAT16).astype(np.float32)  # the same in all three types
    (stored,) = encoded(TABLE, MatrixType(weights), table, "w").values()
    feeds = {"input_ids": IDS, "position_ids": POSITIONS, "token_weight": stored}
    expected = table[IDS] * np.float32(scale or 1)
    if learned:
        feeds["position_weight"] = generator.standard_normal((5, SIZE), np.float32)
        expected = expected + feeds["position_weight"][POSITIONS]
    variant = [AS_FLOAT32] if not learned and weights != "float32" else []
    found = run_node(EMBEDDING, feeds, {"scale": scale} if scale else {}, variant)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("weights", ["int8", "int4", "uint4"])
def test_rows_of_a_quantised_table(weights: str):
    type_ = MatrixType(weights, BLOCK_SIZE)
    table = np.random.default_rng(1).standard_normal((COUNT, SIZE), np.float32)
    values, scales = encoded(TABLE, type_, table, "w").values()
    feeds = {"input_ids": IDS, "position_ids": POSITIONS}
    feeds |= {"token_weight": values, "token_scales": scales}
    attributes = {"bits": type_.bits, "block_size": BLOCK_SIZE, "inputs": SIZE, "outputs": COUNT}
    if type_.minimums:
        attributes["minimums"] = 1

    def element(o: int, i: int) -> np.float32:
        of_block = np.float32(scales[o // 64, :, o % 64])
        if not type_.minimums:
            return of_block[i // BLOCK_SIZE] * packed_value(values, type_.bits, i, o)
        scale, minimum = of_block.reshape(-1, 2)[i // BLOCK_SIZE]
        return scale * (packed_value(values, 4, i, o) + 8) + minimum

    expected = [[element(o, i) for i in range(SIZE)] for o in IDS.ravel()]
    found = run_node(EMBEDDING, feeds, attributes)
    np.testing.assert_array_equal(found.reshape(-1, SIZE), np.float32(expected))
