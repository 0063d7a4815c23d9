#!/usr/bin/env python3
"""Measures everything that docs/KVCACHE_BENCHMARK.md says of a GPU, into one JSON file.

Runs where the GPU is, with a build of gpu_bench (cmake -DUSE_CUDA=ON -DKVCACHE_BUILD_GPU_BENCH=ON)
and one exported model per element type; needs the standard library only.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LISTS = (
    "first_token",
    "decode",
    "prefill",
    "batch",
    "tree",
    "scores",
    "sampling",
    "varied",
    "speedup",
)
FORMAT_VERSION = 1


def main() -> int:
    """Runs the benchmark for each model given and writes what it measured."""
    options = _parse()
    merged: dict[str, Any] = {"format_version": FORMAT_VERSION, "machine": _machine(options)}
    for model in options.model:
        measured = _measure(options.bench, model)
        for name, value in measured.items():
            if name in LISTS:
                merged.setdefault(name, []).extend(value)
        # One of each is enough: float16's, but the cache's size is specified in float32.
        dtype = measured["decode"][0]["dtype"]
        for name in ("floor", "copies", "profile", "steady"):
            if dtype == "float16" or name not in merged:
                merged[name] = measured[name]
        if dtype == "float32" or "memory" not in merged:
            merged["memory"] = measured["memory"]
        if dtype == "float16":
            merged["unfused"] = {
                "note": "the same GPU and run, gpu_bench --decode-only --no-fusing",
                **_measure(options.bench, model, "--decode-only", "--no-fusing"),
            }
    if options.llama is not None:
        merged["llama"] = _measure(options.bench, options.llama, "--decode-only")
    merged["machine"]["clocks_mhz"] = _clocks()  # while it is warm
    for name, path in (("peers", options.peers), ("tests", options.tests)):
        if path is not None:
            merged[name] = json.loads(path.read_text(encoding="utf-8"))
    merged["commands"] = {
        "all": "python bench/gpu_bars.py --bench build-cuda/gpu_bench"
        " --model models/float16 --model models/float32 --model models/bfloat16"
        " --llama models/llama-3.2-1b OUTPUT.json",
        "document": "python bench/kvcache_benchmark.py",
    }
    options.output.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bench", type=Path, required=True, help="the program gpu_bench")
    parser.add_argument("--model", type=Path, action="append", required=True, metavar="DIR")
    parser.add_argument(
        "--llama", type=Path, metavar="DIR", help="of Llama 3.2 1B's shape, bfloat16"
    )
    parser.add_argument("--commit", default="", help="what was measured")
    parser.add_argument("--onnxruntime", default="", help="its version")
    parser.add_argument("--peers", type=Path, help="JSON of bench/peers/gpu_peers.py")
    parser.add_argument("--tests", type=Path, help="JSON: passed, failed, skipped per dtype")
    parser.add_argument("output", type=Path)
    return parser.parse_args()


def _measure(bench: Path, model: Path, *options: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "measured.json"
        print(f"measuring {model}", file=sys.stderr)
        subprocess.run([bench, model, output, *options], check=True)
        return json.loads(output.read_text(encoding="utf-8"))


def _machine(options: argparse.Namespace) -> dict[str, Any]:
    gpu, driver = _query("name,driver_version")
    cuda = ""
    for line in subprocess.run(
        ["nvidia-smi"], capture_output=True, text=True, check=True
    ).stdout.splitlines():
        if "CUDA Version:" in line:
            cuda = line.split("CUDA Version:")[1].split()[0]
    cpu = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    return {
        "gpu": gpu,
        "driver": driver,
        "cuda": cuda,
        "onnxruntime": options.onnxruntime,
        "cpu": cpu,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": options.commit,
    }


def _clocks() -> dict[str, int]:
    sm, memory = _query("clocks.sm,clocks.mem")
    return {"sm": int(sm.split()[0]), "memory": int(memory.split()[0])}


def _query(fields: str) -> list[str]:
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
        0
    ]
    return [field.strip() for field in line.split(",")]


if __name__ == "__main__":
    sys.exit(main())
