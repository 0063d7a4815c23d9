"""An address at which no Ray head answers is told of soon, with what to do."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from self_play_ray.errors import ClusterError
from self_play_ray.reach import PREFACE, check_answer, found_by_auto

WHAT_TO_DO = "Is its head running"


@contextmanager
def server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of one that answers the first connection so, and then lets it wait."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        kept: list[socket.socket] = []

        def serve() -> None:
            connection, _ = listening.accept()
            kept.append(connection)
            answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            thread.join()
            kept[0].close()


def refusal(address: str, seconds: float = 5) -> str:
    began = time.monotonic()
    with pytest.raises(ClusterError) as told:
        check_answer(address, seconds=seconds)
    assert time.monotonic() - began < seconds + 2
    return str(told.value)


@pytest.mark.parametrize(
    "address", ["head", "head:", ":6379", "head:0", "head:65536", "http://head:1", "h:1/x", ""]
)
def test_what_is_no_address_is_told(address: str) -> None:
    assert f"{address} is no address of a Ray cluster: give HOST:PORT" in refusal(address)


def test_nobody_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    text = refusal(f"127.0.0.1:{port}")
    assert f"no Ray cluster answers at 127.0.0.1:{port}: Connection refused." in text
    assert WHAT_TO_DO in text


def test_a_name_that_nobody_has_is_told() -> None:
    text = refusal("no-such-host.invalid:6379", seconds=15)
    assert text.startswith("no Ray cluster answers at no-such-host.invalid:6379: ")
    assert WHAT_TO_DO in text


def test_one_that_says_nothing_is_told_in_time() -> None:
    with server(lambda _: None) as address:
        text = refusal(address, seconds=0.5)
    assert f"at {address}: nothing has answered for 0.5 s. {WHAT_TO_DO}" in text


def test_one_that_trickles_is_told_in_time() -> None:
    def trickle(connection: socket.socket) -> None:
        for _ in range(3):
            connection.sendall(b"\0")
            time.sleep(0.3)

    with server(trickle) as address:
        assert "nothing has answered for 0.5 s" in refusal(address, seconds=0.5)


@pytest.mark.parametrize("says", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"-ERR"])
def test_another_service_is_told(says: bytes) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(says)
        connection.shutdown(socket.SHUT_WR)

    with server(answer) as address:
        assert f"what answers is no Ray head: it says {says[:9]!r}" in refusal(address)


def test_one_that_speaks_as_a_head_is_believed() -> None:
    heard = []

    def answer(connection: socket.socket) -> None:
        heard.append(connection.recv(len(PREFACE), socket.MSG_WAITALL))
        connection.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))

    for scheme in ("", "ray://"):
        with server(answer) as address:
            check_answer(f"{scheme}{address}", seconds=5)
    assert heard == [PREFACE, PREFACE]


def test_auto_is_what_ray_takes_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    assert found_by_auto() is None
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("192.0.2.1:6379\n")
    assert found_by_auto() == "192.0.2.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert found_by_auto() == "head:6379"
