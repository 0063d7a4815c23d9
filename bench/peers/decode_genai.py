"""The job on onnxruntime-genai's generator."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import decode_job
import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
import onnxruntime_genai as og


class Runner:
    def __init__(self, model: str, _threads: int):  # its configuration file names the threads
        self.model = og.Model(model)
        config = json.loads((Path(model) / "genai_config.json").read_text())
        self.vocab_size = config["model"]["vocab_size"]

    def generator(self, rows: int, positions: int) -> og.Generator:
        parameters = og.GeneratorParams(self.model)
        lengths = {"max_length": positions, "min_length": positions}
        parameters.set_search_options(**lengths, batch_size=rows, do_sample=False)
        return og.Generator(self.model, parameters)

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        generator = self.generator(1, len(prompt) + tokens + 1)
        begin = time.perf_counter()
        generator.append_tokens(prompt.astype(np.int32))
        generator.generate_next_token()  # only chooses
        chosen = [int(generator.get_next_tokens()[0])]
        prefill_ms, samples = decode_job.since(begin), []
        for _ in range(tokens):
            begin = time.perf_counter()
            generator.generate_next_token()
            chosen.append(int(generator.get_next_tokens()[0]))
            samples.append(decode_job.since(begin))
        return prefill_ms, samples, chosen

    def rows(self, prompts: np.ndarray, steps: int) -> list[float]:
        generator = self.generator(len(prompts), 2 * prompts.shape[1])
        generator.append_tokens(prompts.astype(np.int32))
        generator.generate_next_token()
        samples = []
        for _ in range(steps):
            begin = time.perf_counter()
            generator.generate_next_token()
            generator.get_next_tokens()
            samples.append(decode_job.since(begin))
        return samples

    def text_logits(self, prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        generator = self.generator(1, len(prompt) + len(tokens) + 1)
        generator.append_tokens(prompt.astype(np.int32))
        logits = []
        for token in tokens:
            generator.append_tokens(np.array([token], np.int32))
            logits.append(np.array(generator.get_logits()).reshape(-1)[-self.vocab_size :])
        return np.stack(logits)


if __name__ == "__main__":
    decode_job.main(Runner, Path(__file__).name, {"onnxruntime-genai": og.__version__})
