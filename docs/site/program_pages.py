"""The page of the program: what each command says of itself."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

COMMAND = re.compile(r"^  ([a-z][a-z-]*) {2,}\S", re.MULTILINE)


def program_page(program: Path) -> str:
    """The page of kvcache: its `--help` and that of each of its commands."""
    said = _help(program)
    parts = ["# kvcache", f"```text\n{said}\n```"]
    for command in commands(said):
        parts += [f"## kvcache {command}", f"```text\n{_help(program, command)}\n```"]
    return "\n\n".join(parts) + "\n"


def commands(help_text: str) -> list[str]:
    """The commands that a help lists."""
    _, _, listed = help_text.partition("Subcommands:")
    return COMMAND.findall(listed)


def _help(program: Path, *command: str) -> str:
    words = [str(program), *command, "--help"]
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.rstrip()
