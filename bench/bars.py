"""Measures every bar that the project sets itself, in one go, and says which hold.

    .venv/bin/python bench/bars.py [--full]

Each figure is a ratio of times of one run, or of processes that alternate: absolute times vary from
process to process with the placement of memory, and with what else the machine does. A process
during which others used the CPU is run again, and marked where that did not help.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from matrix_products import SAMPLES, MatrixProducts, session
from processes import ProcessError, Run, run_once, run_quietly, say

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = "kvcache"
PROTOTYPE = "test_kvcache_prototype"

SHALLOW, DEEP = 8, 512
PREFILL = 512
AGREEMENT_TOKENS = 128

HOLDS, DOES_NOT_HOLD, BAD_INPUT = 0, 1, 2
REPORTED = (HOLDS, DOES_NOT_HOLD)  # what did not hold is in the output


@dataclass
class Bar:
    """One figure of several runs, and the limit that its median must keep."""

    name: str
    limit: float
    unit: str = "x"
    at_least: bool = False  # else: at most
    values: list[float] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        value = median(self.values)
        return value >= self.limit if self.at_least else value <= self.limit

    def row(self) -> str:
        def text(value: float) -> str:
            return f"{value:.1e}" if 0 < abs(value) < 1e-2 else f"{value:.2f}"

        relation = "≥" if self.at_least else "≤"
        spread = f"{text(min(self.values))} … {text(max(self.values))}"
        return (
            f"| {self.name} | {relation} {self.limit:g} {self.unit} | {text(median(self.values))}"
            f" | {spread} | {len(self.values)} | {'PASS' if self.holds else 'FAIL'} |"
        )


# ---- Agreement with plain ONNX Runtime ----------------------------------------------------------


def difference_from_plain_runtime(program: Path, model: Path, config: dict, threads: int) -> float:
    """Largest logit difference between our kernels and a session that knows nothing of them."""
    ids = np.random.default_rng(2).integers(0, config["spec"]["vocab_size"], AGREEMENT_TOKENS)
    plain = session(model / config["model_file"], threads)
    pasts = [one for one in plain.get_inputs() if one.name.startswith("past_")]
    feeds = {one.name: np.zeros((1, one.shape[1], 0, one.shape[3]), np.float32) for one in pasts}
    feeds["input_ids"] = ids[None]
    feeds["position_ids"] = np.arange(len(ids))[None]
    expected = plain.run(["logits"], feeds)[0][0]
    with tempfile.TemporaryDirectory() as directory:
        npy = Path(directory) / "logits.npy"
        run_once([program, "logits", model, "--ids", ",".join(map(str, ids)), "--npy", npy])
        found = np.load(npy)
    return float(np.abs(found - expected).max() / np.abs(expected).max())


# ---- Speedup ------------------------------------------------------------------------------------


def speedup_curve(output: str) -> dict[int, float]:
    """The table of test_kvcache_prototype: new tokens → speedup."""
    rows = re.findall(r"^\| (\d+) +\|.*\| +([\d.]+)x \|$", output, re.MULTILINE)
    return {int(tokens): float(speedup) for tokens, speedup in rows}


def growing(curve: dict[int, float]) -> bool:
    values = [curve[tokens] for tokens in sorted(curve)]
    return all(below < above for below, above in itertools.pairwise(values))


# ---- All together -------------------------------------------------------------------------------


class Bars:
    def __init__(self) -> None:
        self.decode = Bar(f"decode at depth {SHALLOW} ÷ (weights ÷ read bandwidth)", 1.15)
        self.depth = Bar(f"decode at depth {DEEP} ÷ at depth {SHALLOW}", 1.15)
        self.prefill = Bar(f"prefill of {PREFILL} ÷ its matrix products alone in ORT", 1.15)
        self.memory = Bar("peak memory ÷ (model + cache)", 1.35)
        self.load = Bar("load, file in the page cache", 0.7, "s")
        self.speedup_256 = Bar("speedup at 256 new tokens", 5.5, at_least=True)
        self.speedup_512 = Bar("speedup at 512 new tokens", 10, at_least=True)
        self.grows = Bar("share of runs whose speedup grows throughout", 1, "", at_least=True)
        self.prototype = Bar(f"share of {PROTOTYPE} runs in which all held", 1, "", at_least=True)
        self.agreement = Bar("largest logit difference from plain ORT", 1e-4, "of the largest")
        self.cached = Bar("largest logit difference, cached and uncached", 1e-4, "of the largest")

    def measured(self) -> list[Bar]:
        return [bar for bar in vars(self).values() if bar.values]


class Measurement:
    def __init__(self, build: Path, model: Path, rounds: int, *, full: bool) -> None:
        self.build, self.model, self.rounds, self.full = build, model, rounds, full
        self.bars = Bars()
        self.raw: list[dict] = []
        self.config = json.loads((model / "config.json").read_text())

    def measure(self, products: Path) -> None:
        threads = 0
        for number in range(1, self.rounds + 1):
            say(f"round {number} of {self.rounds}")
            bench = self._bench()
            threads = bench["threads"]
            self._matrix_products(products, threads, bench["prefill"]["median_ms"])
            self._prototype(256)
            if self.full:
                self._prototype(512)
        self.bars.agreement.values.append(
            difference_from_plain_runtime(self.build / PROGRAM, self.model, self.config, threads)
        )

    def _run(self, name: str, command: list[str | Path], statuses: tuple[int, ...] = (0,)) -> Run:
        say(f"  {name}")
        run = run_quietly(command, statuses=statuses)
        self.raw.append({"name": name, "others": run.others, "quiet": run.quiet})
        return run

    def _bench(self) -> dict:
        command = [self.build / PROGRAM, "bench", self.model, "--json", "-"]
        options = ["--depth", f"{SHALLOW},{DEEP}", "--prompt", PREFILL, "--repeat", SAMPLES]
        run = self._run("kvcache bench", [*command, *map(str, options)], REPORTED)
        bench = json.loads(run.output)
        self.raw[-1]["bench"] = bench
        shallow, deep = bench["decode"]
        self.bars.decode.values.append(shallow["weights_ratio"]["median"])
        self.bars.depth.values.append(deep["median_ms"] / shallow["median_ms"])
        self.bars.memory.values.append(bench["memory_ratio"])
        self.bars.load.values.append(bench["load_ms"] / 1e3)
        difference = bench["agreement"]["largest_logit_difference"]
        agrees = bench["agreement"]["holds"] and not bench["broken"]
        self.bars.cached.values.append(difference if agrees else float("inf"))
        return bench

    def _matrix_products(self, products: Path, threads: int, prefill_ms: float) -> None:
        worker = [sys.executable, Path(__file__).with_name("matrix_products.py"), products]
        run = self._run("matrix products", [*worker, "--threads", str(threads)])
        samples = json.loads(run.output)
        self.raw[-1]["samples_ms"] = samples
        self.bars.prefill.values.append(prefill_ms / median(samples))

    def _prototype(self, tokens: int) -> None:
        command = [self.build / PROTOTYPE, "--model", self.model, "--tokens", str(tokens)]
        run = self._run(f"{PROTOTYPE} --tokens {tokens}", command, REPORTED)
        curve = speedup_curve(run.output)
        self.raw[-1] |= {"status": run.status, "curve": curve}
        bar = self.bars.speedup_256 if tokens == 256 else self.bars.speedup_512
        bar.values.append(curve[tokens])
        self.bars.prototype.values.append(float(run.status == HOLDS))
        self.bars.grows.values.append(float(growing(curve)))

    def markdown(self) -> str:
        bench = next(entry["bench"] for entry in self.raw if "bench" in entry)
        environment = bench["environment"]
        disturbed = sum(not entry["quiet"] for entry in self.raw)
        lines = [
            f"{environment['processor']}, {bench['threads']} threads, ONNX Runtime"
            f" {environment['onnxruntime_version']}, kvcache {environment['kvcache_version']},"
            f" {environment['date']}; {bench['model']['model_type']}, {bench['model']['source']},"
            f" {bench['model']['dtype']}",
            "",
            "| figure | limit | median | spread | runs | |",
            "| --- | ---: | ---: | ---: | ---: | --- |",
            *(bar.row() for bar in self.bars.measured()),
        ]
        if disturbed:
            lines += ["", f"Other processes disturbed {disturbed} of {len(self.raw)} processes."]
        return "\n".join(lines)

    def as_json(self) -> dict:
        bars = [
            {**asdict(bar), "median": median(bar.values), "holds": bar.holds}
            for bar in self.bars.measured()
        ]
        return {"format": "kvcache-bars", "format_version": 1, "bars": bars, "runs": self.raw}


def measure(arguments: argparse.Namespace) -> int:
    model = arguments.model.resolve()
    for needed in (arguments.build / PROGRAM, arguments.build / PROTOTYPE, model / "config.json"):
        if not needed.exists():
            raise ProcessError(f"{needed} does not exist; run scripts/benchmark first")
    measurement = Measurement(arguments.build, model, arguments.rounds, full=arguments.full)
    config = measurement.config
    for file in config["files"]:  # into the page cache
        (model / file["name"]).read_bytes()
    spec = config["spec"]
    with tempfile.TemporaryDirectory() as directory:
        products = Path(directory) / "products.onnx"
        sizes = (len(spec["layers"]), spec["hidden_size"], spec["vocab_size"])
        MatrixProducts(PREFILL, *sizes).write(products)
        measurement.measure(products)
    print(measurement.markdown())
    if arguments.json:
        arguments.json.write_text(json.dumps(measurement.as_json(), indent=1) + "\n")
    return HOLDS if all(bar.holds for bar in measurement.bars.measured()) else DOES_NOT_HOLD


def main() -> int:
    parser = argparse.ArgumentParser(
        description="Measures every bar of the project and prints a Markdown table.",
        epilog="Exit status: 0 every bar holds, 1 one does not, 2 bad input.",
    )
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    parser.add_argument("--model", type=Path, default=ROOT / "models", help="default: models")
    parser.add_argument("--rounds", type=int, default=3, help="alternations (default: 3)")
    parser.add_argument("--full", action="store_true", help="also the speedup at 512 new tokens")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes raw figures there")
    arguments = parser.parse_args()
    try:
        return measure(arguments)
    except ProcessError as error:
        say(f"error: {error}")
        return BAD_INPUT


if __name__ == "__main__":
    sys.exit(main())
