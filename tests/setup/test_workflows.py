"""What the workflows of public CI call is here, so that they run what everybody runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from paths import ROOT

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
OF_SYSTEM = ("apt-get", "python3", "/tmp/", ".venv/bin/python")


def jobs(workflow: Path) -> dict[str, dict]:
    return yaml.safe_load(workflow.read_text())["jobs"]


def commands(workflow: Path) -> Iterator[list[str]]:
    for job in jobs(workflow).values():
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step), step
            if "run" in step:
                yield shlex.split(step["run"])


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_steps_are_scripts_of_the_repository(workflow: Path) -> None:
    called = []
    for words in commands(workflow):
        if not words[0].startswith(OF_SYSTEM):
            assert (ROOT / words[0]).is_file(), words
            module = {"test": "checks"}.get(Path(words[0]).name, Path(words[0]).name)
            source = (ROOT / "scripts" / "lib" / f"{module}.py").read_text()
            assert all(f'"{option}"' in source for option in words[1:]), words
            called.append(words[0])
    assert "scripts/test" in called


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_actions_have_a_version_and_jobs_an_end(workflow: Path) -> None:
    for name, job in jobs(workflow).items():
        assert job["timeout-minutes"] <= 350, name
        for step in job["steps"]:
            assert "@v" in step.get("uses", "@v"), step


def test_compilers_of_the_matrix() -> None:
    """GCC 12 is the one whose warnings are errors (scripts/lib/build.py)."""
    matrix = jobs(ROOT / ".github" / "workflows" / "test.yml")["test"]["strategy"]["matrix"]
    found = [entry["compiler"] for entry in matrix["include"]]
    assert found == ["g++-12", "g++-14", "clang++"]
