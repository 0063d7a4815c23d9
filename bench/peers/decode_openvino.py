"""The job on OpenVINO GenAI's pipeline of continuous batching, by its steps."""

from __future__ import annotations

import time
from pathlib import Path

import decode_job
import numpy as np
import openvino
import openvino_genai

ANY_NUMBER = 1 << 16  # of tokens in a step: a prompt is not split, as in its LLMPipeline


class Runner:
    def __init__(self, model: str, threads: int):
        self.path = Path(model) / "openvino_model.xml"
        self.properties = {"INFERENCE_NUM_THREADS": threads}
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_batched_tokens = ANY_NUMBER
        scheduler.enable_prefix_caching = False  # every prefill of the job is to be computed
        self.pipeline = openvino_genai.ContinuousBatchingPipeline(
            model, scheduler, "CPU", self.properties
        )
        network = openvino.Core().read_model(self.path)
        self.vocab_size = network.output(0).get_partial_shape()[-1].get_length()
        self.requests = 0

    def _ask(self, prompt: np.ndarray, tokens: int) -> openvino_genai.GenerationHandle:
        self.requests += 1
        config = openvino_genai.GenerationConfig(
            max_new_tokens=tokens, min_new_tokens=tokens, ignore_eos=True, do_sample=False
        )
        ids = openvino.Tensor(np.ascontiguousarray(prompt[None]))
        return self.pipeline.add_request(self.requests, ids, config)

    def _step(self) -> float:
        begin = time.perf_counter()
        self.pipeline.step()
        return decode_job.since(begin)

    def decode(self, prompt: np.ndarray, tokens: int) -> tuple[float, list[float], list[int]]:
        handle = self._ask(prompt, tokens + 1)
        times = [self._step() for _ in range(tokens + 1)]
        (found,) = handle.read_all()
        chosen = list(found.generated_ids)
        if len(chosen) != tokens + 1 or self.pipeline.has_non_finished_requests():
            raise RuntimeError(f"{len(chosen)} tokens of {tokens + 1} steps: one each is expected")
        return times[0], times[1:], chosen

    def rows(self, prompts: np.ndarray, steps: int) -> list[float]:
        handles = [self._ask(prompt, steps + 1) for prompt in prompts]
        times = [self._step() for _ in range(steps + 1)]
        counts = {len(found.generated_ids) for handle in handles for found in handle.read_all()}
        if counts != {steps + 1} or self.pipeline.has_non_finished_requests():
            raise RuntimeError(f"rows of {counts} tokens after {steps + 1} steps: not all together")
        return times[1:]

    def text_logits(self, prompt: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Its pipelines keep logits to themselves: these are OpenVINO's of the same file."""
        compiled = openvino.Core().compile_model(self.path, "CPU", self.properties)
        request, depth, logits = compiled.create_infer_request(), 0, []
        names = {name for port in compiled.inputs for name in port.names}
        for ids in [prompt, *np.split(tokens, len(tokens))]:
            depth += len(ids)
            feed = {
                "input_ids": ids[None],
                "attention_mask": np.ones((1, depth), np.int64),
                "position_ids": np.arange(depth - len(ids), depth)[None],
                "beam_idx": np.zeros(1, np.int32),
            }
            found = request.infer({name: feed[name] for name in feed if name in names})
            logits.append(found[compiled.output(0)][0, -1].copy())
        return np.stack(logits[1:])


if __name__ == "__main__":
    decode_job.main(Runner, Path(__file__).name, {"openvino-genai": openvino_genai.__version__})
