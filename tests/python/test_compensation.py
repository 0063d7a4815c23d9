"""Products of matrices that were rounded by a text: nearer than those rounded to nearest."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from kvcache_export import compensation
from kvcache_export.precision import MatrixType
from kvcache_export.quantization import quantize


def _quantized(weight: np.ndarray, type_: MatrixType, inputs: np.ndarray | None) -> np.ndarray:
    """The weight as a product has it, float32."""
    values, scales = quantize(weight, type_, "w", inputs=inputs)
    blocks = scales.astype(np.float32).reshape(-1, 2 if type_.minimums else 1, 1, weight.shape[1])
    apart = values.reshape(len(blocks), -1, weight.shape[1]).astype(np.float32)
    apart = apart * blocks[:, 0] + blocks[:, 1] if type_.minimums else (apart - 8) * blocks[:, 0]
    return apart.reshape(-1, weight.shape[1])[: len(weight)]


def _text(generator: np.random.Generator, tokens: int, inputs: int) -> np.ndarray:
    """Activations of a few directions and of very different sizes, as those of models are."""
    directions = generator.standard_normal((12, inputs))
    sizes = np.exp(generator.normal(0, 1, inputs))
    mixed = generator.standard_normal((tokens, 12)) @ directions
    mixed += 0.3 * generator.standard_normal((tokens, inputs))
    return (mixed * sizes).astype(np.float32)


def _line(scale: float, offset: float, blocks: int, outputs: int) -> np.ndarray:
    return np.tile(np.array([[scale], [offset]], np.float32), (blocks, 1, outputs))


@pytest.mark.parametrize("weights", ["int4", "uint4"])
@pytest.mark.parametrize("seed", range(5))
def test_products_lose_a_fraction(weights: str, seed: int):
    """Of what they lose without, on other tokens of the same kind; inputs are no whole blocks."""
    generator = np.random.default_rng(seed)
    weight = generator.standard_normal((70, 200)).astype(np.float32)
    text, other = np.split(_text(generator, 800, 70), 2)
    type_ = MatrixType(weights, 32)

    def lost(inputs: np.ndarray | None) -> float:
        return float(np.square(other @ (_quantized(weight, type_, inputs) - weight)).sum())

    assert lost(text) < 0.35 * lost(None), f"seed {seed}"


def test_the_last_of_the_inputs_is_the_best_there_is_beside_the_others():
    generator = np.random.default_rng(3)
    weight = generator.standard_normal((16, 40)).astype(np.float32)
    text = _text(generator, 300, 16)
    found = compensation.rounded(weight, _line(0.3, -2, 1, 40), 16, (0, 15), text)
    last = np.argsort(-np.square(text, dtype=np.float64).sum(axis=0))[-1]

    def lost(values: np.ndarray) -> np.ndarray:
        squares = np.square(text @ (values * 0.3 - 2 - weight)).sum(axis=0)
        damping = compensation.DAMPING[0] * np.square(text).sum(axis=0).mean()
        return squares + damping * np.square(values * 0.3 - 2 - weight).sum(axis=0)

    for value in range(16):
        other = found.copy()
        other[last] = value
        assert (lost(found) <= lost(other) * (1 + 1e-4)).all(), value


@pytest.mark.parametrize("seed", range(3))
def test_of_few_inputs_it_is_near_the_best_of_all(seed: int):
    """Of 4 inputs and 4 values all 256 columns can be tried."""
    generator = np.random.default_rng(seed)
    weight = generator.uniform(0, 3, (4, 60)).astype(np.float32)
    text = _text(generator, 100, 4)

    def lost(values: np.ndarray) -> np.ndarray:
        return np.square(text @ (values - weight)).sum(axis=0)

    columns = itertools.product(range(4), repeat=4)
    every = [lost(np.array(column, np.float32)[:, None]) for column in columns]
    best, nearest = np.min(every, axis=0).sum(), lost(np.rint(weight)).sum()
    found = lost(compensation.rounded(weight, _line(1, 0, 1, 60), 4, (0, 3), text)).sum()
    assert best <= found * (1 + 1e-5)
    assert found - best < 0.5 * (nearest - best), f"seed {seed}"


def test_inputs_that_have_nothing_to_do_with_each_other_are_rounded_to_nearest():
    generator = np.random.default_rng(0)
    weight = generator.standard_normal((20, 9)).astype(np.float32)
    text = np.diag(generator.uniform(1, 2, 20)).astype(np.float32)
    found = compensation.rounded(weight, _line(0.25, 0, 2, 9), 10, (-8, 7), text)
    np.testing.assert_array_equal(found, np.rint(weight / np.float32(0.25)).clip(-8, 7))


def test_parts_of_outputs_and_blocks_of_inputs_make_no_difference(monkeypatch: pytest.MonkeyPatch):
    generator = np.random.default_rng(1)
    weight = generator.standard_normal((100, 30)).astype(np.float32)
    text, type_ = _text(generator, 500, 100), MatrixType("uint4", 16)
    whole = _quantized(weight, type_, text)
    monkeypatch.setattr(compensation, "OUTPUTS_AT_ONCE", 700)
    monkeypatch.setattr(compensation, "BLOCK_INPUTS", 7)
    in_parts = _quantized(weight, type_, text)
    # Sums in another order: what lies at the edge of two numbers may fall to the other side.
    assert (in_parts != whole).any(axis=0).mean() < 0.2


@pytest.mark.parametrize("weights", ["int4", "uint4"])
@pytest.mark.parametrize("text", ["zeros", "one token", "one input"])
def test_texts_that_say_little(weights: str, text: str):
    """Every weight stays near, whatever the text leaves open."""
    weight = np.random.default_rng(0).standard_normal((32, 8)).astype(np.float32)
    inputs = np.zeros((1 if text == "one token" else 50, 32), np.float32)
    if text == "one token":
        inputs[0] = np.random.default_rng(1).standard_normal(32)
    elif text == "one input":
        inputs[:, 5] = 3
    found = _quantized(weight, MatrixType(weights, 16), inputs)
    assert np.isfinite(found).all()
    steps = np.ptp(weight.reshape(2, 16, 8), axis=1).max() / 15
    largest = np.abs(weight).max() / 8
    allowed = 4 if text == "one token" else 1.01  # what one loses, others make up for
    assert np.abs(found - weight).max() < allowed * max(steps, largest)
