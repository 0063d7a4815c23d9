"""scripts/setup: what it finds missing, what it says, and unpacking without root."""

import os
import subprocess
from pathlib import Path

import debian
import pytest
import setup
import toolchain
from paths import ROOT
from steps import StepError


def test_a_library_is_found_wherever_cmake_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(setup, "LIBRARIES", {"libnosuch-dev": "nosuch/nosuch.h"})
    assert setup.missing_libraries() == ["libnosuch-dev"]
    (tmp_path / "include" / "nosuch").mkdir(parents=True)
    (tmp_path / "include" / "nosuch" / "nosuch.h").touch()
    monkeypatch.setenv("CMAKE_PREFIX_PATH", f"/nowhere{os.pathsep}{tmp_path}")
    assert setup.missing_libraries() == []


def test_missing_libraries_are_named_where_there_is_no_apt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(setup, "LIBRARIES", {"libnosuch-dev": "nosuch/nosuch.h"})
    monkeypatch.setattr(debian, "has_apt", lambda: False)
    with pytest.raises(StepError, match="libnosuch-dev") as raised:
        setup.install_libraries()
    assert "CMAKE_PREFIX_PATH" in raised.value.advice
    assert "failed" in capsys.readouterr().out


def test_nothing_is_installed_where_that_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert debian.may_install()
    monkeypatch.setenv("KVCACHE_SETUP_NO_ROOT", "1")
    assert not debian.may_install()


def test_links_to_installed_libraries_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a development package whose library was installed before: libx.so -> libx.so.1."""
    installed = tmp_path / "usr" / "lib"
    installed.mkdir(parents=True)
    (installed / "libx.so.1.2").write_text("the library")
    (installed / "libx.so.1").symlink_to("libx.so.1.2")
    unpacked = tmp_path / "deps" / "usr" / "lib"
    unpacked.mkdir(parents=True)
    (unpacked / "libx.so").symlink_to("libx.so.1")

    debian.complete_links(tmp_path / "deps", installed_root=tmp_path)

    for name in ("libx.so", "libx.so.1", "libx.so.1.2"):
        assert (unpacked / name).read_text() == "the library"


@pytest.mark.full
@pytest.mark.skipif(not debian.has_apt(), reason="this machine has no apt")
def test_packages_are_fetched_and_unpacked_without_root(tmp_path: Path) -> None:
    apt = debian.PrivateApt(tmp_path / "apt")
    apt.update()
    apt.download("libxxhash-dev")
    apt.unpack(tmp_path / "root")
    debian.complete_links(tmp_path / "root")
    assert (tmp_path / "root" / "usr" / "include" / "xxhash.h").exists()
    links = list((tmp_path / "root").rglob("libxxhash.so"))
    assert links
    assert all(link.exists() for link in links)


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(StepError, match="no C\\+\\+ compiler found") as raised:
        toolchain.compiler()
    assert "apt-get install g++" in raised.value.advice


def test_a_compiler_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "c++"
    old.write_text("#!/bin/sh\necho \"unrecognized option '-std=c++20'\"\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    with pytest.raises(StepError) as raised:
        toolchain.compiler()
    assert "unrecognized option" in str(raised.value)
    assert "g++ 11" in str(raised.value)


def test_a_cmake_that_is_too_old_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cmake = tmp_path / "cmake"
    cmake.write_text("#!/bin/sh\necho cmake version 3.20.6\n")
    cmake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert toolchain.machine_cmake() is None
    assert toolchain.cmake().endswith(".venv/bin/cmake")


def test_a_chosen_onnx_runtime_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXRUNTIME_ROOT_DIR", "/nowhere/ort")
    with pytest.raises(StepError, match="/nowhere/ort, which is no directory"):
        setup.provide_onnx_runtime()


def test_a_python_that_is_too_old_is_told(tmp_path: Path) -> None:
    """scripts/setup before any Python of ours runs: with a PATH that holds none."""
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    process = subprocess.run(
        [ROOT / "scripts" / "setup"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 1
    assert "Python 3.11 or newer is needed" in process.stderr
    assert "apt-get install python3" in process.stderr


@pytest.mark.parametrize("command", ["setup", "benchmark", "test"])
def test_help(command: str) -> None:
    process = subprocess.run(
        [ROOT / "scripts" / command, "--help"], capture_output=True, text=True, check=True
    )
    assert f"usage: scripts/{command}" in process.stdout
