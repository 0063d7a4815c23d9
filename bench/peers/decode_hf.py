"""The job on Hugging Face's GPT-2 with torch: MODEL is float32 or bfloat16."""

from __future__ import annotations

from pathlib import Path

import decode_job
import gpt2_weights
import numpy as np
import torch
import transformers


class Runner(decode_job.Stepwise):
    def __init__(self, dtype: str, threads: int):
        torch.set_num_threads(threads)
        with torch.device("meta"):
            model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
        model.to_empty(device="cpu").tie_weights()
        for name, parameter in model.named_parameters():
            short = name.removeprefix("transformer.")
            parameter.data = torch.from_numpy(gpt2_weights.read(short, tuple(parameter.shape)))
        model.tie_weights()
        self.vocab_size = model.config.vocab_size
        self.model = model.to(getattr(torch, dtype)).eval()
        self.reset()

    def reset(self, rows: int = 1, positions: int = 1024) -> None:
        self.cache = transformers.DynamicCache(config=self.model.config)

    def extend(self, ids: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = self.model(
                input_ids=torch.from_numpy(ids),
                past_key_values=self.cache,
                use_cache=True,
                logits_to_keep=1,
            )
        return found.logits[:, -1].float().numpy()


if __name__ == "__main__":
    versions = {"torch": torch.__version__, "transformers": transformers.__version__}
    decode_job.main(Runner, Path(__file__).name, versions)
