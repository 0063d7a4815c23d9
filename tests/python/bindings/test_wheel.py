"""`pip install .` of a fresh clone in a fresh virtual environment: as a stranger would."""

from __future__ import annotations

import os
import re
import shutil
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
    """A virtual environment with the package, built by pip without scripts/setup."""
    venv = tmp_path_factory.mktemp("wheel") / "venv"
    run(sys.executable, "-m", "venv", venv)
    clone(venv.parent / "clone")
    run(venv / "bin/python", "-m", "pip", "install", ".", cwd=venv.parent / "clone")
    return venv


def clone(folder: Path) -> None:
    """The files of the tree as they are now, without what git leaves alone."""
    listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # not deleted since the last commit
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name, follow_symlinks=False)


def run(*command: str | Path, cwd: Path = Path("/"), **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env=clean | environment
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def test_the_ten_lines(venv: Path, model_dir: Path) -> None:
    program = (
        f"import kvcache; m = kvcache.Model.load({str(model_dir)!r}); s = m.new_sequence(); "
        "l = s.extend([1, 2, 3]); f = s.fork(); s.rewind(2); "
        "s.evaluate([5, 6], [-1, 0]); l.argmax()"
    )
    run(venv / "bin/python", "-c", program)
    shown = "; print(l.argmax(), kvcache.__file__)"
    token, file = run(venv / "bin/python", "-c", program + shown).split()
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
    wheels = venv.parent / "wheels"
    source = venv.parent / "clone"
    run(venv / "bin/python", "-m", "pip", "wheel", "--no-deps", "-w", wheels, ".", cwd=source)
    (wheel,) = wheels.iterdir()
    tag = "cp312-abi3" if sys.version_info >= (3, 12) else "cp311-cp311"
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        version = f"cp3{sys.version_info.minor}"
        tag = f"{version}-{version}t"
    assert tag in wheel.name
    assert sysconfig.get_platform().replace("-", "_") in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        binaries = {name: archive.read(name) for name in names if re.search(r"\.so$|/bin/", name)}
    assert not [name for name in names if "onnxruntime.so" in name or "__pycache__" in name]
    assert {"kvcache/py.typed", "kvcache/_native.pyi", "kvcache_export/cli.py"} <= set(names)
    assert len(binaries) == 2
    assert [name for name, data in binaries.items() if os.fsencode(source / ".deps") in data] == []
