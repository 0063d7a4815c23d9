"""What the user reads. Nothing that is wrong with standard output or error fails an export."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import time
from typing import TextIO

BAR_LENGTH = 20


def open_streams() -> None:
    """Makes all three standard streams usable; to be called before anything opens a file.

    A closed one would otherwise lend its descriptor to the next file that is opened, and what
    libraries print on it would land there.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest descriptor that is free: this one
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    with contextlib.suppress(AttributeError, ValueError):  # streams that tests put in their place
        sys.stdout.reconfigure(errors="replace")


def say(line: str) -> None:
    """Prints a line; where that fails, says so once on standard error."""
    error = _write(sys.stdout, line + "\n")
    # A reader that has had enough, such as head, has closed the pipe: no news for the user.
    if error is not None and not (isinstance(error, OSError) and error.errno == errno.EPIPE):
        reason = getattr(error, "strerror", None) or str(error)
        _write(
            sys.stderr, f"Note: cannot write to standard output ({reason}); the rest is left out\n"
        )


class Progress:
    """The line of long work on a terminal: what is done, and of parts a bar with the time left.

    As the C++ programs show it (cli/program/progress.hpp); nothing where standard error is no
    terminal, and nothing with --quiet.
    """

    def __init__(self) -> None:
        """Begins with nothing shown."""
        self.quiet = False
        self._what = ""  # the words but for their numbers: other words are other work
        self._began = 0.0
        self._done_at_begin = 0

    def __call__(self, step: str, done: int = 0, total: int = 0) -> None:
        """Shows a step over the one before, `done` parts of `total` done; "" clears the line."""
        if self.quiet or not _is_terminal(sys.stderr):
            return
        what = re.sub(r"\d+", "", step)
        if what != self._what or done <= self._done_at_begin:
            self._what, self._began, self._done_at_begin = what, time.monotonic(), done
        passed = time.monotonic() - self._began
        left = None
        if done > self._done_at_begin:
            left = passed / (done - self._done_at_begin) * (total - done)
        columns = shutil.get_terminal_size().columns - 1
        _write(sys.stderr, f"\r\033[K{progress_line(step, done, total, left, columns)}")


progress = Progress()


def progress_line(step: str, done: int, total: int, left: float | None, columns: int) -> str:
    """`step  [####................]  20 %, 12 s left`; narrower without the bar, and cut."""
    if total <= 0:
        return step[:columns]
    share = min(done, total) / total
    full = int(share * BAR_LENGTH)
    bar = f"[{'#' * full}{'.' * (BAR_LENGTH - full)}] "
    figures = f"{share * 100:3.0f} %"
    if left is not None and done < total:
        figures += f", {written_duration(left)} left"
    # Where there is little room, first the bar goes and then the end of the words.
    if len(step) + 2 + len(bar) + len(figures) <= columns:
        figures = bar + figures
    return f"{step[: max(columns - len(figures) - 2, 0)]}  {figures}"[:columns]


def written_duration(seconds: float) -> str:
    """12 s, 3 min, 1 h 05 min"""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = int((seconds + 30) // 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"


def fail(message: str) -> None:
    """Prints the one line of a failure."""
    progress("")
    line = " ".join(message.splitlines())
    printable = "".join(letter if letter.isprintable() else "?" for letter in line)
    _write(sys.stderr, f"error: {printable}\n")


def trace(text: str) -> None:
    """Prints a traceback, for whoever looks for the cause."""
    progress("")
    _write(sys.stderr, text)


def finish() -> None:
    """Writes what is left; Python would do so at its end, and fail where that fails."""
    for stream in (sys.stdout, sys.stderr):
        _write(stream, "")


def _write(stream: TextIO, text: str) -> Exception | None:
    """Writes at once; where that fails, the stream leads to /dev/null from now on."""
    try:
        stream.write(text)
        stream.flush()
    except (OSError, ValueError) as error:  # ValueError: it is closed
        with contextlib.suppress(OSError, ValueError):
            descriptor = os.open(os.devnull, os.O_WRONLY)
            os.dup2(descriptor, stream.fileno())
            os.close(descriptor)
        return error
    return None


def _is_terminal(stream: TextIO) -> bool:
    try:
        return stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    except ValueError:  # it is closed
        return False
