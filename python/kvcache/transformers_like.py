"""`generate(**kwargs)` with the names of Hugging Face's transformers, for who comes from there.

The subset that this library has; another name, or a value it has no counterpart for, is a TypeError
or ValueError that says so, never ignored. kvcache.generate() has more: texts, stop strings, tokens
as they come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._native import Generated, Model, SamplingOptions, generate_samples
from ._native import generate as generate_one

Tokens = npt.NDArray[np.int64]


def generate(
    model: Model,
    input_ids: npt.ArrayLike,
    *,
    max_new_tokens: int | None = None,
    max_length: int | None = None,
    do_sample: bool = False,
    temperature: float = 1.0,
    top_k: int = 50,
    top_p: float = 1.0,
    min_p: float | None = None,
    typical_p: float = 1.0,
    repetition_penalty: float = 1.0,
    num_return_sequences: int = 1,
    num_beams: int = 1,
    eos_token_id: int | Sequence[int] | None = None,
    pad_token_id: int | None = None,
    attention_mask: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Tokens:
    """Prompts and what was generated after them, [prompts · num_return_sequences, tokens], int64.

    Args:
        input_ids: [prompts, tokens], or [tokens] for one prompt.
        max_new_tokens: or max_length, which counts the prompt; one of them.
        do_sample: draws by chance; else the largest logit is taken, and cuts have no effect.
        top_k: as in transformers, 50 unless said otherwise; 0: all.
        num_beams: 1, as beam search is not in the Python package.
        eos_token_id: what ends a text; None: the model's stop tokens.
        pad_token_id: fills texts up that ended sooner; None: the model's, or that which ended them.
        attention_mask: all ones, as prompts are not padded.
        seed: of the random numbers, which transformers takes from torch.

    Raises:
        Error: as kvcache.generate.
        ValueError: a value that this library has no counterpart for, or prompts that are no array.
    """
    prompts = _prompts(input_ids)
    if num_beams != 1:
        raise ValueError(f"num_beams is {num_beams}: beam search is not in the Python package")
    if attention_mask is not None and not np.asarray(attention_mask).all():
        raise ValueError("attention_mask has zeros: give prompts of other lengths one by one")
    if (max_new_tokens is None) == (max_length is None):
        raise ValueError("give max_new_tokens or max_length, one of them")
    new = max_new_tokens if max_length is None else max_length - prompts.shape[1]
    if new is None or new < 1:
        raise ValueError(f"max_length is {max_length}, the prompts have {prompts.shape[1]} tokens")
    if num_return_sequences != 1 and not do_sample:
        raise ValueError("num_return_sequences needs do_sample: the others would be the same")
    stop = model.info.stop_token_ids if eos_token_id is None else _as_list(eos_token_id)
    sampling = SamplingOptions(
        temperature=temperature if do_sample else 0.0,
        top_k=top_k if do_sample else 0,
        top_p=top_p if do_sample else 1.0,
        min_p=min_p or 0.0 if do_sample else 0.0,
        typical_p=typical_p if do_sample else 1.0,
        repetition_penalty=repetition_penalty,
        seed=seed,
    )
    options: dict[str, Any] = {"max_new_tokens": new, "sampling": sampling, "stop_tokens": stop}
    rows: list[tuple[Tokens, list[int]]] = []
    for prompt in prompts:
        with model.new_sequence() as sequence:
            made: list[Generated]
            if num_return_sequences == 1:
                made = [generate_one(sequence, prompt, **options).result()]
            else:
                made = generate_samples(sequence, prompt, num_return_sequences, **options)
            rows += [(prompt, text.tokens) for text in made]
    return _padded(rows, pad_token_id if pad_token_id is not None else model.info.pad_token_id)


def _prompts(input_ids: npt.ArrayLike) -> Tokens:
    array = np.asarray(input_ids)
    if array.ndim == 1:
        array = array[np.newaxis]
    if array.ndim != 2 or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"input_ids must be whole numbers, [prompts, tokens], not {array.dtype} with"
            f" {array.ndim} axes; prompts of other lengths one by one"
        )
    return array.astype(np.int64)


def _as_list(ids: int | Sequence[int]) -> list[int]:
    return [ids] if isinstance(ids, int) else list(ids)


def _padded(rows: list[tuple[Tokens, list[int]]], pad: int | None) -> Tokens:
    longest = max(len(new) for _, new in rows)
    filled = [
        [*prompt.tolist(), *new, *[new[-1] if pad is None else pad] * (longest - len(new))]
        for prompt, new in rows
    ]
    return np.array(filled, dtype=np.int64)
