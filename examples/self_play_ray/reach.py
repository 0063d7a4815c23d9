"""Whether a cluster's head answers, before Ray is asked to join it: Ray tries for minutes."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from self_play_ray.errors import ClusterError

SECONDS = 10  # until what answers has answered
# What a client of HTTP/2, and so of gRPC, begins with: its preface and an empty frame of settings.
# The server's first frame is one of settings too (RFC 9113, 3.4).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
FRAME_HEADER, FRAME_TYPE, SETTINGS = 9, 3, 4
_ADDRESS = re.compile(r"(?:ray://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")


def found_by_auto() -> str | None:
    """The address that Ray takes for `auto`, which may be of a head that is gone; None: none."""
    if os.environ.get("RAY_ADDRESS", "auto") != "auto":
        return os.environ["RAY_ADDRESS"]
    temporary = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    try:  # where `ray start` notes it
        return Path(temporary, "ray", "ray_current_cluster").read_text(encoding="utf-8").strip()
    except OSError:
        return None


def check_answer(address: str, *, seconds: float = SECONDS) -> None:
    """Return where something answers at [ray://]HOST:PORT as a Ray head does.

    Raises:
        ClusterError: the address is none, nothing answers there, or what answers is no Ray head.
    """
    parts = _ADDRESS.fullmatch(address)
    if parts is None or not 0 < int(parts["port"]) < 1 << 16:
        raise ClusterError(
            f"{address} is no address of a Ray cluster: give HOST:PORT of its head, such as"
            " head.example:6379, auto for the one that this machine is part of, or local"
        )
    try:
        answer = _first_frame(parts["host"].strip("[]"), int(parts["port"]), seconds)
    except TimeoutError:
        raise _out_of_reach(address, f"nothing has answered for {seconds:g} s") from None
    except OSError as error:
        raise _out_of_reach(address, error.strerror or str(error)) from error
    if answer is not None and (len(answer) < FRAME_HEADER or answer[FRAME_TYPE] != SETTINGS):
        raise _out_of_reach(address, f"what answers is no Ray head: it says {answer!r}")


def _first_frame(host: str, port: int, seconds: float) -> bytes | None:
    """The header of what a server of HTTP/2 says first; None where it speaks TLS."""
    until = time.monotonic() + seconds
    with socket.create_connection((host, port), timeout=seconds) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", ""):
            return None  # it takes Ray's certificates to hear more
        connection.sendall(PREFACE)
        answer = b""
        while len(answer) < FRAME_HEADER:
            connection.settimeout(max(0.001, until - time.monotonic()))
            more = connection.recv(FRAME_HEADER - len(answer))
            if not more:
                break
            answer += more
        return answer


def _out_of_reach(address: str, why: str) -> ClusterError:
    return ClusterError(
        f"no Ray cluster answers at {address}: {why}. Is its head running (`ray start --head` on"
        " that machine, `ray status` there), is this its address and port (6379 unless told"
        " otherwise), and may this machine reach it?"
    )
