"""Values of a quantised matrix whose products lose little on a text, though each weight may lose
more than by rounding to nearest: what an input's rounding costs is made up for by those rounded
after it.

This is GPTQ (Frantar et al. 2022, arXiv:2210.17323), in the form that QuIP shows to be the same
(Chee et al. 2023, arXiv:2307.13304, section 3): with H = Σ x xᵀ over the text and H = R D Rᵀ, R
upper triangular with ones on its diagonal, input k is rounded to nearest as w_k + Σ_{j<k} R_jk
(w_j - ŵ_j). Inputs come in the order of their mean squares, the largest first, as most is left then
to make up for what costs most.
"""

from collections.abc import Iterator

import numpy as np

DAMPING = (0.01, 0.1, 1.0)  # of H's mean diagonal, added to it; the first with which it has an R
FLOOR = 1e-3  # of the mean importance, that every input has
BLOCK_INPUTS = 64  # rounded one by one, before what they leave goes to all inputs after them
OUTPUTS_AT_ONCE = 1 << 22  # elements of a part of the weight: what is in memory beside it


def importance(inputs: np.ndarray) -> np.ndarray:
    """How much the error of each input counts by itself, float32 [inputs]: its mean square, and a
    little of that of all, so that a block of inputs that the text leaves out is rounded well."""
    total = np.zeros(inputs.shape[1], np.float64)
    for part in _rows(inputs):
        total += np.square(part, dtype=np.float64).sum(axis=0)
    return ((total + FLOOR * total.mean()) / len(inputs)).astype(np.float32)


def rounded(
    weight: np.ndarray,
    lines: np.ndarray,
    block_size: int,
    values: tuple[int, int],
    inputs: np.ndarray,
) -> np.ndarray:
    """Whole numbers for the weight, float32 [inputs, outputs].

    `lines` [blocks, 2, outputs] has the scale and the offset of `block_size` inputs each: a number
    n stands for scale · n + offset. Numbers are within `values`, the lowest and the highest.
    `inputs` [tokens, inputs] is what the weight is multiplied with in a text.
    """
    order, upper = _factor(inputs)
    found = np.empty_like(weight)
    columns = max(1, OUTPUTS_AT_ONCE // weight.shape[0])
    for first in range(0, weight.shape[1], columns):
        some = slice(first, first + columns)
        found[order, some] = _rounded_in_order(
            weight[order, some], lines[..., some], order // block_size, values, upper
        )
    return found


def _factor(inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The order of the inputs, and R of H in this order."""
    size = inputs.shape[1]
    h = np.zeros((size, size), np.float32)
    for part in _rows(inputs):
        h += part.T @ part
    diagonal = h.diagonal().copy()
    order = np.argsort(-diagonal, kind="stable")
    h = h[np.ix_(order, order)]
    mean = diagonal.mean() or np.float32(1)
    for damping in DAMPING:
        np.fill_diagonal(h, diagonal[order] + np.float32(damping) * mean)
        try:
            # Backwards, so that the lower factor that NumPy has is the upper one.
            lower = np.linalg.cholesky(h[::-1, ::-1])
        except np.linalg.LinAlgError:
            if damping == DAMPING[-1]:
                raise
            continue
        break
    upper = lower[::-1, ::-1]
    return order, np.ascontiguousarray(upper / upper.diagonal())


def _rounded_in_order(
    weight: np.ndarray,
    lines: np.ndarray,
    block_of: np.ndarray,
    values: tuple[int, int],
    upper: np.ndarray,
) -> np.ndarray:
    """The same of some outputs, inputs in order; `block_of` says whose line each has."""
    found, lost = np.empty_like(weight), np.empty_like(weight)
    for first in range(0, len(weight), BLOCK_INPUTS):
        end = min(first + BLOCK_INPUTS, len(weight))
        wanted = weight[first:end] + upper[:first, first:end].T @ lost[:first]
        for k in range(first, end):
            scale, offset = lines[block_of[k]]
            target = wanted[k - first]
            quotient = np.divide(
                target - offset, scale, out=np.zeros_like(target), where=scale != 0
            )
            found[k] = np.rint(quotient).clip(*values)
            lost[k] = weight[k] - (found[k] * scale + offset)
            wanted[k - first + 1 :] += upper[k, k + 1 : end, None] * lost[k]
    return found


def _rows(inputs: np.ndarray) -> Iterator[np.ndarray]:
    """In parts, as they come from a file."""
    at_once = max(1, OUTPUTS_AT_ONCE // inputs.shape[1])
    for first in range(0, len(inputs), at_once):
        yield np.asarray(inputs[first : first + at_once])
