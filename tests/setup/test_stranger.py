"""What a stranger does who reads the README, without root, in clean systems of Debian.

Nothing is there but what the README says must be, and each step follows from the one before: the
first command, what it built installed and found by projects in C++ and C, a wheel made of the same
sources, and a .deb for who has nothing of all that. The second command, scripts/test, runs there
with KVCACHE_TEST_STRANGERS_TESTS=1: it takes as long again, per release.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import chroots
import cpp_libraries
import pytest
from chroots import HOME, Chroot
from cmake_projects import CONSUMER, CONSUMER_SAYS, STANDARD
from paths import ROOT

RELEASES = ["bookworm", "trixie"]  # Debian 12 and 13
HERE = HOME / "kvcache"
PREFIX = HOME / "installed"
SHARED_PREFIX = HOME / "installed-shared"
TOOLS = HERE / ".venv" / "bin"  # where the first command puts CMake and Ninja
NINJA = ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={TOOLS / 'ninja'}"]
PYTHON = """\
import kvcache

model = kvcache.Model.load("models")
sequence = model.new_sequence()
logits = sequence.extend([1, 2, 3])
fork = sequence.fork()
fork.rewind(2)
tree = sequence.evaluate([5, 6], [-1, 0])
sequence.commit(tree, 1)
print(logits.rows, len(sequence.tokens), fork.length)
"""

pytestmark = pytest.mark.full


def packages() -> list[str]:
    """What the README says is by hand."""
    line = re.search(
        r"^\| by hand \|.*`apt-get install ([^`]*)`", (ROOT / "README.md").read_text(), re.M
    )
    assert line, "README.md has a row `by hand` with a command of apt-get"
    return shlex.split(line[1])


@pytest.fixture(scope="module", params=RELEASES)
def system(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Chroot]:
    """With the README's packages and, in the home of a user, a clone of this repository."""
    cached = ["ccache"] if "CCACHE_DIR" in os.environ else []
    made = chroots.make(request.param, tmp_path_factory, packages=[*packages(), *cached])
    made("useradd", "--uid", "1000", "--create-home", "stranger")
    inside = made.root / HERE.relative_to("/")
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, inside], check=True)
    _bring_what_is_not_committed(inside)
    made("chown", "--recursive", "1000:1000", HERE)
    yield made
    chroots.remove(made)


def _bring_what_is_not_committed(clone: Path) -> None:
    words = ["git", "-C", ROOT, "diff", "--binary", "HEAD"]
    changes = subprocess.run(words, capture_output=True, check=True).stdout
    if changes:
        subprocess.run(["git", "-C", clone, "apply"], input=changes, check=True)


@pytest.fixture(scope="module")
def benchmark(system: Chroot) -> str:
    """What the README's first command prints."""
    chroots.say("scripts/benchmark, some minutes")
    return system("scripts/benchmark", "--tokens", "16", user=True, directory=HERE)


def test_the_first_command_passes(benchmark: str) -> None:
    assert "unpacked libhwy-dev" in benchmark
    assert benchmark.rstrip().endswith("All tests passed")


@pytest.fixture(scope="module")
def installed(system: Chroot, benchmark: str) -> Chroot:
    """What the first command built, installed where the user may write."""
    assert benchmark
    system(TOOLS / "cmake", "--install", "build", "--prefix", PREFIX, user=True, directory=HERE)
    return system


@pytest.fixture(scope="module")
def shared(system: Chroot, benchmark: str) -> Chroot:
    """The same as a shared library, which C takes; without optimisation, which takes most time."""
    assert benchmark
    chroots.say("libkvcache.so, some minutes")
    library = [
        "-DBUILD_SHARED_LIBS=ON",
        "-DCMAKE_BUILD_TYPE=Release",
        "-DCMAKE_CXX_FLAGS_RELEASE=-O0",
    ]
    alone = [f"-DKVCACHE_BUILD_{part}=OFF" for part in ("CLI", "EXAMPLES", "TESTS")]
    build = [TOOLS / "cmake", "--build", "build-shared", "-j", os.environ.get("KVCACHE_JOBS", "2")]
    install = [TOOLS / "cmake", "--install", "build-shared", "--prefix", SHARED_PREFIX]
    for words in (
        [TOOLS / "cmake", "-B", "build-shared", *NINJA, *library, *alone],
        build,
        install,
    ):
        system(*words, user=True, directory=HERE)
    return system


def test_the_installed_program_runs(installed: Chroot) -> None:
    said = installed(PREFIX / "bin" / "kvcache", "info", HERE / "models", user=True)
    assert "gpt2" in said


def test_a_project_in_cpp_finds_the_package(installed: Chroot) -> None:
    assert _consumer(installed, "cpp", PREFIX) == CONSUMER_SAYS


def test_a_project_in_c_finds_the_package(shared: Chroot) -> None:
    assert _consumer(shared, "c", SHARED_PREFIX) == CONSUMER_SAYS


def _consumer(system: Chroot, language: str, prefix: Path) -> str:
    build, source = HOME / f"build-{language}", HERE / "tests" / "install" / language
    found = f"-DCMAKE_PREFIX_PATH={prefix}"
    system(TOOLS / "cmake", "-S", source, "-B", build, *NINJA, found, user=True)
    system(TOOLS / "cmake", "--build", build, user=True)
    return system(build / "consumer", user=True)


def test_the_wheel_is_built_and_runs(system: Chroot, benchmark: str) -> None:
    assert benchmark  # whose model is taken
    chroots.say("pip install ., some minutes")
    system("python3", "-m", "venv", HOME / "venv", user=True)
    python = HOME / "venv" / "bin" / "python"
    system(python, "-m", "pip", "install", "--quiet", ".", user=True, directory=HERE)
    assert system(python, "-c", PYTHON, user=True, directory=HERE) == "1 5 2\n"
    program = system(HOME / "venv" / "bin" / "kvcache", "--version", user=True)
    assert program.startswith("kvcache ")


@pytest.mark.skipif(
    os.environ.get("KVCACHE_TEST_STRANGERS_TESTS", "0") == "0",
    reason="takes 20 minutes within scripts/test; KVCACHE_TEST_STRANGERS_TESTS=1 runs it",
)
def test_the_second_command_passes(system: Chroot) -> None:
    chroots.say("scripts/test, some 20 minutes")
    said = system("scripts/test", user=True, directory=HERE)
    assert re.search(r" 0 failed", said.rstrip().splitlines()[-1])


@pytest.fixture(scope="module")
def package(system: Chroot, benchmark: str) -> Path:
    """A .deb of this release, made as docs/BUILD.md says; without optimisation, as `shared`."""
    assert benchmark  # which brought ONNX Runtime, CMake and Ninja
    chroots.say("a .deb, some minutes")
    needed = [library.package for library in cpp_libraries.LIBRARIES if not library.only_for_tests]
    system("apt-get", "install", "--yes", "--no-install-recommends", "dpkg-dev", "file", *needed)
    options = [
        *("-DBUILD_SHARED_LIBS=ON", "-DCMAKE_INSTALL_PREFIX=/usr", "-DCMAKE_BUILD_TYPE=Release"),
        *("-DCMAKE_CXX_FLAGS_RELEASE=-O0", "-DKVCACHE_BUILD_TESTS=OFF"),
        "-DKVCACHE_BUILD_EXAMPLES=OFF",
    ]
    jobs = os.environ.get("KVCACHE_JOBS", "2")
    unpacked, aside = HERE / ".deps" / "debian", HERE / ".deps" / "aside"
    made = HERE / "build-package"
    system("mv", unpacked, aside)  # a package is made of what the distribution installed
    try:
        for words in (
            [TOOLS / "cmake", "-B", made, *NINJA, *options],
            [TOOLS / "cmake", "--build", made, "-j", jobs],
            [TOOLS / "cpack", "--config", made / "CPackConfig.cmake", "-G", "DEB", "-B", made],
        ):
            system(*words, user=True, directory=HERE)
    finally:
        system("mv", aside, unpacked)
    (found,) = (system.root / made.relative_to("/")).glob("*.deb")
    return found


def test_a_package_made_there_serves_a_clean_system(
    package: Path, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    clean = chroots.make(request.node.callspec.params["system"], tmp_path_factory)
    try:
        shutil.copy(package, clean.root / "kvcache.deb")
        clean("apt-get", "install", "--yes", "--no-install-recommends", "/kvcache.deb")
        assert clean("kvcache", "--version").startswith("kvcache ")
        tools = ["g++", "lintian", "pkg-config"]
        clean("apt-get", "install", "--yes", "--no-install-recommends", *tools)
        assert "E: " not in clean("lintian", "--fail-on", "error", "--allow-root", "/kvcache.deb")
        shutil.copy(CONSUMER / "consumer.cpp", clean.root / "consumer.cpp")
        flags = "$(pkg-config --cflags --libs kvcache)"
        clean("sh", "-c", f"c++ {STANDARD} /consumer.cpp -o /consumer {flags}")
        assert clean("/consumer") == CONSUMER_SAYS
    finally:
        chroots.remove(clean)
