"""Every way in which an export can end, as an exit code and, for a failure, one line.

Nothing gets past it: what nobody foresaw is one line too, and its traceback is shown on demand.
"""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable

from . import console, signals
from .errors import ExportError, VerificationError
from .packages import INSTALL

EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_SIGNAL = 128  # and the signal's number

# With this variable set, the traceback of any failure comes before its line.
DEBUG = "KVCACHE_DEBUG"

# What libraries and the system say where memory or threads are lacking, in errors of many types.
NO_MEMORY = ("bad_alloc", "Cannot allocate memory", "failed to map segment")
NO_THREAD = ("pthread_create failed", "can't start new thread")


def run(work: Callable[[], None]) -> int:
    """Does the work; the process's exit code."""
    console.open_streams()
    try:
        with signals.handled(), warnings.catch_warnings():
            if not os.environ.get(DEBUG):
                warnings.simplefilter("ignore")  # of libraries, to their callers
            try:
                work()
                return 0
            except SystemExit:  # argparse has printed its help or an error
                raise
            except BaseException as error:
                message, code = _failure(error)
                if os.environ.get(DEBUG):
                    message = f"{message} (its traceback is above)"
                    console.trace(traceback.format_exc())
                console.fail(message)
                return code
    except signals.Ended as end:  # it came while the failure was reported
        return EXIT_SIGNAL + end.number
    finally:
        console.finish()


def _failure(error: BaseException) -> tuple[str, int]:
    """What the user reads, and the exit code."""
    if isinstance(error, VerificationError):
        return str(error), EXIT_FAILED
    if isinstance(error, signals.Ended):
        return _ended(error), EXIT_SIGNAL + error.number
    reason = _known_reason(error)
    if reason is not None:
        return reason, EXIT_BAD_INPUT
    described = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return (
        f"the exporter has made a mistake ({described}); please report it, with what it prints when"
        f" {DEBUG}=1 is set",
        EXIT_FAILED,
    )


def _known_reason(error: BaseException) -> str | None:
    """What the user can put right, and how."""
    text = str(error)
    if isinstance(error, ExportError):
        return text
    if _is_lack_of_memory(error):
        return (
            f"not enough memory{f' ({text})' if text else ''}; end other programs, export a smaller"
            " model, or take a machine (or limits) with more"
        )
    if any(part in text for part in NO_THREAD):
        return f"no thread can be made ({text}); raise the limit of processes (ulimit -u)"
    if isinstance(error, ModuleNotFoundError):
        return f"Python module {error.name!r} is missing; run: {INSTALL}"
    if isinstance(error, ImportError):
        return f"a Python package does not load: {text}; run: {INSTALL}"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or text or type(error).__name__
        return f"{where}{reason}; check that it can be read and written"
    return None


def _ended(end: signals.Ended) -> str:
    what = "interrupted" if end.number == signal.SIGINT else f"ended by {end.number.name}"
    return f"{what}, but {end.published} holds the new model" if end.published else what


def _is_lack_of_memory(error: BaseException) -> bool:
    """MemoryError, also as C++ and the system say it."""
    return isinstance(error, MemoryError) or any(part in str(error) for part in NO_MEMORY)
