"""What a first run takes, said before it is taken."""

import shutil
from collections.abc import Mapping
from pathlib import Path

from paths import BUILD, DEPS, MODELS, ROOT, VENV
from steps import StepError, say

# Megabytes, rounded up: of everything, of what scripts/benchmark adds and what scripts/test adds.
SETUP = {VENV: 550, DEPS: 50}
BENCHMARK = {**SETUP, MODELS: 500, BUILD: 50}
TEST = {**SETUP, VENV: 770, BUILD: 300, ROOT / "build-asan": 200}


def announce(command: str, needed: Mapping[Path, int], *, minutes: int) -> None:
    """Say what a command is going to take in folders that are not there, if there are any.

    Args:
        needed: for each folder, its megabytes.
        minutes: how long the command takes on two cores when nothing is there.

    Raises:
        StepError: so much is not free.
    """
    missing = {folder: size for folder, size in needed.items() if not folder.exists()}
    total = sum(missing.values())
    if not missing:
        return
    names = ", ".join(folder.name for folder in missing)
    time = f"; from nothing it takes about {minutes} minutes on 2 cores" if VENV in missing else ""
    say(f"[{command}] will take about {total} MB of disk in {names}{time}")
    free = shutil.disk_usage(ROOT).free // 1_000_000
    if free < total:
        raise StepError(
            f"{free} MB are free in {ROOT}, {total} MB are needed",
            advice="Make room, or put the repository on another disk.",
        )
