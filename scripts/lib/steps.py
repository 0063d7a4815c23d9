"""Steps that say in one line what they do, how it went and how long it took."""

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

SHOWN_OUTPUT_LINES = 80
SHOWN_COMMAND_WIDTH = 200


class StepError(Exception):
    """A step that failed: what happened, the end of the output that shows it, what to do."""

    def __init__(
        self, problem: str, *, advice: str = "", output: str = "", exit_code: int | None = None
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.advice = advice
        self.output = output
        self.exit_code = exit_code

    def __str__(self) -> str:
        shown = self.output.rstrip().splitlines()[-SHOWN_OUTPUT_LINES:]
        return "\n".join([*shown, f"Error: {self.problem}", self.advice]).rstrip()


class Outcome:
    """What a step ends its line with."""

    def __init__(self) -> None:
        self.text = "done"
        self.seconds = 0.0  # once the block has ended


@contextmanager
def step(command: str, what: str) -> Iterator[Outcome]:
    """Print `[command] what ...` and, after the block, its outcome and the time it took."""
    print(f"[{command}] {what} ... ", end="", flush=True)
    outcome = Outcome()
    started = time.monotonic()
    try:
        yield outcome
    except BaseException:
        outcome.text = "failed"
        raise
    finally:
        outcome.seconds = time.monotonic() - started
        print(f"{outcome.text} ({outcome.seconds:.1f} s)", flush=True)


def run(
    command: Sequence[str | Path],
    *,
    advice: str = "",
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command without showing its output; return the output, or raise StepError with it."""
    words = [str(word) for word in command]
    try:
        process = subprocess.run(
            words,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise StepError(f"{words[0]} cannot be run: {error.strerror}", advice=advice) from error
    if process.returncode != 0:
        shown = textwrap.shorten(" ".join(words), SHOWN_COMMAND_WIDTH)
        raise StepError(
            f"`{shown}` ended with {process.returncode}",
            advice=advice,
            output=process.stdout,
            exit_code=process.returncode,
        )
    return process.stdout


def main(command: Callable[[], int]) -> None:
    """Run a command of scripts/ and exit with its status; a failed step ends in a message."""
    try:
        sys.exit(command())
    except StepError as error:
        print(error, file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
