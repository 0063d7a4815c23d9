#!/usr/bin/env python3
"""What the requests of a trace cost in plain ONNX Runtime, without a cache: every request computes
its whole text again. The model file is the one that trigo_replay runs.

    bench/trigo/plain_onnxruntime.py --model DIR --trace FILE [--threads 1] [--searches N]
        [--json FILE]

A position to expand is one run of its text and of its tree's tokens, as many as a run with a mask
for the tree would compute (the logits of the tree's nodes are not used: ONNX's standard operators
in the file have no such mask). A value is one run of its text and the value token.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before ONNX Runtime is loaded
import onnxruntime as ort

VALUE_TOKEN = 3


def requests_of(path: Path) -> list[list[list[int]]]:
    """Token ids of each run of each search."""
    searches: list[list[list[int]]] = []
    for line in path.read_text().splitlines():
        name, _, _, *numbers = line.split()
        ids = [int(number) for number in numbers]
        if name == "search":
            searches.append([])
        elif name == "policy":
            searches[-1].append(ids)
        elif name == "tree":
            searches[-1][-1] = searches[-1][-1] + ids
        elif name == "value":
            searches[-1].append([*ids, VALUE_TOKEN])
    return searches


class Model:
    def __init__(self, directory: Path, threads: int):
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        config = json.loads((directory / "config.json").read_text())
        file = directory / config["model_file"]
        self.session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.past = {
            value.name: np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
            for value in self.session.get_inputs()
            if value.name.startswith("past_")
        }
        self.outputs = [output["name"] for output in config["outputs"]]

    def run(self, ids: list[int]) -> None:
        tokens = np.array([ids], np.int64)
        positions = np.arange(len(ids), dtype=np.int64)[None]
        self.session.run(
            self.outputs, {"input_ids": tokens, "position_ids": positions, **self.past}
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--trace", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--searches", type=int, help="no more than so many")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = Model(arguments.model, arguments.threads)
    searches = requests_of(arguments.trace)[: arguments.searches]
    times = []
    for search in searches:
        begin = time.perf_counter()
        for ids in search:
            model.run(ids)
        times.append((time.perf_counter() - begin) * 1e3)
    report = {
        "searches": len(times),
        "runs_per_search": statistics.mean(map(len, searches)),
        "ms_per_search": statistics.mean(times),
        "ms_per_search_median": statistics.median(times),
    }
    print(json.dumps(report))
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
