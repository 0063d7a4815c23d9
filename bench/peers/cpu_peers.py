"""A model on kvcache and every peer, on the same threads of a CPU, in one table.

    scripts/peers [--model gpt2|smollm2] [--quick] [--json FILE] [--markdown FILE]

Installs pinned peers into build-peers/, gives all of them the same weights at each width,
and lets processes of all alternate: decode.hpp says what each does. What was installed, built or
written before is left alone; --resume goes on with a run that was cut off, after its last whole
round.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import baselines as everybody
import llama_cpp
import peer_table
from baselines import HUGGING_FACE, KVCACHE, RUNTIMES, WIDTHS, Baseline, MissingModelError
from environment import (
    HUGGING_FACE as HUGGING_FACE_REQUIREMENTS,
)
from environment import (
    PROGRAMS,
    REQUIREMENTS,
    ROOT,
    WORK,
    build_programs,
    install,
)
from processes import ProcessError, run_quietly, say

RUN = WORK / "run"
PROCESS_LIMIT_S = 300
TIMED_OUT = 124  # what timeout ends with
REFERENCE = "reference.logits"
BENCH_REPEATS = 2


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(
        prog="scripts/peers",
        description="Measures kvcache beside llama.cpp, CTranslate2, onnxruntime-genai and ONNX"
        " Runtime on this machine's CPU and prints one Markdown table. Needs about 6 GB of disk in"
        " build-peers/ and a package index for the first run; leave the machine alone meanwhile:"
        " the peers' threads wait for each other by spinning.",
        epilog="Exit status: 0 measured, 2 it could not be.",
    )
    result.add_argument(
        "--model",
        choices=everybody.SUBJECTS,
        default=everybody.GPT2,
        help="GPT-2 124M with random weights, or SmolLM2-135M-Instruct (default: gpt2)",
    )
    result.add_argument("--quick", action="store_true", help="one round of few tokens: a trial")
    result.add_argument("--rounds", type=_positive, help="alternations (default: 5)")
    result.add_argument("--tokens", type=_positive, help="decoded at each depth (default: 64)")
    result.add_argument("--cores", type=_cores, help="numbers, as 0,1 (default: the first two)")
    result.add_argument("--widths", type=_some_of(WIDTHS), default=WIDTHS, metavar="A,B")
    result.add_argument(
        "--runtimes",
        type=_some_of(RUNTIMES),
        default=tuple(name for name in RUNTIMES if name != HUGGING_FACE),
        metavar="A,B",
        help=f"of {', '.join(RUNTIMES)}",
    )
    result.add_argument(
        "--hugging-face", action="store_true", help="also Hugging Face: installs torch, gigabytes"
    )
    result.add_argument("--resume", action="store_true", help="go on with a run that was cut off")
    result.add_argument(
        "--lock", type=Path, metavar="FILE", help="held exclusively by each process"
    )
    result.add_argument("--build", type=Path, default=ROOT / "build", help="default: build")
    result.add_argument("--json", type=Path, metavar="FILE", help="writes raw figures there")
    result.add_argument("--markdown", type=Path, metavar="FILE", help="writes the table there")
    return result


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a whole number above 0: {text!r}")
    return int(text)


def _cores(text: str) -> tuple[int, ...]:
    usable = os.sched_getaffinity(0)
    names = text.split(",")
    if not all(name.isdecimal() and int(name) in usable for name in names):
        numbers = ",".join(map(str, sorted(usable)))
        raise argparse.ArgumentTypeError(f"{text!r} does not name cores of {numbers}")
    return tuple(map(int, names))


def _some_of(allowed: tuple[str, ...]) -> Any:
    def chosen(text: str) -> tuple[str, ...]:
        names = tuple(text.split(","))
        unknown = [name for name in names if name not in allowed]
        if unknown:
            raise argparse.ArgumentTypeError(
                f"{', '.join(unknown)} is not one of {', '.join(allowed)}"
            )
        return names

    return chosen


class Measurement:
    """One run: who takes part, on what, and the figures so far."""

    def __init__(self, arguments: argparse.Namespace):
        quick = arguments.quick
        self.subject = arguments.model
        self.depths = everybody.DEPTHS[self.subject]
        self.rounds = arguments.rounds or (1 if quick else 5)
        self.tokens = arguments.tokens or (16 if quick else 64)
        self.repeats = 1 if quick else 2  # within a process
        self.cores = arguments.cores or tuple(sorted(os.sched_getaffinity(0))[:2])
        self.threads = len(self.cores)
        self.build, self.lock = arguments.build, arguments.lock
        self.baselines = [
            one
            for one in everybody.all_contenders(self.subject, self.threads)
            if one.width in arguments.widths and one.runtime in arguments.runtimes
        ]
        self.reference = everybody.all_contenders(self.subject, self.threads)[0]
        self.skipped: list[dict[str, str]] = []

    # ---- Preparation ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Installs, builds and writes what is missing."""
        WORK.mkdir(exist_ok=True)
        everybody.MODELS.mkdir(exist_ok=True)
        say("packages of the peers")
        install(REQUIREMENTS)
        if any(one.runtime == HUGGING_FACE for one in self.baselines):
            say("torch and transformers")
            install([HUGGING_FACE_REQUIREMENTS])
        say(f"llama.cpp (llama-cpp-python {llama_cpp.VERSION}) and the programs")
        build_programs(self.build, llama_cpp.build(), llama_cpp.LIBRARIES)
        self.reference.prepare()
        everyone = everybody.all_contenders(self.subject, 1)
        wide_llama = [one for one in everyone if one.variant == "F32"]
        needed = wide_llama if everybody.LLAMA in {one.runtime for one in self.baselines} else []
        for one in [*needed, *self.baselines]:
            try:
                if one.prepare():
                    say(f"wrote the model of {one.name}")
            except MissingModelError as missing:
                say(f"skipped: {one.name}: {missing}")
                self.skipped.append({"name": one.name, "reason": str(missing)})
        left_out = {entry["name"] for entry in self.skipped}
        self.baselines = [one for one in self.baselines if one.name not in left_out]

    def settings(self) -> dict[str, Any]:
        """What must be the same for rounds to belong to one run."""
        digest = hashlib.sha256()
        for path in sorted(PROGRAMS.glob("decode_*")):
            digest.update(path.read_bytes() if path.is_file() else b"")
        for path in sorted((WORK / "installed" / "lib").rglob("libkvcache*")):
            digest.update(path.read_bytes())
        return {
            "model": self.subject,
            "baselines": [one.name for one in self.baselines],
            "tokens": self.tokens,
            "repeats": self.repeats,
            "cores": list(self.cores),
            "programs": digest.hexdigest(),
        }

    def begin(self, *, resume: bool) -> None:
        """Makes the folder of the run, or takes up the one that is there."""
        path, settings = RUN / "settings.json", self.settings()
        if resume:
            if not path.exists():
                raise ProcessError(f"no run to resume in {RUN}; start one without --resume")
            before = json.loads(path.read_text())
            differing = [key for key, value in settings.items() if before.get(key) != value]
            if differing:
                raise ProcessError(
                    f"the run in {RUN} has other {', '.join(differing)}; give the options it was"
                    " started with, or start anew without --resume"
                )
            return
        shutil.rmtree(RUN, ignore_errors=True)
        RUN.mkdir()
        write_whole(path, json.dumps(settings, indent=1))

    # ---- Measuring ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        if self.lock is None:
            yield
            return
        with self.lock.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _process(self, command: list[str | Path]) -> dict[str, Any]:
        """Runs a process on the chosen cores; its JSON, and how quiet the machine was.

        One that takes too long is started once more: threads that spin hardly get on beside a busy
        neighbour.
        """
        cores = ",".join(map(str, self.cores))
        limits = ["timeout", str(PROCESS_LIMIT_S), "taskset", "--cpu-list", cores]
        settings = ["env", f"OMP_NUM_THREADS={self.threads}"]
        timed_out = (TIMED_OUT, 0)
        with self._alone():
            run = run_quietly([*limits, *settings, *command], statuses=timed_out)
        if run.status == TIMED_OUT:
            say(f"  took more than {PROCESS_LIMIT_S} s; once more")
            with self._alone():
                run = run_quietly([*limits, *settings, *command], statuses=timed_out)
        if run.status == TIMED_OUT:
            raise ProcessError(f"took more than {PROCESS_LIMIT_S} s, twice")
        return {**json.loads(run.output), "others": run.others, "quiet": run.quiet}

    def measure(self) -> list[dict[str, Any]]:
        """All rounds, whole ones of before included."""
        if not (RUN / REFERENCE).exists():
            say("kvcache float32, the reference")
            partial = RUN / "partial.logits"
            figures = self._process(self.reference.command(self.threads, 1, self.tokens, partial))
            write_whole(RUN / "reference.json", json.dumps(figures))
            partial.rename(RUN / REFERENCE)
        rounds = []
        for number in range(1, self.rounds + 1):
            path = RUN / f"round-{number}.json"
            if not path.exists():
                write_whole(path, json.dumps(self._round(number)))
            rounds.append(json.loads(path.read_text()))
        return rounds

    def _round(self, number: int) -> dict[str, Any]:
        say(f"round {number} of {self.rounds}: read bandwidth")
        bandwidth = self._bench(self.reference, "--depth", 8, "--tokens", 8)
        result: dict[str, Any] = {
            "bandwidth": bandwidth["read_bandwidth"]["bytes_per_second"],
            "environment": bandwidth["environment"],
            "runs": {},
        }
        for one in self.baselines:
            say(f"round {number} of {self.rounds}: {one.width}, {one.name}")
            logits = RUN / "found.logits" if number == 1 else None
            try:
                figures = self._process(
                    one.command(self.threads, self.repeats, self.tokens, logits)
                )
                if logits:
                    figures["agreement"] = self._agreement(one, figures, logits)
                if one.runtime == KVCACHE:
                    figures["bandwidth_share"] = self._bandwidth_share(one)
            except (ProcessError, ValueError) as error:
                say(f"  failed: {error}")
                figures = {"failed": str(error)}
            result["runs"][one.name] = figures
        return result

    def _bench(self, one: Baseline, *options: str | int) -> dict[str, Any]:
        """What `kvcache bench` finds of a model of ours."""
        command = [self.build / "kvcache", "bench", one.model, "--json", "-", "--prompt", 8]
        common = ["--threads", self.threads, "--repeat", BENCH_REPEATS]
        return self._process([str(word) for word in (*command, *common, *options)])

    def _bandwidth_share(self, one: Baseline) -> dict[str, list[float]]:
        """Of each depth: the shares of the read bandwidth just before and after that groups of
        tokens reached."""
        depths = ",".join(map(str, self.depths))
        found = self._bench(one, "--depth", depths, "--tokens", self.tokens)
        return {
            str(entry["depth"]): entry["bandwidth_share"]["samples"] for entry in found["decode"]
        }

    def _agreement(self, one: Baseline, figures: dict, logits: Path) -> dict[str, Any]:
        import numpy as np  # not needed for --help
        from agreement import compare

        reference = json.loads((RUN / "reference.json").read_text())
        config = json.loads((self.reference.model / "config.json").read_text())
        vocab = config["spec"]["vocab_size"]
        expected, found = (
            np.fromfile(path, np.float32).reshape(-1, vocab) for path in (RUN / REFERENCE, logits)
        )
        logits.unlink()
        agreement = compare(expected, found)
        pairs = [
            pair
            for depth in self.depths
            for pair in zip(reference[f"tokens_{depth}"], figures[f"tokens_{depth}"], strict=True)
        ]
        return {
            **agreement.as_json(),
            "holds": agreement.holds(one.width),
            "greedy_equal": sum(ours == theirs for ours, theirs in pairs),
            "greedy_of": len(pairs),
        }

    # ---- Results --------------------------------------------------------------------------------

    def results(self, rounds: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything measured, as JSON."""
        environment = rounds[0]["environment"]
        versions = {
            "kvcache": environment["kvcache_version"],
            "llama.cpp (llama-cpp-python)": llama_cpp.VERSION,
        }
        entries = []
        for one in self.baselines:
            runs = [found["runs"][one.name] for found in rounds]
            entry = {"runtime": one.runtime, "width": one.width, "variant": one.variant}
            failures = [run["failed"] for run in runs if "failed" in run]
            if failures:
                entry |= {"failed": f"failed: {failures[0]}", "runs": []}
            else:
                entry |= {"agreement": runs[0].pop("agreement"), "runs": runs}
                for run in runs:
                    versions |= run.pop("versions", {})
            entries.append(entry)
        return {
            "format": "kvcache-peers",
            "format_version": 4,
            "model": everybody.TITLES[self.subject],
            "depths": list(self.depths),
            "environment": {
                **environment,
                "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            },
            "threads": self.threads,
            "cores": list(self.cores),
            "rounds": len(rounds),
            "tokens": self.tokens,
            "versions": versions,
            "bandwidth": [found["bandwidth"] for found in rounds],
            "baselines": entries,
            "skipped": self.skipped,
        }


def write_whole(path: Path, text: str) -> None:
    """A file that is whole or not there."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.replace(path)


def main() -> int:
    arguments = parser().parse_args()
    if arguments.hugging_face:
        arguments.runtimes = (*arguments.runtimes, HUGGING_FACE)
    try:
        if not (arguments.build / "kvcache").exists():
            raise ProcessError(f"{arguments.build / 'kvcache'} does not exist; run scripts/peers")
        for path in (arguments.json, arguments.markdown):
            if path and not path.resolve().parent.is_dir():
                raise ProcessError(f"{path}: its directory does not exist")
        measurement = Measurement(arguments)
        measurement.prepare()
        if not measurement.baselines:
            raise ProcessError("nobody is left to be measured; see what was skipped above")
        measurement.begin(resume=arguments.resume)
        raw = measurement.results(measurement.measure())
    except ProcessError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("stopped; --resume goes on after the last whole round")
        return 130
    table = peer_table.markdown(raw)
    print(table)
    if arguments.json:
        write_whole(arguments.json, json.dumps(raw, indent=1) + "\n")
    if arguments.markdown:
        write_whole(arguments.markdown, table + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
