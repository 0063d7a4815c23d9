"""A model of lm-evaluation-harness (the package lm_eval, 0.4.13, which is installed by itself).

import lm_eval
from kvcache.lm_eval_adapter import KvcacheLM

lm_eval.simple_evaluate(KvcacheLM("models/smollm2"), tasks=["arc_easy"])
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from lm_eval import utils  # type: ignore[import-not-found]
from lm_eval.api.model import TemplateLM  # type: ignore[import-not-found]

from . import Model, SamplingOptions, Tokenizer, generate
from .scoring import log_likelihoods

MAX_NEW_TOKENS = 256  # where a task does not say; as the harness has it
KNOWN_OPTIONS = {"until", "max_gen_toks", "do_sample", "temperature", "top_k", "top_p", "seed"}


class KvcacheLM(TemplateLM):  # type: ignore[misc]
    """Scores through trees over shared prefixes; texts by kvcache.generate.

    Args:
        model_dir: a model directory that has a tokenizer.
        options: of Model.load.
    """

    def __init__(self, model_dir: str | os.PathLike[str], **options: Any) -> None:
        super().__init__()
        self.model = Model.load(model_dir, **options)
        self._tokenizer = Tokenizer.load(model_dir)

    @property
    def eot_token_id(self) -> int:
        info = self.model.info
        for id_ in (info.eos_token_id, info.bos_token_id):
            if id_ is not None:
                return id_
        raise ValueError("the model's config.json names no token that ends or begins a text")

    @property
    def prefix_token_id(self) -> int:
        """Before a text without a context: as the harness, what begins one, else what ends it."""
        bos = self.model.info.bos_token_id
        return self.eot_token_id if bos is None else bos

    @property
    def max_length(self) -> int:
        return self.model.info.max_seq_len

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, **_: Any
    ) -> list[int]:
        return self._tokenizer.encode(string, add_special_tokens=bool(add_special_tokens))

    def _loglikelihood_tokens(
        self, requests: Sequence[tuple[Any, list[int], list[int]]], **_: Any
    ) -> list[tuple[float, bool]]:
        return log_likelihoods(self.model, [(context, text) for _, context, text in requests])

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        """log p of whole texts, in windows of the model's positions."""
        windows: list[tuple[int, list[int], list[int]]] = []
        for i, request in enumerate(requests):
            (text,) = request.args
            pairs = utils.get_rolling_token_windows(
                token_list=self.tok_encode(text),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            )
            windows += [(i, *utils.make_disjoint_window(pair)) for pair in pairs]
        scores = log_likelihoods(self.model, [(context, text) for _, context, text in windows])
        totals = [0.0] * len(requests)
        for (i, _context, _text), (score, _greedy) in zip(windows, scores, strict=True):
            totals[i] += score
        return totals

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        return [self._generate(*request.args) for request in requests]

    def _generate(self, context: str, options: dict[str, Any]) -> str:
        unknown = set(options) - KNOWN_OPTIONS
        if unknown:
            raise ValueError(f"a task asks for {sorted(unknown)}, which is not supported")
        until = options.get("until", [])
        new = options.get("max_gen_toks", MAX_NEW_TOKENS)
        prompt = self.tok_encode(context)[-(self.max_length - new) :]
        sampling = SamplingOptions(
            temperature=options.get("temperature", 1.0) if options.get("do_sample") else 0.0,
            top_k=options.get("top_k", 0),
            top_p=options.get("top_p", 1.0),
            seed=options.get("seed", 0),
        )
        with self.model.new_sequence() as sequence:
            generation = generate(
                sequence,
                prompt or [self.prefix_token_id],
                max_new_tokens=new,
                sampling=sampling,
                stop_tokens=self.model.info.stop_token_ids,
                stop_strings=[until] if isinstance(until, str) else list(until),
                tokenizer=self._tokenizer,
            )
            return generation.result().text
