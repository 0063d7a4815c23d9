"""The job of peers that are used from Python, on a made up one."""

import json
import os
import sys
import time
from pathlib import Path

import decode_job
import numpy as np
import pytest

VOCAB, TOKENS, ROUNDS = 1000, 2, 2


class Runner:
    vocab_size = VOCAB

    def __init__(self, prompts: list[int]):
        self.prompts = prompts  # the length of each that was decoded

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        self.prompts.append(len(prompt))
        return 5.0, [1.0] * tokens, [7] * (tokens + 1)

    def rows(self, _prompts: np.ndarray, steps: int) -> list[float]:
        return [2.0] * steps

    def text_logits(self, _prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        return np.zeros((len(tokens), VOCAB))


def test_deep_prompts_are_for_the_last_round_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    prompts: list[int] = []
    logits = tmp_path / "logits"
    job = ("a model", "2", str(ROUNDS), str(TOKENS), "8,512,4096", str(logits))
    monkeypatch.setattr(sys, "argv", ["job", *job])
    started = str(time.clock_gettime_ns(time.CLOCK_MONOTONIC))
    monkeypatch.setenv("KVCACHE_BENCH_STARTED_NS", started)
    monkeypatch.setattr(os, "_exit", lambda _: None)
    decode_job.main(lambda *_: Runner(prompts), "job", {"peer": "1"})
    figures = json.loads(capsys.readouterr().out)
    assert prompts == [8, *(8, 512) * ROUNDS, 8, 512, 4096]  # the first round warms up
    assert len(figures["decode_ms_512"]) == ROUNDS * TOKENS
    assert len(figures["decode_ms_4096"]) == TOKENS
    assert figures["prefill_ms"] == [5.0] * ROUNDS
    assert len(figures["tokens_4096"]) == TOKENS + 1
    assert figures["resident_before_load"] <= figures["loaded_bytes"] <= figures["peak_bytes"]
    assert np.fromfile(logits, np.float32).shape == (decode_job.TEXT_TOKENS * VOCAB,)
