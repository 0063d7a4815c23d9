"""Kills an export before each change it makes to a directory, one export for each.

python kill_points.py BEFORE AFTER ARGUMENT...: for n = 0, 1, 2, … copies the directory BEFORE (an
empty name: nothing) to AFTER/n and exports there, with the exporter's arguments, in a process that
kills itself before its n-th change. The last of them, which made all of its changes, ends with 0.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from kvcache_export import export
from kvcache_export.cli import main
from kvcache_export.verify import Agreement

CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def kill_before(change: int, directory: Path) -> None:
    """Kills this process before its change number `change` (from 0) in the directory."""
    count = 0

    def notice(event: str, arguments: tuple) -> None:
        nonlocal count
        if event == "open":
            path, mode, flags = arguments
            changes = bool((flags or 0) & WRITES) or any(
                letter in (mode or "") for letter in "wax+"
            )
            paths = [path]
        else:
            changes, paths = event in CHANGES, arguments[:2]
        if changes and any(str(directory) in str(path) for path in paths):
            if count == change:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

    sys.addaudithook(notice)


def _no_links(*_: object) -> None:
    raise PermissionError(1, "Operation not permitted")


def skip_verification() -> None:
    """It changes nothing in the directory, and takes most of the time."""
    export.verify.check_graph = lambda _: None
    export.Export._agreement = lambda *_: Agreement(0.0, 1.0)


def warm_up(arguments: list[str]) -> None:
    """What an exporter prepares but once, each process then has from this one."""
    with tempfile.TemporaryDirectory() as directory:
        if status := main([*arguments, "--output-dir", directory]):
            sys.exit(status)


def run(before: str, after: Path, arguments: list[str]) -> None:
    skip_verification()
    warm_up(arguments)
    change, status = 0, None
    while status != 0:
        directory = after / str(change)
        if before:
            shutil.copytree(before, directory)
        process = os.fork()
        if process == 0:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            if os.environ.get("WITHOUT_LINKS"):
                os.link = _no_links
            kill_before(change, directory)
            os._exit(main([*arguments, "--output-dir", str(directory)]))
        status = os.waitpid(process, 0)[1]
        if status not in (0, signal.SIGKILL):
            sys.exit(f"change {change}: status {status}")
        change += 1


if __name__ == "__main__":
    run(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
