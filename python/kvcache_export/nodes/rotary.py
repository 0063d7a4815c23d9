"""Rotary position embedding: the tables of its angles, and queries and keys turned by them."""

import math

import numpy as np
import onnx_ir as ir
from onnxscript import OpBuilder

from ..spec import Rotary, RotaryScaling


def tables(rotary: Rotary, positions: int) -> dict[str, np.ndarray]:
    """`cos` and `sin` of every angle, float32 [positions, dims / 2]."""
    angles = np.arange(positions)[:, None] * frequencies(rotary)
    magnitude = rotary.scaling.magnitude if rotary.scaling else 1.0
    return {
        part: (magnitude * of(angles)).astype(np.float32)
        for part, of in (("cos", np.cos), ("sin", np.sin))
    }


def frequencies(rotary: Rotary) -> np.ndarray:
    """What each pair turns by from one position to the next, float64 [dims / 2].

    Scaled as position interpolation does it (linear; Chen et al., arXiv:2306.15595), by parts as
    YaRN (Peng et al., arXiv:2309.00071) and as Llama 3.1 do, or by a divisor each as LongRoPE
    (Ding et al., arXiv:2402.13753).
    """
    turns = rotary.base ** (-np.arange(0, rotary.dims, 2) / rotary.dims)
    scaling = rotary.scaling
    if scaling is None:
        return turns
    if scaling.kind == "longrope":
        return turns / np.array(scaling.divisors)
    slow = turns / scaling.factor
    if scaling.kind == "linear":
        return slow
    kept = _kept_by_llama3(turns, scaling) if scaling.kind == "llama3" else _kept_by_yarn(rotary)
    return kept * turns + (1 - kept) * slow


def _kept_by_llama3(turns: np.ndarray, of: RotaryScaling) -> np.ndarray:
    """The share of each frequency that stays: by how often it turns within the positions."""
    rounds = of.original_positions * turns / (2 * math.pi)
    return np.clip((rounds - of.low) / (of.high - of.low), 0, 1)


def _kept_by_yarn(rotary: Rotary) -> np.ndarray:
    """The same, on a straight line between the pairs that turn `high` and `low` times."""
    of = rotary.scaling

    def pair(rounds: float) -> float:
        positions = of.original_positions / (rounds * 2 * math.pi)
        return rotary.dims * math.log(positions) / (2 * math.log(rotary.base))

    first, last = pair(of.high), pair(of.low)
    if of.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, rotary.dims - 1)
    width = last - first if last != first else 1e-3
    return 1 - np.clip((np.arange(rotary.dims // 2) - first) / width, 0, 1)


def rotated(
    op: OpBuilder, x: ir.Value, cos: ir.Value, sin: ir.Value, *, interleaved: bool
) -> ir.Value:
    """x [batch, heads, seq_len, head_dim], its pairs turned by angles [batch, seq_len, dims / 2].

    What of head_dim is beyond dims stays as it is.
    """
    half = op.Shape(cos, start=2, end=3)
    dims = op.Add(half, half)
    cos, sin = (op.CastLike(op.Unsqueeze(table, [1]), x) for table in (cos, sin))
    if interleaved:
        one, other = (op.Slice(x, [first], dims, [3], [2]) for first in (0, 1))
    else:
        one, other = op.Slice(x, [0], half, [3]), op.Slice(x, half, dims, [3])
    turned = (
        op.Sub(op.Mul(one, cos), op.Mul(other, sin)),
        op.Add(op.Mul(other, cos), op.Mul(one, sin)),
    )
    if interleaved:
        pairs = op.Concat(*(op.Unsqueeze(part, [4]) for part in turned), axis=4)
        shape = op.Concat(op.Shape(x, start=0, end=3), dims, axis=0)
        turned = (op.Reshape(pairs, shape, allowzero=1),)
    return op.Concat(*turned, op.Slice(x, dims, [2**31], [3]), axis=3)
