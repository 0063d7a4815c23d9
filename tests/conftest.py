"""What all tests share."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest


@pytest.fixture
def heeded_signals() -> Iterator[None]:
    """Signals do what they do by default, though whoever started the tests had them ignored.

    nohup does so with SIGHUP, and a shell that is not interactive with SIGINT of what it starts in
    the background; processes hand that down to those that they start.
    """
    default = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in default if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, default[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)
