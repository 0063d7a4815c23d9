"""What a command of scripts/ does when nobody reads it, or cannot read all letters."""

import os
import subprocess
import sys
from pathlib import Path

import disk
import pytest
from paths import ROOT
from steps import StepError

LIBRARY = ROOT / "scripts" / "lib"
TWO_STEPS = """
import sys
import steps

def command():
    with steps.step("setup", "one"):
        pass
    sys.stdin.readline()  # until the reader has gone
    with steps.step("setup", "two ✓"):
        pass
    return 0

steps.main(command)
"""


def start(**options: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", TWO_STEPS],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        **options,
    )


def test_a_reader_that_goes_away_ends_it_without_a_traceback() -> None:
    process = start(stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline().startswith("[setup] one ... done")
    process.stdout.close()
    _, errors = process.communicate("\n")
    assert errors == ""
    assert process.returncode == 141


def test_a_program_that_a_signal_ends_gives_the_status_of_a_shell() -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import steps; steps.main(lambda: -13)"],
        env={**os.environ, "PYTHONPATH": str(LIBRARY)},
        check=False,
    )
    assert process.returncode == 141


def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        process = start(stdout=full.fileno())
        _, errors = process.communicate("\n")
    assert errors == "Error: cannot write to standard output: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.parametrize("command", ["setup", "test", "benchmark", "peers"])
def test_help_with_standard_output_closed_or_in_ascii(command: str) -> None:
    script = ROOT / "scripts" / command
    closed = subprocess.run(
        ["bash", "-c", f"'{script}' --help >&-"], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in closed.stderr
    ascii_only = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "", "PYTHONUTF8": "0"}
    process = subprocess.run(
        [script, "--help"], env=ascii_only, capture_output=True, text=True, check=True
    )
    assert f"usage: scripts/{command}" in process.stdout


def test_a_first_run_says_what_it_takes_before_it_takes_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there, missing = tmp_path / "there", tmp_path / "missing"
    there.mkdir()
    disk.announce("setup", {there: 7}, minutes=1)
    assert capsys.readouterr().out == ""
    disk.announce("setup", {there: 7, missing: 20}, minutes=1)
    assert capsys.readouterr().out == "[setup] will take about 20 MB of disk in missing\n"
    with pytest.raises(StepError, match=r"MB are free in .*, 999999999 MB are needed"):
        disk.announce("setup", {missing: 999_999_999}, minutes=1)
