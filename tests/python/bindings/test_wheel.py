"""`pip install .` in a fresh virtual environment: a stranger's way to the package."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package, built by pip."""
    venv = tmp_path_factory.mktemp("wheel") / "venv"
    run(sys.executable, "-m", "venv", venv)
    wheels = venv.parent / "wheels"
    run(venv / "bin/python", "-m", "pip", "wheel", "--no-deps", "-w", wheels, ROOT)
    run(venv / "bin/python", "-m", "pip", "install", *wheels.iterdir())
    return venv


def run(*command: str | Path, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=clean | environment
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_ten_lines(venv: Path, model_dir: Path) -> None:
    program = f"""
import kvcache; m = kvcache.Model.load({str(model_dir)!r}); s = m.new_sequence()
l = s.extend([1, 2, 3]); f = s.fork(); s.rewind(2); s.evaluate([5, 6], [-1, 0])
print(l.argmax(), kvcache.__file__)
"""
    token, file = run(venv / "bin/python", "-c", program).split()
    assert token.isdecimal() and Path(file).is_relative_to(venv)


def test_the_program(venv: Path, model_dir: Path) -> None:
    assert "gpt2, plain" in run(venv / "bin/kvcache", "info", model_dir)
    ended = subprocess.run(
        [venv / "bin/kvcache", "info", "/missing"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2 and "/missing does not exist" in ended.stderr


def test_the_exporter(venv: Path, tmp_path: Path) -> None:
    golden = ROOT / "tests" / "goldens" / "plain"
    output = tmp_path / "out"
    said = run(venv / "bin/kvcache-export", "--model", golden, "--output-dir", output)
    assert "Model exported successfully" in said
    assert "gpt2, plain" in run(venv / "bin/kvcache", "info", output)


def test_what_is_in_the_wheel(venv: Path) -> None:
    (wheel,) = (venv.parent / "wheels").iterdir()
    tag = "cp312-abi3" if sys.version_info >= (3, 12) else "cp311-cp311"
    assert tag in wheel.name
    assert sysconfig.get_platform().replace("-", "_") in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        binaries = {name: archive.read(name) for name in names if re.search(r"\.so$|/bin/", name)}
    assert not [name for name in names if "onnxruntime.so" in name or "__pycache__" in name]
    assert {"kvcache/py.typed", "kvcache/_native.pyi", "kvcache_export/cli.py"} <= set(names)
    assert len(binaries) == 2
    assert [name for name, data in binaries.items() if os.fsencode(ROOT / ".deps") in data] == []
