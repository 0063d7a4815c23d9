"""kvcache's own models among those that are measured: the exporter's, by its command."""

from __future__ import annotations

import multiprocessing
import resource
from pathlib import Path

import baseline
from baseline import GPT2, KVCACHE, LLAMA_1B, MODELS, SMOLLM2, Baseline, MissingModelError
from environment import HERE, PROGRAMS, PYTHON, run
from export import BAD_INPUT, Source, export, is_exported
from processes import ProcessError
from steps import StepError

# What variants tell beside the type of weights, and the exporter's options for it.
NARROWER = {"activations": "--activations", "cache": "--cache-dtype"}
BITS_16 = ("float16", "bfloat16")
KIB = 1 << 10


def kvcache(width: str, weights: str, subject: str = GPT2, **narrower: str) -> Baseline:
    """Its weights, and what else is narrower: activations or cache."""
    variant = ", ".join([weights, *(f"{what} {dtype}" for what, dtype in narrower.items())])
    of = "" if subject == GPT2 else f"{subject}-"
    model = MODELS / f"{of}kvcache-{variant.replace(' ', '-').replace(',', '')}"
    options = () if weights == "float32" else ("--weights", weights)
    for what, dtype in narrower.items():
        options += (NARROWER[what], dtype)

    def make(path: Path) -> None:
        _export(_source(subject, weights, options), path, " ".join(options))

    def is_current(path: Path) -> bool:
        return is_exported(_source(subject, weights, options), path)

    itemsize = 2 if narrower.get("cache") in BITS_16 else 4
    program = (PROGRAMS / "decode_kvcache",)
    return Baseline(
        KVCACHE, width, variant, model, program, make, subject, is_current, cache_bytes=itemsize
    )


def smollm2(*what: str | Path) -> str:
    """What smollm2.py prints, which needs packages of the peers."""
    return run(PYTHON, HERE / "smollm2.py", *what)


def export_peak_bytes(one: baseline.Baseline) -> int | None:
    """The most memory that the exporter's process had; None where nobody watched it."""
    if one.runtime != KVCACHE or not _peak_file(one.model).exists():
        return None
    return int(_peak_file(one.model).read_text())


def _source(subject: str, weights: str, options: tuple[str, ...]) -> Source:
    if subject == SMOLLM2:
        blocks = ("--block-size", "32") if weights == "int8" else ()
        return Source("--model", smollm2("fetch").strip(), (*options, *blocks))
    preset = LLAMA_1B if subject == LLAMA_1B else "gpt2"
    return Source("--random-init", preset, options)


def _export(source: Source, model: Path, options: str) -> None:
    """Exports in a process of its own, whose only children are the exporter's: the largest of
    them is the peak that is noted."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_export_and_tell, args=(source, model, sender))
    process.start()
    sender.close()
    try:
        peak, code, problem, output = receiver.recv()
    except EOFError as error:
        raise ProcessError(f"the export of {source} ended without a word") from error
    finally:
        process.join()
    if problem is not None and code != BAD_INPUT:
        raise ProcessError(problem)
    if problem is not None:
        reason = output.strip().splitlines()[-1].partition("error: ")[2]
        raise MissingModelError(f"the exporter refuses {options} ({reason})")
    _peak_file(model).write_text(str(peak))


def _export_and_tell(source: Source, model: Path, sender) -> None:
    code, problem, output = 0, None, ""
    try:
        export(source, model)
    except StepError as error:
        code, problem, output = error.exit_code, str(error), error.output
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * KIB
    sender.send((peak, code, problem, output))


def _peak_file(model: Path) -> Path:
    return model.with_name(model.name + ".export-peak")
