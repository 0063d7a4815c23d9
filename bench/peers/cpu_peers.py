"""A model on kvcache and every peer, on the same threads of a CPU, in one table.

    scripts/peers [--model gpt2|smollm2|llama-3.2-1b] [--quick] [--json FILE] [--markdown FILE]

Installs pinned peers into build-peers/, gives all of them the same weights at each width,
and lets processes of all alternate: decode.hpp says what each does. What was installed, built or
written before is left alone; --resume goes on with a run that was cut off, after the last process
that ended.
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
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import baselines as everybody
import llama_cpp
import own_models
import peer_table
from baseline import (
    DEPTHS,
    HUGGING_FACE,
    KVCACHE,
    LLAMA_1B,
    MODELS,
    TITLES,
    Baseline,
    MissingModelError,
)
from environment import (
    HERE,
    PROGRAMS,
    REQUIREMENTS,
    WORK,
    build_programs,
    install,
)
from environment import (
    HUGGING_FACE as HUGGING_FACE_REQUIREMENTS,
)
from peer_options import parser
from processes import ProcessError, run_once, run_quietly, say
from rounds import SECONDS, Rounds, write_whole

RUN = WORK / "run"
PROCESS_LIMIT_S, PROCESS_LIMIT_OF_1B_S = 600, 1800
TIMED_OUT = 124  # what timeout ends with
REFERENCE = "reference.logits"
BENCH_REPEATS = 2
BANDWIDTH = "read bandwidth"  # what a round begins or ends with


class Measurement:
    """One run: who takes part, on what, and the figures so far."""

    def __init__(self, arguments: argparse.Namespace):
        self.quick = quick = arguments.quick
        self.subject = arguments.model
        self.depths = DEPTHS[self.subject]
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
        self.reference = everybody.reference(self.subject, self.threads)
        self.limit_s = PROCESS_LIMIT_OF_1B_S if self.subject == LLAMA_1B else PROCESS_LIMIT_S
        self.skipped: list[dict[str, str]] = []

    # ---- Preparation ----------------------------------------------------------------------------

    def prepare(self) -> None:
        """Installs, builds and writes what is missing."""
        WORK.mkdir(exist_ok=True)
        MODELS.mkdir(exist_ok=True)
        say("packages of the peers")
        install(REQUIREMENTS)
        if any(one.runtime == HUGGING_FACE for one in self.baselines):
            say("torch and transformers")
            install([HUGGING_FACE_REQUIREMENTS])
        say(f"llama.cpp (llama-cpp-python {llama_cpp.VERSION}) and the programs")
        build_programs(self.build, llama_cpp.build(), llama_cpp.LIBRARIES)
        self.reference.prepare()
        for one in self.baselines:
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
        for path in sorted([*PROGRAMS.glob("decode_*"), *HERE.glob("decode_*.py")]):
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
        limits = ["timeout", str(self.limit_s), "taskset", "--cpu-list", cores]
        settings = ["env", f"OMP_NUM_THREADS={self.threads}"]
        for again in (False, True):
            with self._alone():
                run_it = run_once if self.quick else run_quietly
                run = run_it([*limits, *settings, *command], statuses=(TIMED_OUT, 0))
            if run.status != TIMED_OUT:
                return {**json.loads(run.output), "others": run.others, "quiet": run.quiet}
            say(f"  took more than {self.limit_s} s{', twice' if again else '; once more'}")
        raise ProcessError(f"took more than {self.limit_s} s, twice")

    def measure(self) -> list[dict[str, Any]]:
        """The figures of all rounds by name, those of before included."""
        if not (RUN / REFERENCE).exists():
            say(f"{self.reference.name}, the reference")
            partial = RUN / "partial.logits"
            begin = time.monotonic()
            figures = self._process(self.reference.command(self.threads, 1, self.tokens, partial))
            figures[SECONDS] = time.monotonic() - begin
            write_whole(RUN / "reference.json", json.dumps(figures))
            partial.rename(RUN / REFERENCE)
        by_name = {one.name: one for one in self.baselines}

        def step(number: int, name: str) -> dict[str, Any]:
            if name == BANDWIDTH:
                return self._bench(self.reference, "--depth", 8, "--tokens", 8)
            return self._figures(by_name[name], number)

        guess = json.loads((RUN / "reference.json").read_text())[SECONDS]
        return Rounds(RUN, [BANDWIDTH, *by_name], self.rounds, guess).make(step)

    def _figures(self, one: Baseline, number: int) -> dict[str, Any]:
        logits = RUN / "found.logits" if number == 1 else None
        try:
            figures = self._process(one.command(self.threads, self.repeats, self.tokens, logits))
            if logits:
                figures["agreement"] = self._agreement(one, figures, logits)
            if one.runtime == KVCACHE:
                figures["bandwidth_share"] = self._bandwidth_share(one)
        except (ProcessError, ValueError) as error:
            say(f"  failed: {error}")
            return {"failed": str(error)}
        return figures

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

    def _spec(self) -> dict[str, Any]:
        return json.loads((self.reference.model / "config.json").read_text())["spec"]

    def _agreement(self, one: Baseline, figures: dict, logits: Path) -> dict[str, Any]:
        import numpy as np  # not needed for --help
        from agreement import LIMITS, LIMITS_OF_RANDOM_1B, compare

        reference = json.loads((RUN / "reference.json").read_text())
        vocab = self._spec()["vocab_size"]
        expected, found = (
            np.fromfile(path, np.float32).reshape(-1, vocab) for path in (RUN / REFERENCE, logits)
        )
        logits.unlink()
        agreement = compare(expected, found)
        limits = LIMITS_OF_RANDOM_1B if self.subject == LLAMA_1B else LIMITS
        pairs = [
            pair
            for depth in self.depths
            for pair in zip(reference[f"tokens_{depth}"], figures[f"tokens_{depth}"], strict=True)
        ]
        return {
            **agreement.as_json(),
            "holds": agreement.holds(one.width, limits),
            "greedy_equal": sum(ours == theirs for ours, theirs in pairs),
            "greedy_of": len(pairs),
        }

    # ---- Results --------------------------------------------------------------------------------

    def results(self, rounds: list[dict[str, Any]]) -> dict[str, Any]:
        """Everything measured, as JSON."""
        environment = rounds[0][BANDWIDTH]["environment"]
        versions = {
            "kvcache": environment["kvcache_version"],
            "llama.cpp (llama-cpp-python)": llama_cpp.VERSION,
        }
        entries = []
        for one in self.baselines:
            runs = [found[one.name] for found in rounds]
            entry = {"runtime": one.runtime, "width": one.width, "variant": one.variant}
            entry |= self._memory(one)
            failures = [run["failed"] for run in runs if "failed" in run]
            if failures:
                entry |= {"failed": f"failed: {failures[0]}", "runs": []}
            else:
                entry |= {"agreement": runs[0].pop("agreement"), "runs": runs}
                for run in runs:
                    versions |= run.pop("versions", {})
                    run.pop(SECONDS)
            entries.append(entry)
        return {
            "format": "kvcache-peers",
            "format_version": 5,
            "model": TITLES[self.subject],
            "reference": self.reference.name,
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
            "bandwidth": [
                found[BANDWIDTH]["read_bandwidth"]["bytes_per_second"] for found in rounds
            ],
            "baselines": entries,
            "skipped": self.skipped,
        }

    def _memory(self, one: Baseline) -> dict[str, int]:
        """What memory is compared with: the files, the cache at the deepest token, the export."""
        found = {"model_bytes": one.model_bytes(), "export_peak_bytes": None, "cache_bytes": None}
        found["export_peak_bytes"] = own_models.export_peak_bytes(one)
        if one.cache_bytes is not None:
            attentions = [layer["attention"] for layer in self._spec()["layers"]]
            numbers = sum(2 * each["num_kv_heads"] * each["head_dim"] for each in attentions)
            positions = max(self.depths) + self.tokens
            found["cache_bytes"] = one.cache_bytes * numbers * positions
        return {name: value for name, value in found.items() if value is not None}


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
        say("stopped; --resume goes on after the last process that ended")
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
