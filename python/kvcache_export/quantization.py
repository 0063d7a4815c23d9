"""Weights of 8 or 4 bits: blocks of consecutive inputs share a scale, and may share a minimum.

docs/MODEL_FILE.md has the layout, which is that of the library's kernels.
"""

import math

import numpy as np

from . import compensation
from .packing import PANEL_COLUMNS
from .precision import MatrixType, convert

GROUP_INPUTS = 4  # kGroupInputs of src/kernels/cpu/quantized_cpu.hpp
BYTE_BITS = 8
FRACTIONS = (1.0, 1.15, 1.1, 1.05, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6)
SEARCHED_AT_ONCE = 1 << 20  # elements: what is in memory beside the weight
QUANTIZED_AT_ONCE = 1 << 24  # the same, of a weight that may be the largest of a model


def zero_point(type_: MatrixType) -> int:
    """The value that stands for 0, or for the minimum."""
    return 0 if type_.minimums else 1 << (type_.bits - 1)


def rows(type_: MatrixType) -> int:
    """What a block has in the tensor of scales: its scale, and its minimum behind it."""
    return 2 if type_.minimums else 1


def quantize(
    weight: np.ndarray,
    type_: MatrixType,
    name: str,
    scales: np.ndarray | None = None,
    *,
    inputs: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A float32 weight [inputs, outputs]: weight ≈ scale · (value - zero point).

    The values are uint8 [inputs filled up to whole blocks, outputs], the scales float16
    [blocks, outputs]. In 8 bits a block's largest absolute value becomes the lowest, -128 from the
    zero point, the side that has one value more (`_whole`). In 4 bits the scale is the one of
    several with the least weighted error (`_searched`).
    Where blocks have minimums, weight ≈ scale · value + minimum, and scales and minimums take turns
    in [2 · blocks, outputs] (`_searched_with_minimums`).
    Where 4 bits have `inputs` [tokens, inputs], what the weight is multiplied with in a text, an
    input's error counts by its mean square in the search, and values are rounded so that the
    products lose little (`compensation.rounded`).
    A weight that was quantised before comes back as it was with its `scales`.
    Raises ExportError where a scale would not be finite.
    """
    count, outputs = weight.shape
    block_size = type_.block_size
    blocks = math.ceil(count / block_size)
    columns = max(1, QUANTIZED_AT_ONCE // (blocks * block_size))
    if inputs is None and columns < outputs:  # which know nothing of each other
        all_values = np.empty((blocks * block_size, outputs), np.uint8)
        all_scales = np.empty((blocks * rows(type_), outputs), np.float16)
        for first in range(0, outputs, columns):
            some = np.s_[:, first : first + columns]
            known = None if scales is None else scales[some]
            all_values[some], all_scales[some] = quantize(weight[some], type_, name, known)
        return all_values, all_scales
    filled = np.zeros((blocks * block_size, outputs), np.float32)
    filled[:count] = weight
    filled = filled.reshape(blocks, block_size, outputs)
    lowest, highest = -zero_point(type_), (1 << type_.bits) - 1 - zero_point(type_)
    if scales is not None:
        found = scales
    elif type_.bits == BYTE_BITS:
        found = _whole(filled, lowest)
    else:
        counts = None if inputs is None else _of_blocks(compensation.importance(inputs), filled)
        if type_.minimums:
            found = _searched_with_minimums(filled, highest, counts).reshape(-1, outputs)
        else:
            found = _searched(filled, lowest, highest, counts)
    stored = convert(found, "float16", name)
    lines = np.zeros((blocks, 2, outputs), np.float32)
    lines[:, : rows(type_)] = stored.reshape(blocks, rows(type_), outputs)
    # Rounded with the scale that is stored, so that its rounding is not an error of the values.
    if inputs is None or scales is not None or type_.bits == BYTE_BITS:
        values = _to_nearest(filled, lines, (lowest, highest))
    else:
        values = np.zeros((blocks * block_size, outputs), np.float32)
        values[:count] = compensation.rounded(weight, lines, block_size, (lowest, highest), inputs)
    values += np.float32(zero_point(type_))
    return values.astype(np.uint8).reshape(blocks * block_size, outputs), stored


def _to_nearest(blocks: np.ndarray, lines: np.ndarray, values: tuple[int, int]) -> np.ndarray:
    """Each weight's number on its block's line, within `values`."""
    scales, offsets = lines[:, :1], lines[:, 1:]
    found = blocks - offsets  # and the rest in place: it may be the largest tensor of a model
    np.divide(found, scales, out=found, where=scales != 0)
    found *= scales != 0
    return np.rint(found, out=found).clip(*values, out=found)


def _whole(blocks: np.ndarray, lowest: int) -> np.ndarray:
    """The scale, of either sign, with which a block's largest absolute value becomes `lowest`."""
    at = np.abs(blocks).argmax(axis=1)
    return np.take_along_axis(blocks, at[:, None], axis=1)[:, 0] / np.float32(lowest)


def _of_blocks(importance: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """That of each block's inputs, [blocks, block_size, 1].

    What fills a block up is 0 and has no error, whatever it counts.
    """
    found = np.ones(blocks.shape[:2], np.float32)
    found.reshape(-1)[: importance.size] = importance
    return found[..., None]


def _counted(part: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
    """How much the squared error of each weight counts: by its input's importance, where known.

    Else by the weight's own square, as in llama.cpp, or the largest are cut off: that lowers the
    error of the weights and raises that of the logits (SmolLM2-135M, 2,048 tokens of text: KL
    divergence 0.433 without, 0.361 with it, 0.382 without a search). Where a text says what inputs
    are and what is lost is made up for, that only costs (0.131 with it, 0.089 without).
    """
    return part * part if importance is None else np.broadcast_to(importance, part.shape)


def _searched(
    blocks: np.ndarray, lowest: int, highest: int, importance: np.ndarray | None
) -> np.ndarray:
    """The scale of each block [blocks, block_size, outputs] with the least weighted squared error.

    `importance` [blocks, block_size, 1] is that of the inputs (`_counted`).

    The first is that with which the largest absolute value becomes `lowest`, the side that has one
    value more, and its sign makes it so. The others are FRACTIONS of it, which cut the largest off
    and round the rest more finely. To the values that come of each belongs a scale by weighted
    least squares, which is what counts.
    """
    found = np.empty((blocks.shape[0], blocks.shape[2]), np.float32)
    columns = max(1, SEARCHED_AT_ONCE // (blocks.shape[0] * blocks.shape[1]))
    for first in range(0, blocks.shape[2], columns):
        part = blocks[:, :, first : first + columns]
        whole = _whole(part, lowest)
        counts = _counted(part, importance)
        best = np.zeros_like(whole)
        scales = whole.copy()
        for fraction in FRACTIONS:
            scale = whole * np.float32(fraction)
            quotients = np.divide(
                part, scale[:, None], out=np.zeros_like(part), where=scale[:, None] != 0
            )
            values = np.rint(quotients).clip(lowest, highest)
            weighted = counts * values
            products, sizes = (weighted * part).sum(axis=1), (weighted * values).sum(axis=1)
            fitted = np.divide(products, sizes, out=np.zeros_like(whole), where=sizes != 0)
            explained = products * fitted  # the error is a constant less this
            better = explained > best
            best[better], scales[better] = explained[better], fitted[better]
        found[:, first : first + columns] = scales
    return found


def _searched_with_minimums(
    blocks: np.ndarray, highest: int, importance: np.ndarray | None
) -> np.ndarray:
    """Scale and minimum of each block, [blocks, 2, outputs], as `_searched` finds the scale.

    The first values are those of the block's whole range in `highest` steps, the others of
    FRACTIONS of it about its middle; scale and minimum are the straight line through a block's
    weights with the least weighted error.
    """
    found = np.empty((blocks.shape[0], 2, blocks.shape[2]), np.float32)
    columns = max(1, SEARCHED_AT_ONCE // (blocks.shape[0] * blocks.shape[1]))
    for first in range(0, blocks.shape[2], columns):
        part = blocks[:, :, first : first + columns]
        low, high = part.min(axis=1), part.max(axis=1)
        middle, half = (low + high) / 2, (high - low) / 2
        counts = _counted(part, importance)
        total, sum_x = counts.sum(axis=1), (counts * part).sum(axis=1)
        best = np.full_like(low, np.inf)
        lines = np.stack([half * np.float32(2 / highest), low], axis=1)
        for fraction in FRACTIONS:
            scale = half * np.float32(2 * fraction / highest)
            offset = middle - half * np.float32(fraction)
            quotients = np.divide(
                part - offset[:, None],
                scale[:, None],
                out=np.zeros_like(part),
                where=scale[:, None] != 0,
            )
            values = np.rint(quotients).clip(0, highest)
            weighted = counts * values
            sum_v, sum_vv = weighted.sum(axis=1), (weighted * values).sum(axis=1)
            sum_vx = (weighted * part).sum(axis=1)
            spread = total * sum_vv - sum_v * sum_v
            slope = np.divide(
                total * sum_vx - sum_v * sum_x, spread, out=scale.copy(), where=spread > 0
            )
            start = np.divide(sum_x - slope * sum_v, total, out=low.copy(), where=total > 0)
            errors = (counts * (slope[:, None] * values + start[:, None] - part) ** 2).sum(axis=1)
            better = errors < best
            best[better] = errors[better]
            for place, each in enumerate((slope, start)):
                lines[:, place][better] = each[better]
        found[:, :, first : first + columns] = lines
    return found


def pack(values: np.ndarray, type_: MatrixType) -> np.ndarray:
    """[inputs, outputs] to [panels, groups, 64, 4].

    A byte of 4 bits each has an input of one group of 4 in its lower half, and of the next group
    in its upper half.
    """
    inputs, outputs = values.shape
    panels = math.ceil(outputs / PANEL_COLUMNS)
    missing = panels * PANEL_COLUMNS - outputs
    filled = np.pad(values, ((0, 0), (0, missing)), constant_values=zero_point(type_))
    apart = filled.reshape(inputs // GROUP_INPUTS, GROUP_INPUTS, panels, PANEL_COLUMNS)
    groups = apart.transpose(2, 0, 3, 1)
    if type_.bits < BYTE_BITS:
        groups = groups[:, ::2] | groups[:, 1::2] << type_.bits
    return np.ascontiguousarray(groups)
