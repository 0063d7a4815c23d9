"""Whatever keeps a model from being loaded: one line with the right reason and exit status."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from programs import Program, assert_error

NOBODY = 65534
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")


def become_nobody() -> None:
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


def limited(limit: int, value: int, and_then: Callable[[], None] = lambda: None) -> dict:
    """Options of a process with a limit of its own."""

    def prepare() -> None:
        and_then()
        resource.setrlimit(limit, (value, value))

    return {"preexec_fn": prepare}


@pytest.fixture
def copy(model: Path, tmp_path: Path) -> Path:
    """A copy of the model that others can read, also along the way to it."""
    copied = tmp_path / "m"
    shutil.copytree(model, copied)
    for directory in [copied, *copied.parents[:-1]]:
        if directory.stat().st_uid == os.getuid() and directory != Path("/"):
            directory.chmod(directory.stat().st_mode | 0o055)
    return copied


def test_a_path_that_is_too_long(kvcache: Program) -> None:
    assert_error(kvcache("info", "a" * 300), 2, "File name too long")


def test_a_loop_of_links(kvcache: Program, tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert_error(kvcache("info", tmp_path / "loop"), 2, "Too many levels of symbolic links")


@as_root
def test_a_directory_that_may_not_be_searched(kvcache: Program, copy: Path) -> None:
    copy.chmod(0o700)
    assert_error(kvcache("info", copy, preexec_fn=become_nobody), 2, "Permission denied")
    assert_error(kvcache("info", copy / "x", preexec_fn=become_nobody), 2, "Permission denied")


@as_root
@pytest.mark.parametrize("suffix", ["json", "onnx", "data"])
def test_a_file_that_may_not_be_read(kvcache: Program, copy: Path, suffix: str) -> None:
    (unreadable,) = copy.glob(f"[!.]*.{suffix}")
    unreadable.chmod(0o600)
    finished = kvcache("info", copy, preexec_fn=become_nobody)
    assert_error(finished, 2, unreadable.name, "Permission denied")


@as_root
def test_a_file_of_somebody_else_is_read(kvcache: Program, copy: Path) -> None:
    """Only its owner can hold it: nobody reads it into memory instead."""
    finished = kvcache(
        "generate", copy, "--ids", "1", "--max-new-tokens", "3", preexec_fn=become_nobody
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout == kvcache("generate", copy, "--ids", "1", "--max-new-tokens", 3).stdout


@as_root
def test_no_thread(kvcache: Program, copy: Path) -> None:
    no_threads = limited(resource.RLIMIT_NPROC, 1, become_nobody)
    finished = kvcache("info", copy, "--threads", "2", **no_threads)
    assert_error(finished, 1, "refused a thread", "Resource temporarily unavailable")


@pytest.mark.parametrize("mib", [*range(100, 146, 3), 200, 300, 500, 800])
def test_no_memory(kvcache: Program, model: Path, mib: int) -> None:
    """Wherever it ends, the reason is memory, or it fits."""
    finished = kvcache("info", model, **limited(resource.RLIMIT_AS, mib << 20))
    if finished.returncode != 0:
        # ONNX Runtime has lines of its own before it.
        finished.stderr = finished.stderr.splitlines(keepends=True)[-1]
        assert_error(finished, 1, "memory")


def test_too_many_open_files(kvcache_path: Path, model: Path) -> None:
    """At every number of free descriptors: the reason, or success."""
    loaded = 0
    for free in range(4, 16):
        finished = subprocess.run(
            [kvcache_path, "info", model],
            capture_output=True,
            text=True,
            check=False,
            **limited(resource.RLIMIT_NOFILE, free),
        )
        if finished.returncode == 0:
            loaded += 1
        elif "error while loading shared libraries" not in finished.stderr:
            # ONNX Runtime has lines of its own before it.
            assert finished.returncode in (1, 2)
            line = finished.stderr.splitlines()[-1]
            assert line.startswith("error: ")
            assert "Too many open files" in line
    assert loaded
