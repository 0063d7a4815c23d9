"""scripts/setup: what it finds missing, what it says, and unpacking without root."""

import os
import re
import subprocess
import zipfile
from pathlib import Path

import cpp_libraries
import debian
import onnx_runtime
import pytest
import python_environment
import setup
import toolchain
from paths import ROOT
from steps import StepError

NO_SUCH_LIBRARY = [cpp_libraries.Library("libnosuch-dev", "nosuch/nosuch.h")]


def test_a_library_is_found_wherever_cmake_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpp_libraries, "LIBRARIES", NO_SUCH_LIBRARY)
    assert cpp_libraries.missing_packages() == ["libnosuch-dev"]
    (tmp_path / "include" / "nosuch").mkdir(parents=True)
    (tmp_path / "include" / "nosuch" / "nosuch.h").touch()
    monkeypatch.setenv("CMAKE_PREFIX_PATH", f"/nowhere{os.pathsep}{tmp_path}")
    assert cpp_libraries.missing_packages() == []


def test_a_library_that_is_too_old_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ubuntu 22.04's Highway. A newer one in a prefix that is named comes before it."""
    for major in ("0", "1"):
        header = tmp_path / major / "include" / "hwy" / "base.h"
        header.parent.mkdir(parents=True)
        header.write_text(f"#define HWY_MAJOR {major}\n#define HWY_MINOR 16\n")
    old, new = tmp_path / "0", tmp_path / "1"
    monkeypatch.setenv("CMAKE_PREFIX_PATH", f"{old}{os.pathsep}{new}")
    with pytest.raises(StepError, match=r"Highway is 0\.x in .*, must be 1\.0 or later") as raised:
        cpp_libraries.provide()
    assert "CMAKE_PREFIX_PATH" in raised.value.advice
    monkeypatch.setenv("CMAKE_PREFIX_PATH", f"{new}{os.pathsep}{old}")
    cpp_libraries.check_versions()


def test_missing_libraries_are_named_where_there_is_no_apt(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cpp_libraries, "LIBRARIES", NO_SUCH_LIBRARY)
    monkeypatch.setattr(debian, "has_apt", lambda: False)
    with pytest.raises(StepError, match="libnosuch-dev") as raised:
        cpp_libraries.provide()
    assert "CMAKE_PREFIX_PATH" in raised.value.advice
    assert "failed" in capsys.readouterr().out


def test_all_that_is_missing_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No compiler, no libraries, no virtual environments: three things, one message."""
    monkeypatch.setattr(cpp_libraries, "LIBRARIES", NO_SUCH_LIBRARY)
    monkeypatch.setattr(debian, "has_apt", lambda: False)
    monkeypatch.setattr(python_environment, "_lacks_ensurepip", lambda: True)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(python_environment, "VENV_PACKAGE", "python3.99-venv")
    monkeypatch.setenv("ONNXRUNTIME_ROOT_DIR", "/nowhere/ort")
    with pytest.raises(StepError) as raised:
        setup.setup()
    told = str(raised.value)
    for problem in (
        "4 things are missing",
        "no C++ compiler found",
        "lacks the module ensurepip",
        "libnosuch-dev (Debian's names)",
        "/nowhere/ort, which is no directory",
        "apt-get install g++ python3.99-venv",
    ):
        assert problem in told
    assert "Python packages" not in capsys.readouterr().out  # nothing was fetched before


@pytest.mark.parametrize("root", [True, False])
def test_without_a_usable_source_of_packages_the_advice_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: bool
) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("""#!/bin/sh
case "$*" in
  *update*) echo "W: Failed to fetch http://archive.example/ubuntu" ;;
  *) echo "E: Unable to locate package libnosuch-dev"; exit 100 ;;
esac
""")
    apt.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(cpp_libraries, "LIBRARIES", NO_SUCH_LIBRARY)
    monkeypatch.setattr(debian, "has_apt", lambda: True)
    monkeypatch.setattr(debian, "may_install", lambda: root)
    with pytest.raises(StepError) as raised:
        cpp_libraries.provide()
    told = str(raised.value)
    assert "Failed to fetch http://archive.example/ubuntu" in told
    assert "/etc/apt/sources.list" in told
    assert "universe" in told
    assert "apt-get install libnosuch-dev" in told


def test_nothing_is_installed_where_that_is_forbidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debian, "has_apt", lambda: True)
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
    assert "apt-get install g++" in str(raised.value)


def test_a_compiler_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "c++"
    old.write_text("#!/bin/sh\necho \"unrecognized option '-std=c++20'\"\nexit 1\n")
    old.chmod(0o755)
    monkeypatch.setenv("CXX", str(old))
    with pytest.raises(StepError, match="cannot build a program of C\\+\\+20") as raised:
        toolchain.compiler()
    assert "unrecognized option" in str(raised.value)
    assert "g++ 11" in str(raised.value)


def test_a_compiler_with_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "c++ -m64 '-DTWO WORDS'")
    assert toolchain.compiler()[1:] == ["-m64", "-DTWO WORDS"]
    monkeypatch.setenv("CXX", "c++ -no-such-option")
    with pytest.raises(StepError, match="c\\+\\+ -no-such-option cannot build"):
        toolchain.compiler()
    monkeypatch.setenv("CXX", "c++ 'unfinished")
    with pytest.raises(StepError, match="No closing quotation"):
        toolchain.compiler()


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
        onnx_runtime.provide()


def test_the_headers_come_out_of_the_wheel_that_carries_them(tmp_path: Path) -> None:
    wheel = tmp_path / "carrier.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        core = "carrier/include/onnxruntime-1.17.0/onnxruntime/core"
        archive.writestr(f"{core}/session/onnxruntime_c_api.h", "c")
        archive.writestr(f"{core}/session/onnxruntime_cxx_api.h", "c++")
        archive.writestr(f"{core}/framework/float16.h", "not asked for")
        archive.writestr("carrier/other.h", "not asked for")
    onnx_runtime.unpack_headers(wheel, tmp_path / "include")
    assert {path.name: path.read_text() for path in (tmp_path / "include").iterdir()} == {
        "onnxruntime_c_api.h": "c",
        "onnxruntime_cxx_api.h": "c++",
    }


def test_a_wheel_without_headers(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "empty.whl", "w"):
        pass
    with pytest.raises(StepError, match=r"empty\.whl holds no ONNX Runtime headers"):
        onnx_runtime.unpack_headers(tmp_path / "empty.whl", tmp_path / "include")


def test_headers_out_of_reach(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PIP_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(StepError) as raised:
        onnx_runtime.fetch_headers(tmp_path / "include")
    assert "Is a Python package index in reach?" in raised.value.advice
    assert "set ONNXRUNTIME_ROOT_DIR to an unpacked release" in raised.value.advice


@pytest.mark.full
def test_the_pinned_wheel_holds_all_headers_that_are_included(tmp_path: Path) -> None:
    onnx_runtime.fetch_headers(tmp_path / "include")
    sources = [*(ROOT / "src").rglob("*.[ch]pp"), *(ROOT / "cli").rglob("*.[ch]pp")]
    included = {
        name
        for source in sources
        for name in re.findall(r"#include <(onnxruntime\w*\.h)>", source.read_text())
    }
    assert included
    assert {path.name for path in (tmp_path / "include").iterdir()} >= included


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
    assert "apt-get install g++" in process.stderr  # all at once


def test_a_newer_python_beside_the_machines_is_taken(tmp_path: Path) -> None:
    """As on Ubuntu 22.04: python3 is 3.10, and python3.11 is a package of its own."""
    for program in ("bash", "dirname"):
        (tmp_path / program).symlink_to(Path("/usr/bin") / program)
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 1\n")  # too old, it says
    (tmp_path / "python3.11").write_text('#!/bin/sh\necho "took python3.11: $*"\n')
    for name in ("python3", "python3.11"):
        (tmp_path / name).chmod(0o755)
    output = subprocess.run(
        [ROOT / "scripts" / "setup"],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "took python3.11: -X utf8" in output


@pytest.mark.parametrize("command", ["setup", "benchmark", "test"])
def test_help(command: str) -> None:
    process = subprocess.run(
        [ROOT / "scripts" / command, "--help"], capture_output=True, text=True, check=True
    )
    assert f"usage: scripts/{command}" in process.stdout
