"""What the user reads. Nothing that is wrong with standard output or error fails an export."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import TextIO


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


def progress(step: str) -> None:
    """Shows the current step on a terminal, over the one before; an empty step clears the line."""
    if _is_terminal(sys.stderr):
        _write(sys.stderr, f"\r\033[K{step}")


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
        return stream.isatty()
    except ValueError:  # it is closed
        return False
