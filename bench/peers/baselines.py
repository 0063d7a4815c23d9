"""Who takes part: each runtime at each width, what writes its model, and what runs it."""

from __future__ import annotations

from pathlib import Path

from baseline import (
    CT2,
    GENAI,
    GPT2,
    HUGGING_FACE,
    LLAMA,
    LLAMA_1B,
    MODELS,
    OPENVINO,
    SMOLLM2,
    STOCK,
    WIDTHS,
    Baseline,
    MissingModelError,
)
from environment import HERE, PROGRAMS, PYTHON, run
from own_models import kvcache, smollm2
from processes import ProcessError

LLAMA_CACHE_BYTES = 2  # of a number: float16 by default


def all_contenders(subject: str, threads: int) -> list[Baseline]:
    """Everybody, by width, kvcache first."""
    of = {GPT2: _of_gpt2, SMOLLM2: _of_smollm2, LLAMA_1B: _of_llama_1b}
    return sorted(of[subject](threads), key=lambda one: WIDTHS.index(one.width))


def reference(subject: str, threads: int) -> Baseline:
    """Whose logits the others' are compared with: kvcache in the widest type that is measured."""
    return all_contenders(subject, threads)[0]


def _of_smollm2(_threads: int) -> list[Baseline]:
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
        *(kvcache(width, weights, SMOLLM2, **narrower) for width, weights, narrower in own),
        _gguf("float32", "F32", SMOLLM2),
        _gguf("16-bit", "F16", SMOLLM2),
        _gguf("int8", "Q8_0", SMOLLM2),
        _gguf("int4", "Q4_0", SMOLLM2),
        _gguf("int4", "Q4_1", SMOLLM2),
        _gguf("int4", "Q4_K_M", SMOLLM2),
        _ct2_smollm2("float32", "float32"),
        _ct2_smollm2("16-bit", "bfloat16"),
        _ct2_smollm2("16-bit", "float16"),
        _ct2_smollm2("int8", "int8"),
        _genai_smollm2("float32", "fp32"),
        _genai_smollm2("int4", "int4"),
        _openvino_smollm2("float32", "F32"),
        _openvino_smollm2("16-bit", "F16"),
        _openvino_smollm2("int8", "Q8_0"),
        _openvino_smollm2("int4", "Q4_0"),
        _openvino_smollm2("int4", "Q4_1"),
    ]


def _of_llama_1b(_threads: int) -> list[Baseline]:
    """Nothing of float32, which would be 5 GB a file."""
    return [
        kvcache("16-bit", "float16", LLAMA_1B, cache="float16"),
        _gguf("16-bit", "F16", LLAMA_1B),
        kvcache("int4", "int4", LLAMA_1B, cache="float16"),
        _gguf("int4", "Q4_0", LLAMA_1B),
    ]


def _of_gpt2(threads: int) -> list[Baseline]:
    return [
        kvcache("float32", "float32"),
        kvcache("float32", "float32", cache="float16"),
        _gguf("float32", "F32"),
        _ct2("float32", "float32"),
        _genai("float32", "float32", threads),
        _stock("float32", "float32"),
        _hugging_face("float32", "float32"),
        kvcache("16-bit", "float16"),
        kvcache("16-bit", "float16", cache="float16"),
        kvcache("16-bit", "bfloat16"),
        kvcache("16-bit", "bfloat16", activations="bfloat16", cache="bfloat16"),
        _gguf("16-bit", "F16"),
        _hugging_face("16-bit", "bfloat16"),
        kvcache("int8", "int8"),
        kvcache("int8", "int8", cache="float16"),
        _gguf("int8", "Q8_0"),
        _ct2("int8", "int8"),
        _genai("int8", "int8", threads),
        _stock("int8", "int8"),
        _stock("int8", "int8-dynamic"),
        kvcache("int4", "int4"),
        kvcache("int4", "int4", cache="float16"),
        _gguf("int4", "Q4_0"),
        _gguf("int4", "Q4_0-pure"),
        _genai("int4", "int4", threads),
        _stock("int4", "int4"),
    ]


def _gguf(width: str, kind: str, subject: str = GPT2) -> Baseline:
    """For llama.cpp, of the file of the widest type; `-pure` has the embedding in this type too."""
    prefix = {GPT2: "llama", SMOLLM2: "smollm2", LLAMA_1B: LLAMA_1B}[subject]
    widest = "F16" if subject == LLAMA_1B else "F32"
    wide = MODELS / f"{prefix}-{widest}.gguf"
    model = MODELS / f"{prefix}-{kind}.gguf"

    def make(path: Path) -> None:
        if model == wide:
            if subject == SMOLLM2:
                smollm2("float32", path)
            else:
                run(PYTHON, HERE / f"gguf_{'model' if subject == GPT2 else 'llama'}.py", path)
            return
        _gguf("", widest, subject).prepare()
        narrow, _, pure = kind.partition("-")
        options = ["--pure"] if pure else []
        run(PROGRAMS / "quantize_llama", wide, path, narrow, *options)

    job = (PROGRAMS / "decode_llama",)
    return Baseline(LLAMA, width, kind, model, job, make, subject, cache_bytes=LLAMA_CACHE_BYTES)


def _run_or_leave_out(what: str, kind: str, *words: str | Path) -> None:
    """Runs a peer's own writer of a model; a MissingModelError, in its words, where it fails."""
    try:
        run(PYTHON, *words)
    except ProcessError as error:
        reason = str(error).partition("status 1: ")[2] or str(error)
        raise MissingModelError(f"{what} fails for {kind} ({reason})") from error


def _ct2_smollm2(width: str, weights: str) -> Baseline:
    def make(path: Path) -> None:
        _run_or_leave_out("its converter", weights, HERE / "ct2_smollm2.py", path, weights)

    model = MODELS / f"smollm2-ct2-{weights}"
    return Baseline(CT2, width, weights, model, (PYTHON, HERE / "decode_ct2.py"), make, SMOLLM2)


def _openvino_smollm2(width: str, kind: str) -> Baseline:
    def make(path: Path) -> None:
        source = _gguf("", kind, SMOLLM2)
        source.prepare()
        _run_or_leave_out("its reader", kind, HERE / "openvino_smollm2.py", path, source.model)

    model = MODELS / f"smollm2-openvino-{kind}"
    job = (PYTHON, HERE / "decode_openvino.py")
    return Baseline(OPENVINO, width, kind, model, job, make, SMOLLM2)


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
