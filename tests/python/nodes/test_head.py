"""`Head`'s body, against its definition in double precision."""

from __future__ import annotations

import numpy as np
import pytest
from packed import INPUTS, OUTPUTS, TYPES, rounded, weight_of
from plain_ort import run_node

from kvcache_export.nodes.head import HEAD
from kvcache_export.nodes.linear import LINEAR
from kvcache_export.precision import MatrixType
from kvcache_export.spec import Layout, Matrix


@pytest.mark.parametrize("type_", TYPES, ids=lambda of: f"{of.weights}-{of.round_input}")
@pytest.mark.parametrize("positions", [[], [2, 0]])
@pytest.mark.parametrize("soft_cap", [None, 5.0])
def test_heads(type_: MatrixType, positions: list[int], soft_cap: float | None):
    generator = np.random.default_rng(7)
    feeds, attributes, weight = weight_of(Matrix(INPUTS, (OUTPUTS,), Layout.ROWS), type_)
    x = generator.standard_normal((2, 3, INPUTS), np.float32)
    feeds["norm_weight"] = np.ones(INPUTS, np.float32)
    feeds["positions"] = np.array(positions, np.int64)
    selected = x[:, positions] if positions else x
    # Rounded as the body rounds it: of the norm in float32.
    normal = run_node(
        LINEAR,
        {
            "x": selected,
            "norm_weight": feeds["norm_weight"],
            "weight": np.eye(64, dtype=np.float32)[None, :INPUTS],
        },
        {"outputs": INPUTS, "norm": "rms_norm", "epsilon": 1e-5},
    )
    expected = rounded(normal, type_.round_input) @ weight.T
    if soft_cap:
        attributes["soft_cap"] = soft_cap
        expected = soft_cap * np.tanh(expected / soft_cap)
    attributes |= {"outputs": OUTPUTS, "norm": "rms_norm", "epsilon": 1e-5}
    attributes |= {"round_input": type_.round_input} if type_.round_input else {}
    found = run_node(HEAD, {"x": x, **feeds}, attributes)
    np.testing.assert_allclose(found, expected, atol=5e-5)
