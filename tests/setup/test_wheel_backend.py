"""The wheel's build backend: what it asks pip for, and what it says where something is missing."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import cpp_libraries
import onnx_runtime
import pytest
import tomllib
from paths import ROOT
from steps import StepError

HOOKS = (
    *("build_editable", "build_sdist", "build_wheel"),
    *("prepare_metadata_for_build_editable", "prepare_metadata_for_build_wheel"),
    *("get_requires_for_build_editable", "get_requires_for_build_sdist"),
    "get_requires_for_build_wheel",
)


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """It, over a scikit-build-core that tells what it is asked."""
    theirs = ModuleType("scikit_build_core.build")
    for hook in HOOKS:
        of_requires = hook.startswith("get_requires")
        setattr(theirs, hook, lambda *asked, o=of_requires, h=hook: ["ninja"] if o else (h, *asked))
    package = ModuleType("scikit_build_core")
    package.build = theirs  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "scikit_build_core", package)
    monkeypatch.setitem(sys.modules, "scikit_build_core.build", theirs)
    monkeypatch.delitem(sys.modules, "wheel_backend", raising=False)
    monkeypatch.setenv("KVCACHE_SETUP_NO_ROOT", "")  # so that it is put back
    monkeypatch.delenv("KVCACHE_SETUP_NO_ROOT")
    made = importlib.import_module("wheel_backend")
    monkeypatch.setattr(made, "DEPS", tmp_path / "deps")
    return made


def test_it_is_the_backend_and_has_every_hook(backend: ModuleType) -> None:
    system = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]
    assert system["build-backend"] == "wheel_backend"
    assert [ROOT / folder for folder in system["backend-path"]] == [Path(backend.__file__).parent]
    assert set(backend.__all__) == set(HOOKS)


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_pip_fetches_onnx_runtime_where_there_is_none(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    requires = getattr(backend, f"get_requires_for_build_{kind}")
    monkeypatch.setattr(onnx_runtime, "is_there", lambda: True)
    assert requires() == ["ninja"]
    monkeypatch.setattr(onnx_runtime, "is_there", lambda: False)
    pinned = [line for line in (ROOT / "requirements.txt").read_text().split() if "time==" in line]
    assert requires() == ["ninja", "pip", *pinned]


@pytest.mark.parametrize("kind", ["wheel", "editable"])
def test_what_is_missing_is_provided_before_the_build_and_nothing_is_installed(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    done: list[object] = []
    monkeypatch.setattr(cpp_libraries, "provide", lambda **options: done.append(options))
    monkeypatch.setattr(onnx_runtime, "is_there", lambda: False)
    monkeypatch.setattr(onnx_runtime, "provide", done.append)
    built = getattr(backend, f"build_{kind}")("wheels", None, "metadata")
    assert built == (f"build_{kind}", "wheels", None, "metadata")
    assert done[0] == {"tests": False} and Path(sys.prefix) in {
        parent for path in done[1] for parent in path.parents
    }
    assert backend.os.environ["KVCACHE_SETUP_NO_ROOT"] == "1"


def test_what_cannot_be_provided_is_told(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "/nowhere/c++")
    with pytest.raises(SystemExit) as raised:
        backend.build_wheel("wheels")
    said = str(raised.value)
    assert "kvcache cannot be built here.\nError: no C++ compiler found" in said
    assert "apt-get install g++" in said

    def fail(**_: object) -> None:
        raise StepError("no archive", packages=["libfmt-dev"])

    monkeypatch.delenv("CXX")
    monkeypatch.setattr(cpp_libraries, "provide", fail)
    with pytest.raises(SystemExit, match="no archive\nOn Debian and Ubuntu: apt-get install libf"):
        backend.build_wheel("wheels")


def test_libraries_of_the_tests_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [
        cpp_libraries.Library("libnosuch-dev", "nosuch/nosuch.h"),
        cpp_libraries.Library("libnotests-dev", "notests/notests.h", only_for_tests=True),
    ]
    monkeypatch.setattr(cpp_libraries, "LIBRARIES", missing)
    assert cpp_libraries.missing_packages(tests=False) == ["libnosuch-dev"]
    assert cpp_libraries.missing_packages() == ["libnosuch-dev", "libnotests-dev"]


def test_a_wheel_s_library_is_found_beside_its_other_requirements(tmp_path: Path) -> None:
    library = tmp_path / "second" / "onnxruntime" / "capi" / "libonnxruntime.so.1.2.3"
    library.parent.mkdir(parents=True)
    library.touch()
    folders = [tmp_path / "first", tmp_path / "second"]
    assert onnx_runtime._wheel_library(folders) == library
    with pytest.raises(StepError, match="first holds no libonnxruntime"):
        onnx_runtime._wheel_library(folders[:1])
