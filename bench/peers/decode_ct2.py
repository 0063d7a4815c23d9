"""The job on CTranslate2's generator: greedy search, times taken by its callback."""

from __future__ import annotations

import json
import time
from pathlib import Path

import ctranslate2
import decode_job
import numpy as np

# What else the processor lacks is converted to float32 silently, and another width measured.
ASKED_FOR = {"bfloat16", "float16"}


class Runner:
    def __init__(self, model: str, threads: int):
        weights = Path(model).name.rpartition("-")[2]
        self.generator = ctranslate2.Generator(
            model,
            device="cpu",
            compute_type=weights if weights in ASKED_FOR else "default",
            inter_threads=1,
            intra_threads=threads,
        )
        self.vocab_size = len(json.loads((Path(model) / "vocabulary.json").read_text()))

    def _generate(self, prompts: np.ndarray, tokens: int) -> tuple[list[float], list[list[int]]]:
        """Times at which each of `tokens` steps ended, and the tokens of each row."""
        ends: dict[int, float] = {}

        def ended(result: ctranslate2.GenerationStepResult) -> bool:
            ends[result.step] = time.perf_counter()  # that of the last row stays
            return False

        results = self.generator.generate_batch(
            [[str(token) for token in prompt] for prompt in prompts],
            max_length=tokens,
            min_length=tokens,
            beam_size=1,
            sampling_topk=1,
            include_prompt_in_result=False,
            callback=ended,
        )
        return list(ends.values()), [result.sequences_ids[0] for result in results]

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        begin = time.perf_counter()
        ends, (chosen,) = self._generate(prompt[None], tokens + 1)
        times = 1e3 * np.diff([begin, *ends])
        return float(times[0]), times[1:].tolist(), chosen

    def rows(self, prompts: np.ndarray, steps: int) -> list[float]:
        ends, _ = self._generate(prompts, steps + 1)
        return (1e3 * np.diff(ends)).tolist()

    def text_logits(self, prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        text = np.concatenate([prompt, tokens]).tolist()
        logits = self.generator.forward_batch([text])  # its generator keeps its logits to itself
        return np.array(logits)[0, len(prompt) :]


if __name__ == "__main__":
    decode_job.main(Runner, Path(__file__).name, {"ctranslate2": ctranslate2.__version__})
