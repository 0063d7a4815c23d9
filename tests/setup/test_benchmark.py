"""scripts/benchmark from nothing, and again without a network."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from paths import ROOT

NO_NETWORK = dict.fromkeys(
    ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"
)
MADE = (".git", ".venv", ".deps", "build", "build-*", "models", "__pycache__")


@pytest.fixture
def fresh_tree(tmp_path: Path) -> Path:
    return shutil.copytree(ROOT, tmp_path / "tree", ignore=shutil.ignore_patterns(*MADE))


def run_until_program_speaks(tree: Path, environment: dict[str, str]) -> tuple[str, float]:
    """What scripts/benchmark prints before its program does, and how long that takes."""
    started = time.monotonic()
    process = subprocess.Popen(
        [tree / "scripts" / "benchmark", "--random-init", "gpt2", "--tokens", "16"],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout
    said = ""
    for line in process.stdout:
        if "Test 1" in line:
            process.terminate()
            process.wait()
            return said, time.monotonic() - started
        said += line
    pytest.fail(said)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--tokens", "many"], "invalid int value: 'many'"),
        (["--tokens", "0"], "--tokens is 0, must be 1 or more"),
        (["--model", "./nowhere"], "--model names ./nowhere, which does not exist"),
        (["--random-init", "gpt3"], "--random-init names gpt3, which does not exist"),
        (["--model", "gpt2", "--random-init", "gpt2"], "not allowed with argument"),
    ],
)
def test_wrong_arguments_are_told_before_anything_is_set_up(
    arguments: list[str], problem: str
) -> None:
    process = subprocess.run(
        [ROOT / "scripts" / "benchmark", *arguments], capture_output=True, text=True, check=False
    )
    assert process.returncode == 2
    assert process.stdout == ""
    assert problem in process.stderr


def test_a_missing_cuda_compiler_is_told_before_anything_is_set_up() -> None:
    process = subprocess.run(
        [ROOT / "scripts" / "benchmark", "--cuda"],
        env={**os.environ, "CUDACXX": "/nowhere/nvcc"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert process.stdout == ""
    assert "/nowhere/nvcc cannot be run" in process.stderr


@pytest.mark.full
def test_a_second_run_starts_within_seconds_and_without_network(fresh_tree: Path) -> None:
    run_until_program_speaks(fresh_tree, {})
    said, seconds = run_until_program_speaks(fresh_tree, NO_NETWORK)
    assert said.count("in place") >= 4, said
    assert seconds < 10, said
