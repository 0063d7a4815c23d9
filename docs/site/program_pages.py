"""The pages of the program and the exporter: what each command says of itself."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

COMMAND = re.compile(r"^  ([a-z][a-z-]*) {2,}\S", re.MULTILINE)


class ProgramError(Exception):
    """A program that does not say what its commands are."""


def program_page(program: Path) -> str:
    """The page of kvcache: its `--help` and that of each of its commands.

    Raises:
        ProgramError: it is another program, or does not start.
    """
    said = _help(program)
    if not commands(said):
        raise ProgramError(f"{program} --help lists no commands; kvcache's does")
    parts = ["# kvcache", f"```text\n{said}\n```"]
    for command in commands(said):
        parts += [f"## kvcache {command}", f"```text\n{_help(program, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def exporter_page(script: Path) -> str:
    """The page of the exporter: its `--help`."""
    return f"# {script.name}\n\n```text\n{_said(sys.executable, script, '--help')}\n```\n"


def commands(help_text: str) -> list[str]:
    """The commands that a help lists."""
    _, _, listed = help_text.partition("Subcommands:")
    return COMMAND.findall(listed)


def _help(program: Path, *command: str) -> str:
    return _said(program, *command, "--help")


def _said(*words: str | Path) -> str:
    columns = {**os.environ, "COLUMNS": "100"}  # argparse's; the program knows none
    ran = subprocess.run(words, capture_output=True, text=True, check=False, env=columns)
    if ran.returncode != 0:
        command = " ".join(map(str, words))
        raise ProgramError(f"`{command}` ended with {ran.returncode}: {ran.stderr.strip()}")
    return ran.stdout.rstrip()
