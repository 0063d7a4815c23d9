"""What the wheel asks for and has, without making one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import tomllib

import kvcache
from kvcache import _onnxruntime

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
BUILT = Path(kvcache.__file__).parent.parent


def pins(path: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(BUILT), **environment},
        check=False,
    )


def test_dependencies_are_those_of_the_repository() -> None:
    """The wheel takes newer ones too; of onnxruntime, what __init__ checks."""
    wanted = {name: f">={version}" for name, version in pins(ROOT / "requirements.txt").items()}
    oldest, before = (
        ".".join(map(str, part)) for part in (_onnxruntime.OLDEST, _onnxruntime.BEFORE)
    )
    wanted["onnxruntime"] = f">={oldest},<{before}"
    found = dict(
        re.fullmatch(r"([\w-]+)(.*)", line).groups()  # type: ignore[union-attr]
        for line in PROJECT["project"]["dependencies"]
    )
    assert found == wanted
    assert f"onnxruntime{wanted['onnxruntime']}" in _onnxruntime.INSTALL


def test_the_build_uses_one_nanobind() -> None:
    version = pins(ROOT / "requirements-dev.txt")["nanobind"]
    assert f"nanobind=={version}" in PROJECT["build-system"]["requires"]
    assert all("==" in package for package in PROJECT["build-system"]["requires"])


def test_versions(model: kvcache.Model) -> None:
    lists = (ROOT / "CMakeLists.txt").read_text()
    found = re.search(PROJECT["tool"]["scikit-build"]["metadata"]["version"]["regex"], lists)
    assert found and found["value"] == kvcache.__version__
    assert tuple(map(int, kvcache.onnxruntime_version.split("."))) >= _onnxruntime.OLDEST


def test_one_onnxruntime_is_mapped_and_nothing_of_its_package_is_run() -> None:
    program = """
import sys, kvcache
maps = open("/proc/self/maps").read()
print(sorted({line.split()[-1] for line in maps.splitlines() if "onnxruntime" in line}))
print([name for name in sys.modules if name.startswith("onnxruntime")])
"""
    ended = run_python(program)
    assert ended.stdout == f"{[str(_onnxruntime.find())]}\n[]\n", ended.stderr


def test_the_extension_is_linked_with_no_onnxruntime() -> None:
    (extension,) = (BUILT / "kvcache").glob("_native*.so")
    dynamic = subprocess.run(
        ["readelf", "--dynamic", extension], capture_output=True, text=True, check=True
    ).stdout
    assert "libonnxruntime" not in dynamic.replace("RUNPATH", "").split("Library runpath")[0]


@pytest.mark.parametrize("first", ["kvcache", "onnxruntime"])
def test_beside_the_package_onnxruntime(model_dir: Path, first: str) -> None:
    """Its extension has a copy of its own within; whoever comes first, both work."""
    second = {"kvcache": "onnxruntime", "onnxruntime": "kvcache"}[first]
    program = f"""
import {first}
import {second}
session = onnxruntime.InferenceSession({str(model_dir / "gpt2_with_cache.onnx")!r})
print(kvcache.Model.load({str(model_dir)!r}).new_sequence().extend([1, 2]).argmax())
"""
    ended = run_python(program, ORT_DISABLE_TELEMETRY="1")
    assert ended.returncode == 0, ended.stderr
    expected = kvcache.Model.load(model_dir).new_sequence().extend([1, 2]).argmax()
    assert ended.stdout == f"{expected}\n"


def package(folder: Path, *files: str) -> dict[str, str]:
    """A package onnxruntime that is found before the installed one."""
    capi = folder / "onnxruntime" / "capi"
    capi.mkdir(parents=True)
    (folder / "onnxruntime" / "__init__.py").touch()
    for file in files:
        (capi / file).touch()
    return {"PYTHONPATH": f"{folder}:{BUILT}"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (
            ["libonnxruntime.so.1.24.0"],
            "onnxruntime is 1.24.0, must be 1.31.1 or newer, below 1.32",
        ),
        (
            ["libonnxruntime.so.1.32.0"],
            "onnxruntime is 1.32.0, must be 1.31.1 or newer, below 1.32",
        ),
        ([], "holds no libonnxruntime.so"),
    ],
)
def test_no_library_that_fits_is_told(tmp_path: Path, files: list[str], expected: str) -> None:
    ended = run_python("import kvcache", **package(tmp_path, *files))
    assert "ImportError: " in ended.stderr and expected in ended.stderr
    assert _onnxruntime.INSTALL in ended.stderr


def test_another_file_is_named_by_the_environment() -> None:
    named = run_python("import kvcache", KVCACHE_ONNXRUNTIME="/missing")
    assert "KVCACHE_ONNXRUNTIME names /missing, which is no file" in named.stderr


def test_a_free_threaded_python_stays_one() -> None:
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("this Python has an interpreter's lock")
    ended = run_python("import sys, kvcache; print(sys._is_gil_enabled())")
    assert ended.stdout == "False\n", ended.stderr


def test_the_extension_alone_says_what_it_lacks() -> None:
    program = f"import sys; sys.path[0] = {str(BUILT / 'kvcache')!r}; import _native"
    ended = run_python(program, PYTHONPATH="")
    assert "ImportError: kvcache._native found no ONNX Runtime that is new enough" in ended.stderr
