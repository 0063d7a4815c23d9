"""Signals that ask the exporter to end: it cleans up first, and never in the middle of a step.

Ctrl-C (SIGINT), SIGTERM (kill, docker stop) and SIGHUP (a closed terminal) are all one exception.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Ended(BaseException):
    """A signal came. As KeyboardInterrupt, it is no Exception: nothing shall take it for one."""

    def __init__(self, number: int):
        super().__init__(number)
        self.number = signal.Signals(number)
        self.published: str | None = None  # the directory of the model, if that was done by then


class _State:
    received: int | None = None
    deferrals = 0


@contextlib.contextmanager
def handled() -> Iterator[None]:
    """Makes the first signal that comes an Ended; later ones would only disturb the cleaning up.

    A signal that the parent process has set to be ignored, as nohup does, stays ignored.
    """
    _State.received, _State.deferrals = None, 0
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        for number, handler in before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, _receive)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def deferred() -> Iterator[None]:
    """A signal that comes while the block runs is raised when it has ended; one before, at once."""
    if _State.received is not None:  # raised before, and lost where Python drops exceptions
        raise Ended(_State.received)
    _State.deferrals += 1
    try:
        yield
    finally:
        _State.deferrals -= 1
    if _State.received is not None and not _State.deferrals:
        raise Ended(_State.received)


def _receive(number: int, _frame: FrameType | None) -> None:
    if _State.received is None:
        _State.received = number
        if not _State.deferrals:
            raise Ended(number)
