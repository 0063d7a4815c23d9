"""A program as a person at a terminal starts it: its standard error is one."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Sequence


def run_at_terminal(
    command: Sequence[object], columns: int = 80, terminal: str = "xterm", **options: object
) -> tuple[int, str, str]:
    """The exit status, what came to standard output, a pipe, and what came to the terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {**os.environ, "TERM": terminal}
    environment.pop("COLUMNS", None)  # which would say otherwise
    with subprocess.Popen(
        [*map(str, command)], stdout=subprocess.PIPE, stderr=theirs, env=environment, **options
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                part = os.read(ours, 4096)
            except OSError:  # its other end is closed
                break
            if not part:
                break
            shown += part
        output = process.stdout.read()
    os.close(ours)
    return process.returncode, output.decode(), shown.decode(errors="replace")


CLEAR = "\r\033[K"


def lines_shown(text: str) -> list[str]:
    """The lines that took each other's place."""
    return [line for line in text.split(CLEAR) if line]
