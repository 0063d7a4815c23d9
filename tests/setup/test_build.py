"""Configuring: what a build directory was made for, and how many compilers run."""

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import benchmark
import build
import checks
import peers
import pytest
import toolchain
from paths import BUILD
from steps import StepError

GIB = 1 << 30


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project in place of this repository."""
    for name in (*build.REMEMBERED, "CXX", "KVCACHE_WARNINGS_AS_ERRORS", "KVCACHE_JOBS"):
        monkeypatch.delenv(name, raising=False)
    source = tmp_path / "source"
    source.mkdir()
    (source / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.21)\nproject(probe LANGUAGES CXX)\n"
        "add_executable(probe probe.cpp)\n"
    )
    (source / "probe.cpp").write_text("int main() {}\n")
    monkeypatch.setattr(build, "ROOT", source)
    yield source


def commands(directory: Path) -> str:
    return json.loads((directory / "compile_commands.json").read_text())[0]["command"]


def test_a_directory_is_kept_while_nothing_changes(project: Path) -> None:
    directory = project / "build"
    assert build.configure(directory, "Release") == ""
    build.build(directory)
    program = (directory / "probe").stat().st_mtime_ns
    assert build.configure(directory, "Release") == ""
    build.build(directory)
    assert (directory / "probe").stat().st_mtime_ns == program


def test_every_command_configures_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that scripts/test does not compile again what scripts/benchmark compiled."""
    asked: list[object] = []
    monkeypatch.setattr(
        build, "configure", lambda *words, **options: asked.append((words, options))
    )
    monkeypatch.setattr(build, "build", lambda *_: None)
    monkeypatch.setattr(peers, "setup", lambda: None)
    monkeypatch.setattr(peers.subprocess, "run", lambda *_, **__: argparse.Namespace(returncode=0))
    monkeypatch.setattr(sys, "argv", ["scripts/peers"])
    benchmark._build(BUILD)
    checks._build_release()
    peers._command()
    adds_a_target = {"KVCACHE_BUILD_PYTHON": "ON"}  # and leaves the others as they are
    assert asked == [((BUILD, "Release"), options) for options in ({}, adds_a_target, {})]


def test_another_compiler_begins_anew(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = project / "build"
    build.configure(directory, "Release")
    other = project / "other-c++"
    other.symlink_to(toolchain.compiler()[0])
    monkeypatch.setenv("CXX", f"{other} -m64")
    assert f"is {other} -m64" in build.configure(directory, "Release")
    assert commands(directory).split()[:2] == [str(other), "-m64"]
    build.build(directory)


def test_a_truncated_stamp_begins_anew(project: Path) -> None:
    directory = project / "build"
    build.configure(directory, "Release")
    (directory / build.STAMP).write_text("{")
    assert "cannot be read" in build.configure(directory, "Release")
    assert build.configure(directory, "Release") == ""


def test_another_cuda_compiler_begins_anew(project: Path) -> None:
    directory = project / "build"
    build.configure(directory, "Release", CMAKE_CUDA_COMPILER="/old/nvcc")
    why = build.configure(directory, "Release", CMAKE_CUDA_COMPILER="/new/nvcc")
    assert why == "configured anew: CUDA compiler was /old/nvcc, is /new/nvcc"


def test_flags_of_the_environment_count_in_an_old_directory_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = project / "build"
    build.configure(directory, "Release")
    monkeypatch.setenv("CXXFLAGS", "-DGIVEN_LATER")
    assert "CXXFLAGS was unset, is -DGIVEN_LATER" in build.configure(directory, "Release")
    assert "-DGIVEN_LATER" in commands(directory)


def test_a_moved_repository_builds(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build.configure(project / "build", "Release")
    build.build(project / "build")
    moved = project.parent / "moved"
    shutil.move(project, moved)
    monkeypatch.setattr(build, "ROOT", moved)
    assert f"is {moved}" in build.configure(moved / "build", "Release")
    build.build(moved / "build")


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_a_directory_configured_by_hand_keeps_its_generator_and_options(project: Path) -> None:
    directory = project / "build"
    build.run([toolchain.cmake(), "-S", project, "-B", directory, "-G", "Unix Makefiles", "-DX=1"])
    assert build.configure(directory, "Release") == ""
    build.build(directory)
    assert (directory / "Makefile").exists()
    assert "X:UNINITIALIZED=1" in (directory / "CMakeCache.txt").read_text()


def test_warnings_are_errors_only_with_compilers_whose_warnings_are_known(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def as_errors(directory: str) -> str:
        build.configure(project / directory, "Release")
        cache = (project / directory / "CMakeCache.txt").read_text()
        return cache.partition("KVCACHE_WARNINGS_AS_ERRORS:UNINITIALIZED=")[2].split()[0]

    monkeypatch.setattr(toolchain, "compiler_version", lambda: ("GNU", 12))
    assert as_errors("known") == "ON"
    monkeypatch.setattr(toolchain, "compiler_version", lambda: ("GNU", 99))
    assert as_errors("unknown") == "OFF"
    monkeypatch.setenv("KVCACHE_WARNINGS_AS_ERRORS", "ON")
    assert as_errors("unknown") == "ON"


def test_a_warning_taken_for_an_error_says_how_it_passes(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXXFLAGS", "-Werror -Wall")
    (project / "probe.cpp").write_text("int main() { int unused; }\n")
    build.configure(project / "build", "Release")
    with pytest.raises(StepError) as raised:
        build.build(project / "build")
    assert "KVCACHE_WARNINGS_AS_ERRORS=OFF" in raised.value.advice


def machine(root: Path, available: int, group: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": f"MemAvailable: {available >> 10} kB\n", **group}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_memory_is_what_machine_and_control_group_leave(tmp_path: Path) -> None:
    memory = build.available_memory
    assert memory(machine(tmp_path / "none", 8 * GIB, {})) == 8 * GIB
    limit = {"sys/fs/cgroup/memory.max": f"{4 * GIB}", "sys/fs/cgroup/memory.current": f"{GIB}"}
    assert memory(machine(tmp_path / "v2", 8 * GIB, limit)) == 3 * GIB
    limit["sys/fs/cgroup/memory.max"] = "max"
    assert memory(machine(tmp_path / "unlimited", 8 * GIB, limit)) == 8 * GIB
    folder = "sys/fs/cgroup/memory"
    limit = {
        f"{folder}/memory.limit_in_bytes": f"{2 * GIB}",
        f"{folder}/memory.usage_in_bytes": "0",
    }
    assert memory(machine(tmp_path / "v1", 8 * GIB, limit)) == 2 * GIB


def test_jobs_fit_into_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KVCACHE_JOBS", raising=False)
    monkeypatch.setattr(build.os, "sched_getaffinity", lambda _: set(range(64)))
    for gibibytes, jobs in ((0, 1), (1, 1), (4, 2), (1024, 64)):
        monkeypatch.setattr(build, "available_memory", lambda size=gibibytes * GIB: size)
        assert build.jobs() == jobs
    monkeypatch.setenv("KVCACHE_JOBS", "3")
    assert build.jobs() == 3
    for wrong in ("0", "-1", "many", "1.5"):
        monkeypatch.setenv("KVCACHE_JOBS", wrong)
        with pytest.raises(StepError, match=f"KVCACHE_JOBS is '{wrong}'"):
            build.jobs()


@pytest.mark.parametrize(
    ("features", "flags"),
    [
        pytest.param(toolchain.AVX2_FEATURES, toolchain.AVX2_FLAGS, id="all there"),
        pytest.param(toolchain.AVX2_FEATURES - {"fma"}, (), id="one lacks"),
        pytest.param(set(), (), id="another kind of processor"),
    ],
)
def test_avx2_is_demanded_where_the_processor_has_it(
    features: set[str], flags: tuple[str, ...], tmp_path: Path
) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nflags\t\t: fpu {' '.join(features)} sse\n\n")
    assert toolchain.avx2_flags(cpuinfo) == flags


def test_avx2_is_not_demanded_where_nothing_is_known(tmp_path: Path) -> None:
    assert toolchain.avx2_flags(tmp_path / "cpuinfo") == ()
