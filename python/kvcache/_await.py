"""Requests of an Evaluator in asyncio."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._native import Answer, Request


def answered(request: Request) -> Generator[Any, None, Answer]:
    """What `await request` runs: the loop goes on until the evaluator's thread calls back.

    A task that is cancelled meanwhile cancels its request.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not future.done():
            future.set_result(None)

    def call(_: Request) -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(wake)

    request.add_done_callback(call)
    try:
        yield from future
    except asyncio.CancelledError:
        request.cancel()
        raise
    return request.result()
