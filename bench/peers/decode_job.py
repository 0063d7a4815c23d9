"""The job of decode.hpp for peers that are used from Python: the same tokens, phases and output."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

FIRST_PROMPT = 8
PREFILL = 512
FIRST_TOKENS = (1, 16, 64)  # whose times since the process's start are noted
ROWS, ROW_DEPTH, ROW_WARM_UP = 16, 128, 4
TEXT_PROMPT, TEXT_TOKENS = 64, 256
PROMPT_SEED, TEXT_SEED = 1, 100


class Runner(Protocol):
    """A loaded model and one sequence."""

    vocab_size: int

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        """Time of the prefill, of each further token (ms), and the tokens chosen."""

    def rows(self, prompts: np.ndarray, steps: int) -> list[float]:
        """Times of steps that decode all rows [rows, tokens] together; empty where it cannot."""

    def text_logits(self, prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Logits after each of `tokens`, which follow `prompt`: [tokens, vocab]."""


class Stepwise:
    """A runner of what computes given tokens and leaves the choice to the caller."""

    def reset(self, rows: int = 1, positions: int = 1024) -> None:
        """Forgets everything; room for so many rows."""
        raise NotImplementedError

    def extend(self, ids: np.ndarray) -> np.ndarray:
        """Logits [rows, vocab] of the last of the new tokens [rows, n]."""
        raise NotImplementedError

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        self.reset()
        begin = time.perf_counter()
        chosen = [int(self.extend(prompt[None])[0].argmax())]
        prefill_ms, samples = since(begin), []
        for _ in range(tokens):
            begin = time.perf_counter()
            chosen.append(int(self.extend(np.array([[chosen[-1]]]))[0].argmax()))
            samples.append(since(begin))
        return prefill_ms, samples, chosen

    def rows(self, prompts: np.ndarray, steps: int) -> list[float]:
        self.reset(len(prompts), 2 * prompts.shape[1])
        best = self.extend(prompts).argmax(-1)
        samples = []
        for _ in range(steps):
            begin = time.perf_counter()
            best = self.extend(best[:, None]).argmax(-1)
            samples.append(since(begin))
        return samples

    def text_logits(self, prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        self.reset()
        self.extend(prompt[None])
        return np.stack([self.extend(np.array([[token]]))[0].copy() for token in tokens])


def since(begin: float) -> float:
    """Milliseconds since then."""
    return 1e3 * (time.perf_counter() - begin)


def since_start() -> float:
    """Milliseconds since processes.py started this process."""
    started = int(os.environ["KVCACHE_BENCH_STARTED_NS"])
    return (time.clock_gettime_ns(time.CLOCK_MONOTONIC) - started) / 1e6


def tokens_of(count: int, seed: int, vocab: int) -> np.ndarray:
    """Any tokens will do, but the same ones for everybody."""
    return (np.arange(count, dtype=np.int64) * 7919 + seed * 104729) % vocab


def peak_resident_bytes() -> int:
    """The most memory this process had resident, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def main(load: Callable[[str, int], Runner], name: str, versions: dict[str, str]) -> None:
    """Runs the job as MODEL THREADS ROUNDS TOKENS DEPTHS LOGITS_FILE|- and prints its figures."""
    if len(sys.argv) != 7:
        sys.exit(f"usage: {name} MODEL THREADS ROUNDS TOKENS DEPTHS LOGITS_FILE|-")
    model, threads, rounds, tokens, depth_list, logits_file = sys.argv[1:]
    depths = [int(depth) for depth in depth_list.split(",")]
    figures: dict[str, Any] = {"resident_before_load": peak_resident_bytes()}
    begin = time.perf_counter()
    runner = load(model, int(threads))
    figures["load_ms"] = since(begin)
    figures["loaded_bytes"] = peak_resident_bytes()
    loaded_ms = since_start()
    vocab = runner.vocab_size
    first = tokens_of(FIRST_PROMPT, PROMPT_SEED, vocab)
    prefill_ms, samples, _ = runner.decode(first, FIRST_TOKENS[-1] - 1)
    for token in FIRST_TOKENS:
        figures[f"token_{token}_ms"] = loaded_ms + prefill_ms + sum(samples[: token - 1])
    figures["prefill_ms"] = []
    for depth in depths:
        figures[f"decode_ms_{depth}"] = []
    for round_number in range(int(rounds) + 1):  # the first one warms up
        for depth in depths:
            if depth > PREFILL and round_number < int(rounds):
                continue
            prompt = tokens_of(depth, PROMPT_SEED, vocab)
            prefill_ms, samples, chosen = runner.decode(prompt, int(tokens))
            figures[f"tokens_{depth}"] = chosen
            if round_number > 0:
                figures[f"decode_ms_{depth}"] += samples
                figures["prefill_ms"] += [prefill_ms] if depth == PREFILL else []
    figures["peak_bytes"] = peak_resident_bytes()
    prompts = np.stack([tokens_of(ROW_DEPTH, row + 1, vocab) for row in range(ROWS)])
    figures["row_step_ms"] = runner.rows(prompts, ROW_WARM_UP + int(tokens))[ROW_WARM_UP:]
    if logits_file != "-":
        text = tokens_of(TEXT_PROMPT + TEXT_TOKENS, TEXT_SEED, vocab)
        logits = runner.text_logits(text[:TEXT_PROMPT], text[TEXT_PROMPT:])
        logits.astype(np.float32).tofile(logits_file)
    print(json.dumps({**figures, "versions": versions}), flush=True)
    os._exit(0)  # some runtimes hang or crash when Python takes their objects down
