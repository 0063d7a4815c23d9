"""Steps that say in one line what they do, how it went and how long it took."""

import os
import signal
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
    """A step that failed: what happened, the end of the output that shows it, what to do.

    Args:
        packages: those of Debian and Ubuntu whose installation would help.
    """

    def __init__(
        self,
        problem: str,
        *,
        advice: str = "",
        packages: Sequence[str] = (),
        output: str = "",
        exit_code: int | None = None,
    ) -> None:
        super().__init__(problem)
        self.problem = problem
        self.packages = packages
        self.output = output
        self.exit_code = exit_code
        self.advice = advice

    def what_to_do(self) -> str:
        """The advice, and what to install."""
        names = " ".join(self.packages)
        install = f"On Debian and Ubuntu: apt-get install {names}" if names else ""
        return "\n".join(filter(None, [self.advice, install]))

    def __str__(self) -> str:
        shown = self.output.rstrip().splitlines()[-SHOWN_OUTPUT_LINES:]
        return "\n".join([*shown, f"Error: {self.problem}", self.what_to_do()]).rstrip()


def check_all(*checks: Callable[[], object]) -> None:
    """Make every check; what they find is told together, in one StepError."""
    found = []
    for check in checks:
        try:
            check()
        except StepError as error:
            found.append(error)
    if len(found) == 1:
        raise found[0]
    if found:
        raise StepError(
            "\n  ".join([f"{len(found)} things are missing:", *(error.problem for error in found)]),
            advice="\n".join(filter(None, (error.advice for error in found))),
            packages=[package for error in found for package in error.packages],
            output="\n".join(filter(None, (error.output for error in found))),
        )


class Outcome:
    """What a step ends its line with."""

    def __init__(self) -> None:
        self.text = "done"
        self.seconds = 0.0  # once the block has ended


def say(text: object, *, end: str = "\n") -> None:
    """Print to standard output, at once.

    Raises:
        StepError: it cannot be written to.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        print(text, end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StepError(f"cannot write to standard output: {error.strerror}") from error


@contextmanager
def step(command: str, what: str, *, beside_others: bool = False) -> Iterator[Outcome]:
    """Print `[command] what ...` and, after the block, its outcome and the time it took.

    Args:
        beside_others: print the whole line at the end, as other steps end meanwhile.
    """
    begins = f"[{command}] {what} ... "
    if not beside_others:
        say(begins, end="")
        begins = ""
    outcome = Outcome()
    started = time.monotonic()
    try:
        yield outcome
    except BaseException:
        outcome.text = "failed"
        raise
    finally:
        outcome.seconds = time.monotonic() - started
        say(f"{begins}{outcome.text} ({outcome.seconds:.1f} s)\n", end="")


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
    """Run a command of scripts/ and exit with its status; a failed step ends in a message.

    Where nobody reads the output any more (`scripts/setup | head -1`) it ends without one, as
    SIGPIPE would have it.
    """
    try:
        status = command()
        if status < 0:  # that of a program which a signal ended
            status = 128 - status
    except StepError as error:
        print(error, file=sys.stderr)
        status = 1
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except BrokenPipeError:
        status = 128 + signal.SIGPIPE
    try:
        sys.stdout and sys.stdout.flush()
    except OSError:
        # What is left cannot be written, and Python would try once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
