"""Running programs, and knowing whether others disturbed them."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

QUIET_SHARE = 0.08  # of one core, taken by other processes
STARTED = "KVCACHE_BENCH_STARTED_NS"  # of CLOCK_MONOTONIC: tells a process when it was started
TRIES = 3
PATIENCE_S = 120  # for others to finish


class ProcessError(Exception):
    """A program could not do its work."""


@dataclass
class Run:
    """A process that ended: what it printed, and how quiet the machine was meanwhile."""

    output: str
    status: int
    others: float  # CPU time of other processes, as a share of one core
    errors: str = ""  # what it printed on standard error

    @property
    def quiet(self) -> bool:
        return self.others <= QUIET_SHARE


def busy_seconds() -> float:
    """CPU time of all processes since the machine started."""
    with Path("/proc/stat").open() as file:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, file.readline().split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def run_once(
    command: list[str | Path], *, statuses: tuple[int, ...] = (0,), typed: str = ""
) -> Run:
    """Run a program that must end with one of `statuses`; `typed` is its standard input."""
    busy, begin = busy_seconds(), time.monotonic()
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
    ):
        given.write(typed)
        given.seek(0)
        started = {STARTED: str(time.clock_gettime_ns(time.CLOCK_MONOTONIC))}
        process = subprocess.Popen(
            command, stdin=given, stdout=output, stderr=errors, env={**os.environ, **started}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        said = errors.read()
        if process.returncode not in statuses:
            problem = said.strip().rpartition("\n")[2].removeprefix("error: ")
            raise ProcessError(f"{command[0]} ended with status {process.returncode}: {problem}")
        own = usage.ru_utime + usage.ru_stime
        others = max(0.0, busy_seconds() - busy - own) / (time.monotonic() - begin)
        return Run(output.read(), process.returncode, others, said)


def wait_until_quiet() -> None:
    """Wait until no process works, but not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        busy, begin = busy_seconds(), time.monotonic()
        time.sleep(1)
        if busy_seconds() - busy <= QUIET_SHARE * (time.monotonic() - begin):
            return


def run_quietly(command: list[str | Path], *, statuses: tuple[int, ...] = (0,)) -> Run:
    """Run a process, again where others disturbed it; the least disturbed run counts."""
    runs = []
    for _ in range(TRIES):
        wait_until_quiet()
        runs.append(run_once(command, statuses=statuses))
        if runs[-1].quiet:
            break
        say(f"others took {runs[-1].others:.0%} of a core meanwhile")
    return min(runs, key=lambda run: run.others)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
