"""The virtual environment: one that was moved with its repository is made again."""

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import debian
import pytest
import python_environment
from steps import StepError, run


@pytest.fixture
def venv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An environment of its own that python_environment takes for .venv; pip in none.

    To install pip takes most of the time of making one.
    """

    def run_without_pip(command: list[str | Path]) -> str:
        return run([*command, "--without-pip"] if "venv" in command else command)

    monkeypatch.setattr(python_environment, "run", run_without_pip)
    folder = tmp_path / "here" / ".venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    take(folder, monkeypatch)
    return folder


def take(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_environment, "VENV", folder)
    monkeypatch.setattr(python_environment, "PYTHON", folder / "bin" / "python")


def test_one_in_its_place_is_kept(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[str] = []
    monkeypatch.setattr(python_environment, "pip", lambda *words: commands.append(words[0]))
    marker = venv / "marker"
    marker.touch()
    assert python_environment.install([], "nothing")
    assert not python_environment.install([], "nothing")
    assert commands == ["install"]
    assert marker.exists()


def test_a_moved_one_is_made_again(
    venv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Python still runs, but the programs beside it begin with the old place's path."""
    monkeypatch.setattr(python_environment, "pip", lambda *_: None)
    assert python_environment.install([], "nothing")
    moved = tmp_path / "there" / ".venv"
    shutil.move(tmp_path / "here", tmp_path / "there")
    take(moved, monkeypatch)
    assert subprocess.run([moved / "bin" / "python", "-c", ""], check=False).returncode == 0
    assert python_environment.install([], "nothing")
    assert str(moved) in (moved / "pyvenv.cfg").read_text()
    assert str(venv) not in (moved / "pyvenv.cfg").read_text()


def test_one_without_a_python_is_made_again(venv: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_environment, "pip", lambda *_: None)
    assert python_environment.install([], "nothing")
    (venv / "bin" / "python").unlink()
    assert python_environment.install([], "nothing")
    assert (venv / "bin" / "python").exists()


def test_missing_headers_are_installed_where_root_and_else_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = f"python3.{sys.version_info[1]}-dev"
    monkeypatch.setattr(sysconfig, "get_config_var", lambda _: str(tmp_path))
    installed: list[str] = []
    monkeypatch.setattr(debian, "install", installed.extend)
    monkeypatch.setattr(debian, "may_install", lambda: False)
    with pytest.raises(StepError, match=r"this Python's headers are missing \(Python\.h\)") as told:
        python_environment.check_headers()
    assert told.value.what_to_do() == f"On Debian and Ubuntu: apt-get install {package}"
    assert installed == []
    monkeypatch.setattr(debian, "may_install", lambda: True)
    python_environment.check_headers()
    assert installed == [package]
    (tmp_path / "Python.h").touch()
    python_environment.check_headers()
    assert installed == [package]
