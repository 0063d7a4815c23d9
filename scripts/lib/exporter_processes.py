"""Exports in processes of their own that need not import the exporter, which takes a second.

Each is forked from a process that has imported it. Where the interpreter's own start matters, as
for closed standard streams, a test runs export_gpt2_kvcache.py instead.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120


class ExporterProcesses:
    """Starts them. To be closed."""

    def __init__(
        self, directory: Path, python: Path | str = sys.executable, command: str = "GPT2"
    ) -> None:
        """`directory` is for what they print; `python` runs the exporter.

        Args:
            command: which of cli.py's: ANY is export_kvcache.py, GPT2 export_gpt2_kvcache.py.
        """
        self._directory = directory
        self._server = subprocess.Popen(
            [python, __file__, command],
            env={**os.environ, "PYTHONPATH": str(ROOT / "python")},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._server.communicate()

    def run(
        self, *arguments: object, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return self.run_together([arguments], environment)[0]

    def run_together(
        self, exports: Sequence[Sequence[object]], environment: Mapping[str, str] | None = None
    ) -> list[subprocess.CompletedProcess[str]]:
        """Begins one for each list of arguments at the same moment, and waits for all."""
        return self.run_shares([[arguments] for arguments in exports], environment)

    def run_shares(
        self,
        shares: Sequence[Sequence[Sequence[object]]],
        environment: Mapping[str, str] | None = None,
    ) -> list[subprocess.CompletedProcess[str]]:
        """Begins one for each share at the same moment, and waits for all.

        Each runs its share's exports one after another, up to the first that fails; what one has
        made of the nodes serves the next.
        """
        requests = [
            {
                "exports": [list(map(str, arguments)) for arguments in share],
                "environment": dict(environment or {}),
                "streams": [str(self._directory / f"{name}-{i}") for name in ("out", "err")],
            }
            for i, share in enumerate(shares)
        ]
        self._server.stdin.write(json.dumps(requests) + "\n")
        self._server.stdin.flush()
        statuses = json.loads(self._server.stdout.readline())
        return [
            subprocess.CompletedProcess(
                request["exports"],
                status,
                *(Path(path).read_text() for path in request["streams"]),
            )
            for request, status in zip(requests, statuses, strict=True)
        ]


def _serve(command: str) -> None:
    from kvcache_export import cli, export  # noqa: F401 (the part that takes time)

    main = functools.partial(cli.main, command=getattr(cli, command))
    for line in sys.stdin:
        processes = [_fork(main, **request) for request in json.loads(line)]
        statuses = [os.waitpid(process, 0)[1] for process in processes]
        print(json.dumps([os.waitstatus_to_exitcode(status) for status in statuses]), flush=True)


def _fork(main, exports: list[list[str]], environment: dict[str, str], streams: list[str]) -> int:
    process = os.fork()
    if process:
        return process
    status = 70  # of an exception that main() lets through
    try:
        os.environ.update(environment)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for descriptor, path in enumerate(streams, start=1):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
        for arguments in exports:
            signal.alarm(TIMEOUT_S)
            status = main(arguments)
            if status != 0:
                break
        sys.stdout.flush()
    finally:
        os._exit(status)


if __name__ == "__main__":
    _serve(sys.argv[1])
