#!/usr/bin/env python3
"""Whether two trees of this repository, both built, give the same logits to the last bit, and how
their times compare.

    bench/compare/compare_builds.py BEFORE AFTER [--goldens NAME ...] [--model ARCHITECTURE]
                                    [--rounds 5] [--json FILE]

Each tree exports every golden model in every width with its own exporter, and a program over its
library (logit_hashes.cpp) prints a hash of the logits of prefills, steps, trees and batches. With
--model, a model of random weights is exported too, hashed, and `kvcache bench` of both trees runs
on it in turn: the medians' ratios follow. Ends with 1 where a bit differs.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from widths import WIDTHS

HERE = Path(__file__).resolve().parent
TIMED = ("float32", "weights float16", "weights int8", "weights int4")
MODES = {
    "sequence": ("--depth", "8,512"),
    "batch": ("--rows", "16"),
    "tree": (),
}


class Tree:
    """A checkout with its build."""

    def __init__(self, root: Path, scratch: Path):
        self.root = root.resolve()
        self.models = scratch / self.root.name
        self.models.mkdir()
        self.hashes = self._build_hashes(scratch)

    def export(self, name: str, *options: str) -> Path:
        output = self.models / name.replace(" ", "-").replace(",", "")
        python = self.root / ".venv" / "bin" / "python"
        command = [python, self.root / "export_gpt2_kvcache.py", *options, "--output-dir", output]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=self.root)
        return output

    def logits(self, model: Path, threads: int) -> list[str]:
        found = subprocess.run(
            [self.hashes, model, str(threads)], check=True, capture_output=True, text=True
        )
        return found.stdout.splitlines()

    def bench(self, model: Path, mode: str, options: tuple[str, ...]) -> dict:
        command = [self.root / "build" / "kvcache", "bench", model, "--mode", mode, *options]
        found = subprocess.run(
            [*command, "--json", "-"], check=True, stdout=subprocess.PIPE, text=True
        )
        return json.loads(found.stdout)

    def _build_hashes(self, scratch: Path) -> Path:
        """Compiled against this tree's library."""
        program = scratch / f"logit_hashes-{self.root.name}"
        onnxruntime = self.root / ".deps" / "onnxruntime"
        subprocess.run(
            [
                *("c++", "-std=c++20", "-O1", HERE / "logit_hashes.cpp"),
                *("-I", self.root / "include", self.root / "build" / "libkvcache.a"),
                *("-L", onnxruntime / "lib", f"-Wl,-rpath,{onnxruntime / 'lib'}"),
                *(
                    "-lonnxruntime",
                    "-lfmt",
                    "-lhwy",
                    "-lxxhash",
                    "-lpcre2-8",
                    "-licuuc",
                    "-pthread",
                ),
                *("-o", program),
            ],
            check=True,
        )
        return program


def compare(before: Tree, after: Tree, name: str, options: tuple[str, ...]) -> tuple[int, int]:
    """Hashes compared, and how many of them differ."""
    models = [tree.export(name, *options) for tree in (before, after)]
    compared = differing = 0
    for threads in (1, 2):
        pair = [
            tree.logits(model, threads) for tree, model in zip((before, after), models, strict=True)
        ]
        for old, new in zip(*pair, strict=True):
            compared += 1
            if old != new:
                differing += 1
                print(f"{name}, {threads} threads: {old} before, {new} after")
    return compared, differing


def times(report: dict, prefix: str = "") -> dict[str, float]:
    """Every median of a report, by its place."""
    found = {}
    for key, value in report.items():
        if isinstance(value, dict):
            if "median" in value:
                found[prefix + key] = value["median"]
            else:
                found |= times(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            for i, entry in enumerate(value):
                if isinstance(entry, dict):
                    found |= times(entry, f"{prefix}{key}[{i}].")
    return found


def measure(trees: tuple[Tree, Tree], models: list[Path], rounds: int) -> dict:
    """Ratios, after / before, of each mode's medians: the median over rounds, and the spread."""
    ratios: dict[str, list[float]] = {}
    for number in range(rounds):
        for mode, options in MODES.items():
            pair = list(zip(trees, models, strict=True))
            found = {}
            for tree, model in pair if number % 2 == 0 else pair[::-1]:
                found[tree] = times(tree.bench(model, mode, options))
            for name, before in found[trees[0]].items():
                if before > 0 and name in found[trees[1]]:
                    ratios.setdefault(f"{mode} {name}", []).append(found[trees[1]][name] / before)
    return {
        name: {"median": statistics.median(of), "least": min(of), "most": max(of)}
        for name, of in ratios.items()
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("before", type=Path, metavar="BEFORE")
    parser.add_argument("after", type=Path, metavar="AFTER")
    parser.add_argument("--goldens", nargs="*", help="default: all")
    parser.add_argument("--model", help="an architecture to hash and to time, such as gpt2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict = {"hashes": 0, "differing": 0, "ratios": {}}
    with tempfile.TemporaryDirectory() as directory:
        trees = tuple(Tree(root, Path(directory)) for root in (arguments.before, arguments.after))
        goldens = arguments.before / "tests" / "goldens"
        names = arguments.goldens or sorted(p.parent.name for p in goldens.glob("*/golden.json"))
        sources = {name: ("--model", str((goldens / name).resolve())) for name in names}
        if arguments.model:
            sources[arguments.model] = ("--random-init", arguments.model, "--seed", "0")
        for name, source in sources.items():
            for width, options in WIDTHS.items():
                of = f"{name} {width}"
                compared, differing = compare(*trees, of, (*source, *options))
                results["hashes"] += compared
                results["differing"] += differing
                if name == arguments.model and width in TIMED:
                    models = [tree.models / of.replace(" ", "-") for tree in trees]
                    results["ratios"][width] = measure(trees, models, arguments.rounds)
            print(f"{name}: {results['hashes']} hashes, {results['differing']} differ")
    for width, ratios in results["ratios"].items():
        for name, of in ratios.items():
            spread = f"{of['least']:.3f} … {of['most']:.3f}"
            print(f"{width:18} {name:60} {of['median']:.3f}  ({spread})")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 1 if results["differing"] else 0


if __name__ == "__main__":
    sys.exit(main())
