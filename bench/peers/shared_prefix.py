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
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from statistics import median

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "bench"), str(ROOT / "scripts" / "lib")]

import toolchain  # noqa: E402 (after the path)
from paths import DEBIAN_ROOT, PYTHON  # noqa: E402
from processes import ProcessError, run_quietly, say  # noqa: E402

WORK = ROOT / "build-peers"
LLAMA_CPP_PYTHON = "llama-cpp-python==0.3.36"
GGUF = "gguf==0.19.0"
LLAMA_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    **dict.fromkeys(
        [
            "LLAMA_CURL",
            "LLAMA_BUILD_COMMON",
            "LLAMA_BUILD_EXAMPLES",
            "LLAMA_BUILD_SERVER",
            "LLAMA_BUILD_TESTS",
            "LLAMA_BUILD_TOOLS",
        ],
        "OFF",
    ),
}
FIGURES = {
    "evaluate_ms": "64 continuations of a cached prefix, logits of all",
    "step_ms": "a step of all 64 decoded together",
}
PROGRAMS = ("kvcache", "llama")


def run(*command: str | Path) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        end = (process.stdout + process.stderr).strip().rpartition("\n")[2]
        raise ProcessError(f"{command[0]} ended with status {process.returncode}: {end}")


def cmake(source: Path, build: Path, definitions: dict[str, str], *targets: str) -> None:
    options = [f"-D{name}={value}" for name, value in definitions.items()]
    ninja = f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"
    run(toolchain.cmake(), "-S", source, "-B", build, "-G", "Ninja", ninja, *options)
    chosen = ["--target", *targets] if targets else []
    run(toolchain.cmake(), "--build", build, "--parallel", str(os.cpu_count()), *chosen)


def llama_sources() -> Path:
    """llama.cpp's sources, as llama-cpp-python's distribution holds them."""
    version = LLAMA_CPP_PYTHON.partition("==")[2]
    unpacked = WORK / f"llama_cpp_python-{version}"
    if not unpacked.exists():
        say(f"download {LLAMA_CPP_PYTHON}")
        download = ["-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
        run(PYTHON, *download, LLAMA_CPP_PYTHON, "--dest", WORK)
        with tarfile.open(next(WORK.glob("llama_cpp_python-*.tar.gz"))) as archive:
            archive.extractall(WORK, filter="data")
    return unpacked / "vendor" / "llama.cpp"


def set_up(build: Path) -> dict[str, list[str | Path]]:
    """Build both programs and write both models; what each is started with."""
    WORK.mkdir(exist_ok=True)
    sources = llama_sources()
    say("build llama.cpp")
    cmake(sources, WORK / "llama", LLAMA_OPTIONS, "llama")
    say("build both programs")
    run(toolchain.cmake(), "--install", build, "--prefix", WORK / "installed")
    definitions = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_PREFIX_PATH": f"{WORK / 'installed'};{DEBIAN_ROOT / 'usr'}",
        "LLAMA_SOURCE_DIR": str(sources),
        "LLAMA_LIBRARY_DIR": str(WORK / "llama" / "bin"),
    }
    cmake(Path(__file__).parent, WORK / "programs", definitions)

    gguf = WORK / "gpt2.gguf"
    if not gguf.exists():
        say("write the model for llama.cpp")
        run(PYTHON, "-m", "venv", "--system-site-packages", WORK / "venv")
        own_python = WORK / "venv" / "bin" / "python"
        packages = next((ROOT / ".venv" / "lib").glob("python3*/site-packages"))
        run(own_python, "-m", "pip", "install", "--quiet", GGUF)
        writer = Path(__file__).with_name("gguf_model.py")
        run("env", f"PYTHONPATH={packages}", own_python, writer, gguf)
    model = WORK / "gpt2"
    if not (model / "config.json").exists():
        say("export the model for kvcache")
        run(PYTHON, ROOT / "export_gpt2_kvcache.py", "--random-init", "gpt2", "--output-dir", model)
    programs = WORK / "programs"
    return {
        "kvcache": [programs / "shared_prefix_kvcache", model],
        "llama": [programs / "shared_prefix_llama", gguf],
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
    ours, theirs = (logits[name] for name in PROGRAMS)
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
        ours, theirs = ([median(one) for one in samples[side][figure]] for side in PROGRAMS)
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
