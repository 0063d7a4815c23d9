"""However an export ends: an exit code, and for a failure one line."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import checkpoints
import pytest
from exporter_processes import ExporterProcesses

from kvcache_export import boundary, signals
from kvcache_export.errors import ExportError, VerificationError

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "export_gpt2_kvcache.py"
FILES = ["config.json", "gpt2_with_cache.onnx", "gpt2_with_cache.onnx.data"]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def raising(error: BaseException):
    def work() -> None:
        raise error

    return work


class PanicError(BaseException):
    """As a library written in Rust raises it: no Exception."""


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ExportError("a\nb"), 2, "a b"),
        (ExportError("m\udcff\x1b[31m\u2713"), 2, "m??[31m\u2713"),
        (VerificationError("wrong"), 1, "wrong"),
        (MemoryError(), 2, "not enough memory; end other programs, export a smaller model"),
        (RuntimeError("std::bad_alloc"), 2, "not enough memory (std::bad_alloc); end other"),
        (
            RuntimeError("can't start new thread"),
            2,
            "no thread can be made (can't start new thread);",
        ),
        (OSError(12, "Cannot allocate memory"), 2, "not enough memory"),
        (PermissionError(13, "Permission denied", "/x"), 2, "/x: Permission denied; check that it"),
        (OSError("odd"), 2, "odd; check that it can be read"),
        (ModuleNotFoundError("no", name="onnx"), 2, "Python module 'onnx' is missing; run: python"),
        (ImportError("no such symbol"), 2, "a Python package does not load: no such symbol; run:"),
        (signals.Ended(2), 130, "interrupted"),
        (signals.Ended(15), 143, "ended by SIGTERM"),
        (KeyError("x"), 1, "the exporter has made a mistake (KeyError: 'x'); please report it"),
        (RecursionError(), 1, "the exporter has made a mistake (RecursionError); please report it"),
        (PanicError("index"), 1, "the exporter has made a mistake (PanicError: index); please"),
        (GeneratorExit(), 1, "the exporter has made a mistake (GeneratorExit)"),
    ],
)
def test_every_failure_is_a_line_and_a_code(error: BaseException, code: int, line: str, capsys):
    assert boundary.run(raising(error)) == code
    output = capsys.readouterr()
    assert output.err.startswith(f"error: {line}")
    assert output.err.count("\n") == 1
    assert output.out == ""


def test_the_traceback_is_shown_on_demand(capsys, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("KVCACHE_DEBUG", "1")
    assert boundary.run(raising(KeyError("x"))) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-2] == "KeyError: 'x'"
    assert lines[-1].startswith("error: the exporter has made a mistake")


@pytest.fixture
def command(small_checkpoint: Path, tmp_path: Path) -> list[object]:
    return [sys.executable, SCRIPT, "--model", small_checkpoint, "--output-dir", tmp_path / "out"]


class TestStreams:
    """Whatever standard output and error are, the model is published and the status is right."""

    @pytest.mark.parametrize(
        "encoding",
        [
            "ascii",
            "utf-16",
            *(pytest.param(name, marks=pytest.mark.full) for name in ("latin-1", "ascii:strict")),
        ],
    )
    def test_letters_that_it_lacks_are_replaced(self, command: list, tmp_path: Path, encoding: str):
        result = subprocess.run(
            command,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=True,
        )
        assert result.stderr == b""
        text = result.stdout.decode(encoding.partition(":")[0])
        mark = "✓" if encoding == "utf-16" else "?"
        assert f"\n{mark} Model exported successfully\n" in text
        assert names(tmp_path / "out") == FILES

    @pytest.mark.parametrize(
        "redirection",
        [
            *(pytest.param(name, marks=pytest.mark.full) for name in (">&-", "2>&-", ">&- 2>&-")),
            "<&- >&- 2>&-",
        ],
    )
    def test_closed(self, command: list, tmp_path: Path, redirection: str):
        result = subprocess.run(
            ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
            capture_output=True,
            check=True,
        )
        assert result.stderr == b""
        assert names(tmp_path / "out") == FILES

    @pytest.mark.parametrize(
        "redirection",
        [
            *(pytest.param(name, marks=pytest.mark.full) for name in ("2>&-", "2>/dev/full")),
            *(">&- 2>&-", ">/dev/full 2>&1"),
        ],
    )
    def test_a_failure_keeps_its_code(self, redirection: str):
        command = [sys.executable, SCRIPT, "--model", "./nowhere"]
        for more, code in (([], 2), (["--colour"], 2), (["--help"], 0)):
            result = subprocess.run(
                ["sh", "-c", f'exec "$@" {redirection}', "sh", *command, *more],
                capture_output=True,
                check=False,
            )
            assert result.returncode == code
            assert b"Traceback" not in result.stdout + result.stderr

    def test_full(self, command: list, tmp_path: Path):
        with Path("/dev/full").open("w") as full:
            result = subprocess.run(
                command, stdout=full, stderr=subprocess.PIPE, text=True, check=True
            )
        assert result.stderr == (
            "Note: cannot write to standard output (No space left on device);"
            " the rest is left out\n"
        )
        assert names(tmp_path / "out") == FILES

    def test_both_full(self, command: list, tmp_path: Path):
        with Path("/dev/full").open("w") as full:
            subprocess.run(command, stdout=full, stderr=full, check=True)
        assert names(tmp_path / "out") == FILES

    def test_a_reader_that_goes(self, command: list, tmp_path: Path):
        result = subprocess.run(
            ["bash", "-c", 'set -o pipefail; "$@" | head -1', "bash", *command],
            capture_output=True,
            text=True,
            check=True,
        )
        assert result.stdout.count("\n") == 1
        assert result.stderr == ""
        assert names(tmp_path / "out") == FILES


@pytest.mark.parametrize(("name", "limit"), [("RLIMIT_AS", 300 << 20), ("RLIMIT_DATA", 200 << 20)])
def test_without_memory(tmp_path: Path, name: str, limit: int):
    result = subprocess.run(
        [sys.executable, SCRIPT, "--random-init", "gpt2", "--output-dir", tmp_path / "out"],
        preexec_fn=lambda: resource.setrlimit(getattr(resource, name), (limit, limit)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2
    assert result.stderr.startswith("error: not enough memory")
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
@pytest.mark.parametrize("closed", ["", "checkpoint/config.json", "checkpoint/model.safetensors"])
def test_without_permission(tmp_path: Path, closed: str):
    """An unreadable checkpoint is not called a missing one."""
    checkpoints.write_random(tmp_path / "closed" / "checkpoint")
    (tmp_path / "closed" / closed).chmod(0)
    model = tmp_path / "closed" / "checkpoint"
    result = subprocess.run(
        [sys.executable, SCRIPT, "--model", model, "--output-dir", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    (tmp_path / "closed" / closed).chmod(0o700)
    where = tmp_path / "closed" / closed if closed else model
    assert result.returncode == 2
    assert result.stderr == f"error: cannot read {where}: Permission denied\n"


def test_names_that_are_not_utf8(
    small_checkpoint: Path, tmp_path: Path, exporter_processes: ExporterProcesses
):
    """A checkpoint's directory may have one; an output directory is refused before it is made."""
    checkpoint = tmp_path / os.fsdecode(b"m\xff")
    checkpoint.symlink_to(small_checkpoint)
    really = tmp_path / os.fsdecode(b"r\xff")
    checkpoints.write_random(really)
    for model in (checkpoint, really):
        arguments = ["--model", model, "--output-dir", tmp_path / "out"]
        assert exporter_processes.run(*arguments).returncode == 0
    assert '"source": "r\\ufffd"' in (tmp_path / "out" / "config.json").read_text()
    arguments[-1] = tmp_path / os.fsdecode(b"o\xff")
    result = exporter_processes.run(*arguments)
    assert result.returncode == 2
    assert result.stderr.startswith("error: cannot write to b'")
    assert "its name is not UTF-8" in result.stderr
    assert not arguments[-1].exists()
