"""Programs whose standard streams are closed or full, whose files are devices, and that are killed.

What they promise in --help holds there too, and nothing half-written stays.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from programs import BUILD, TIMEOUT_S, Program, assert_error

pytestmark = pytest.mark.usefixtures("heeded_signals")

PROGRAMS = {
    "kvcache": ["generate", "MODEL", "--ids", "1,2", "--max-new-tokens", "3"],
    "test_kvcache_prototype": ["--model", "MODEL", "--tokens", "2"],
}
each_program = pytest.mark.parametrize("program", PROGRAMS)


def shell_words(before: str, redirection: str, command: list[object]) -> list[str]:
    return ["sh", "-c", f'{before}; exec "$@" {redirection}', "sh", *map(str, command)]


def in_shell(
    redirection: str, command: list[object], before: str = "true"
) -> subprocess.CompletedProcess[str]:
    """Run a command as a shell does with `redirection`, such as 2>&-."""
    words = shell_words(before, redirection, command)
    return subprocess.run(words, text=True, capture_output=True, check=False, timeout=TIMEOUT_S)


def command_of(program: str, model: object) -> list[object]:
    return [BUILD / program, *(model if word == "MODEL" else word for word in PROGRAMS[program])]


def logits_to(npy: object, model: Path) -> list[object]:
    return [BUILD / "kvcache", "logits", model, "--ids", "1,2", "--npy", npy]


# ---- Standard streams ----------------------------------------------------------------------------


@each_program
@pytest.mark.parametrize("redirection", ["2>/dev/full", "2>&-", "2>&- >&- <&-", "<&-"])
def test_the_status_does_not_depend_on_standard_error(
    program: str, redirection: str, model: Path
) -> None:
    assert in_shell(redirection, command_of(program, "/missing")).returncode == 2
    finished = in_shell(redirection, command_of(program, model))
    lost = ">&-" in redirection.split()
    slower = "FAILED" in finished.stdout  # as the cache can be at so few tokens
    assert finished.returncode == (1 if lost or slower else 0)


@each_program
@pytest.mark.parametrize(
    ("redirection", "reason"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
)
def test_lost_output_is_an_error(program: str, redirection: str, reason: str, model: Path) -> None:
    for command in (command_of(program, model), [BUILD / program, "--help"]):
        finished = in_shell(redirection, command)
        assert_error(finished, 1, "cannot write to standard output", reason)


@pytest.mark.parametrize("closed", ["2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_no_file_gets_the_number_of_a_standard_stream(
    closed: str, model: Path, tmp_path: Path
) -> None:
    npy = tmp_path / "x.npy"
    in_shell(closed, [*logits_to(npy, model), "--verbose"])
    assert np.load(npy).shape[0] == 2


# ---- Files that are no files ---------------------------------------------------------------------


def test_a_symbolic_link_stays_one(kvcache: Program, model: Path, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to("target")
    assert kvcache("logits", model, "--ids", "1,2", "--npy", link).returncode == 0
    assert link.is_symlink()
    assert np.load(target).shape[0] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "target"]


def test_a_pipe_is_written_to(kvcache: Program, model: Path, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    finished = kvcache("logits", model, "--ids", "1,2", "--npy", fifo)
    assert_error(finished, 1, f"cannot write {fifo}, a pipe that nobody reads yet")
    with os.fdopen(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        assert kvcache("logits", model, "--ids", "1,2", "--npy", fifo).returncode == 0
        assert np.load(io.BytesIO(reader.read())).shape[0] == 2
    assert fifo.is_fifo()


def device(path: Path, minor: int) -> Path:
    """A device of the test's own: as root, a fault would replace that of the machine."""
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("only root makes devices")
    return path


def test_a_device_stays_one(kvcache: Program, model: Path, tmp_path: Path) -> None:
    null = device(tmp_path / "null", 3)
    assert kvcache("logits", model, "--ids", "1", "--npy", null).returncode == 0
    assert null.is_char_device()


def test_a_full_device_is_an_error(kvcache: Program, model: Path, tmp_path: Path) -> None:
    full = device(tmp_path / "full", 7)
    finished = kvcache("logits", model, "--ids", "1,2", "--npy", full)
    assert_error(finished, 1, f"cannot write {full}: No space left on device")
    assert full.is_char_device()


def test_a_file_beyond_the_limit_leaves_nothing(model: Path, tmp_path: Path) -> None:
    npy = tmp_path / "x.npy"
    npy.write_text("old")
    finished = in_shell("", logits_to(npy, model), before="ulimit -f 0")
    assert_error(finished, 1, f"cannot write {npy}: File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["x.npy"]
    assert npy.read_text() == "old"


def test_a_file_system_without_files_that_have_no_name(model: Path, tmp_path: Path) -> None:
    strace = shutil.which("strace")
    if strace is None or in_shell("", [strace, "true"]).returncode != 0:
        pytest.skip("strace, which plays such a file system, does not work here")
    directory = tmp_path / "out"
    directory.mkdir()
    npy = directory / "x.npy"
    refuse = ["-e", "trace=openat", "-e", "inject=openat:error=EOPNOTSUPP"]
    tracer = [strace, "-f", "-o", tmp_path / "log", "-P", directory, *refuse]
    for _ in range(2):
        finished = in_shell("", [*tracer, *logits_to(npy, model)])
        assert finished.returncode == 0, finished.stderr
        assert np.load(npy).shape[0] == 2
        assert [path.name for path in directory.iterdir()] == ["x.npy"]
    assert "O_TMPFILE, 0666) = -1 EOPNOTSUPP" in (tmp_path / "log").read_text()


# ---- Signals -------------------------------------------------------------------------------------


@contextmanager
def endless_bench(
    model: Path, tmp_path: Path, *options: object, before: str = "true"
) -> Iterator[subprocess.Popen[str]]:
    """`kvcache bench` at work, writing to tmp_path/out and to temporary files in tmp_path/tmp."""
    for name in ("out", "tmp"):
        (tmp_path / name).mkdir()
    arguments = ["bench", model, "--repeat", 1_000_000, "--verbose"]
    arguments += ["--json", tmp_path / "out" / "bench.json", *options]
    with subprocess.Popen(
        shell_words(before, "", [BUILD / "kvcache", *arguments]),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
    ) as process:
        try:
            while not process.stderr.readline().startswith("round 2 "):
                assert process.poll() is None
            yield process
        finally:
            process.kill()


def left_behind(tmp_path: Path) -> list[str]:
    paths = [*(tmp_path / "out").iterdir(), *(tmp_path / "tmp").glob("*kvcache*")]
    return [path.name for path in paths]


@pytest.mark.parametrize("mode", ["sequence", "save"])
@pytest.mark.parametrize(
    ("number", "message"),
    [
        (signal.SIGINT, "error: interrupted"),
        (signal.SIGTERM, "error: ended by SIGTERM"),
        (signal.SIGHUP, "error: ended by SIGHUP"),
    ],
)
def test_a_signal_ends_the_work_in_order(
    model: Path, tmp_path: Path, mode: str, number: signal.Signals, message: str
) -> None:
    with endless_bench(model, tmp_path, "--mode", mode) as bench:
        bench.send_signal(number)
        errors = bench.communicate(timeout=TIMEOUT_S)[1].splitlines()
        assert bench.returncode == 128 + number
    assert errors[-1] == message
    assert not left_behind(tmp_path)


def test_an_ignored_signal_stays_ignored(model: Path, tmp_path: Path) -> None:
    with endless_bench(model, tmp_path, before="trap '' HUP") as bench:
        bench.send_signal(signal.SIGHUP)
        bench.send_signal(signal.SIGTERM)
        bench.communicate(timeout=TIMEOUT_S)
        assert bench.returncode == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_the_prototype_ends_at_a_signal(model: Path, number: signal.Signals) -> None:
    command = command_of("test_kvcache_prototype", model)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT_S)
        # Before main() has begun, the signal takes its usual course.
        assert process.returncode in (128 + number, -number)


def test_what_a_killed_bench_left_is_removed_by_the_next(
    kvcache: Program, model: Path, tmp_path: Path
) -> None:
    with endless_bench(model, tmp_path) as bench:
        bench.kill()
        bench.wait(TIMEOUT_S)
    (tmp_path / "out" / ".kvcache-0123456789abcdef.tmp").write_text("of a killed process")
    npy = tmp_path / "out" / "x.npy"
    assert kvcache("logits", model, "--ids", "1", "--npy", npy).returncode == 0
    assert left_behind(tmp_path) == ["x.npy"]
