"""64 continuations of one 200-token prefix, on kvcache and on llama.cpp, in one run.

    .venv/bin/python bench/peers/shared_prefix.py [--rounds N] [--processes N] [--json FILE]

Sets up llama.cpp in build-peers/ (from the sources in llama-cpp-python's distribution, built for
this processor), writes GPT-2 124M with the same random float32 weights for both, and lets processes
of both alternate. shared_prefix.hpp says what is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

import llama_cpp
import numpy as np
from environment import (
    HERE,
    PROGRAMS,
    PYTHON,
    REQUIREMENTS,
    ROOT,
    WORK,
    build_programs,
    install,
    run,
)
from export import Source, export, is_exported
from processes import ProcessError, run_quietly, say

FIGURES = {
    "evaluate_ms": "64 continuations of a cached prefix, logits of all",
    "step_ms": "a step of all 64 decoded together",
}
SIDES = ("kvcache", "llama")


def set_up(build: Path) -> dict[str, list[str | Path]]:
    """Build both programs and write both models; what each is started with."""
    WORK.mkdir(exist_ok=True)
    say("install packages, build llama.cpp and both programs")
    install(REQUIREMENTS)
    build_programs(build, llama_cpp.build(), llama_cpp.LIBRARIES)
    gguf = WORK / "gpt2.gguf"
    if not gguf.exists():
        say("write the model for llama.cpp")
        run(PYTHON, HERE / "gguf_model.py", gguf)
    source, model = Source("--random-init", "gpt2"), WORK / "gpt2"
    if not is_exported(source, model):
        say("export the model for kvcache")
        export(source, model)
    return {
        "kvcache": [PROGRAMS / "shared_prefix_kvcache", model],
        "llama": [PROGRAMS / "shared_prefix_llama", gguf],
    }


def measure(programs: dict[str, list], processes: int, rounds: int, threads: int) -> dict:
    """Samples of alternating processes, and how far their results agree."""
    results: dict = {name: {figure: [] for figure in FIGURES} for name in programs}
    logits = {}
    with tempfile.TemporaryDirectory() as directory:
        for number in range(1, processes + 1):
            for name, command in programs.items():
                say(f"round {number} of {processes}: {name}")
                file = Path(directory) / name
                finished = run_quietly([*command, str(threads), str(rounds), file])
                output = json.loads(finished.output)
                for figure in FIGURES:
                    results[name][figure].append(output[figure])
                results[name] |= {key: output[key] for key in ("evaluated", "decoded")}
                logits[name] = np.fromfile(file, np.float32).reshape(64, -1)
    ours, theirs = (logits[name] for name in SIDES)
    difference = float(np.abs(ours - theirs).max() / np.abs(theirs).max())
    equal = {
        key: sum(map(int.__eq__, results["kvcache"][key], results["llama"][key]))
        for key in ("evaluated", "decoded")
    }
    return {
        "threads": threads,
        "largest_logit_difference": difference,
        "equal_tokens_of_64": equal,
        "samples": results,
    }


def table(result: dict) -> str:
    samples = result["samples"]
    lines = [
        "| GPT-2 124M, float32 | kvcache | llama.cpp | llama.cpp ÷ kvcache (spread) |",
        "| --- | ---: | ---: | ---: |",
    ]
    for figure, name in FIGURES.items():
        ours, theirs = ([median(one) for one in samples[side][figure]] for side in SIDES)
        ratios = [slow / fast for fast, slow in zip(ours, theirs, strict=True)]
        lines.append(
            f"| {name} | {median(ours):.1f} ms | {median(theirs):.1f} ms"
            f" | {median(ratios):.2f}x ({min(ratios):.2f} … {max(ratios):.2f}) |"
        )
    equal = result["equal_tokens_of_64"]
    lines += [
        "",
        f"Agreement: {equal['evaluated']} of 64 tokens equal after the evaluation,"
        f" {equal['decoded']} of 64 after decoding; largest logit difference"
        f" {result['largest_logit_difference']:.1e} of the largest logit.",
    ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="kvcache and llama.cpp, 64 continuations each.")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    parser.add_argument("--processes", type=int, default=3, help="of each, alternating (default 3)")
    parser.add_argument("--rounds", type=int, default=5, help="in each process (default: 5)")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="default: all cores")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes raw samples there")
    arguments = parser.parse_args()
    try:
        programs = set_up(arguments.build)
        result = measure(programs, arguments.processes, arguments.rounds, arguments.threads)
    except ProcessError as error:
        say(f"error: {error}")
        return 2
    print(table(result))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
