"""`ValueHead`'s body, against its definition in double precision."""

from __future__ import annotations

import numpy as np
import pytest
import reference_gpt2
from plain_ort import run_node

from kvcache_export.nodes.value_head import VALUE_HEAD

SIZE, EPSILON, LAYER_EPSILON = 13, 1e-5, 1e-3
FUNCTIONS = {"relu": "relu", "gelu_erf": "gelu", "tanh": "tanh", "sigmoid": "sigmoid"}


def normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray, epsilon: float) -> np.ndarray:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * weight + bias


@pytest.mark.parametrize("sizes", [(), (7,), (9, 5), (8, 8, 3)], ids=str)
@pytest.mark.parametrize("with_norms", [True, False])
@pytest.mark.parametrize("positions", [[], [2, 0]], ids=str)
@pytest.mark.parametrize(("inner", "last"), [("relu", "tanh"), ("gelu_erf", "sigmoid")])
def test_value_heads(
    sizes: tuple[int, ...], with_norms: bool, positions: list[int], inner: str, last: str
):
    generator = np.random.default_rng(len(sizes))

    def random(*shape: int) -> np.ndarray:
        return generator.standard_normal(shape, np.float32) / np.float32(shape[-1] ** 0.5)

    feeds = {"x": 4 * random(2, 3, SIZE)}
    feeds |= {name: 3 * random(SIZE) for name in ("norm_weight", "norm_bias")}
    feeds["positions"] = np.array(positions, np.int64)
    attributes = {"norm": "layer_norm", "epsilon": EPSILON}
    attributes |= {"activation": inner, "output_activation": last}
    if with_norms:
        attributes["layer_epsilon"] = LAYER_EPSILON
    x = feeds["x"][:, positions] if positions else feeds["x"]
    x = normed(x.astype(np.float64), feeds["norm_weight"], feeds["norm_bias"], EPSILON)
    for i, (inputs, outputs) in enumerate(zip((SIZE, *sizes), sizes, strict=False)):
        feeds |= {f"weight_{i}": random(outputs, inputs), f"bias_{i}": random(outputs)}
        x = x @ feeds[f"weight_{i}"].T.astype(np.float64) + feeds[f"bias_{i}"]
        if with_norms:
            names = [f"layer_norm_{part}_{i}" for part in ("weight", "bias")]
            feeds |= {name: 3 * random(outputs) for name in names}
            x = normed(x, *(feeds[name] for name in names), LAYER_EPSILON)
        x = reference_gpt2.ACTIVATIONS[FUNCTIONS[inner]](x)
    feeds |= {"output_weight": random(1, (SIZE, *sizes)[-1]), "output_bias": random(1)}
    x = x @ feeds["output_weight"].T.astype(np.float64) + feeds["output_bias"]
    expected = reference_gpt2.ACTIVATIONS[FUNCTIONS[last]](x)

    variant = [f"{len(sizes)}_layers", *([] if with_norms else ["no_layer_norm"])]
    found = run_node(VALUE_HEAD, feeds, attributes, variant)
    assert found.shape == (2, len(positions) or 3, 1)
    assert np.ptp(expected) > 1e-3
    np.testing.assert_allclose(found, expected, atol=2e-5)
