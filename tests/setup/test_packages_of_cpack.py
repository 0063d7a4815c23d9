"""Packages: what cpack makes is whole, passes lintian, and serves projects in a clean system.

The system is a chroot of the distribution that these tests run on, with nothing but its minimum: a
library that a package forgot to ask for is not there.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import archives
import chroots
import pytest
import toolchain
from chroots import Chroot
from cmake_projects import (
    C_CONSUMER,
    CONSUMER,
    CONSUMER_SAYS,
    STANDARD,
    build,
    compile_with_pkg_config,
    run,
)
from paths import BUILD, ROOT

TOOLS = ["cmake", "g++", "gcc", "lintian", "make", "pkg-config"]

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a build as a distribution would make it has its packages."""
    directory = tmp_path_factory.mktemp("packages")
    options = ["-DBUILD_SHARED_LIBS=ON", "-DCMAKE_INSTALL_PREFIX=/usr", "-DKVCACHE_BUILD_TESTS=OFF"]
    build(ROOT, directory, *options, "-DKVCACHE_BUILD_EXAMPLES=OFF")
    cpack = Path(toolchain.cmake()).with_name("cpack")
    for generator in ("TGZ", "DEB") if shutil.which("dpkg-deb") else ("TGZ",):
        words = [cpack, "-G", generator, "-B", directory]
        made = subprocess.run(words, cwd=directory, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stdout + made.stderr
    return directory


def test_archive_serves_a_project_where_it_is_unpacked(packages: Path, tmp_path: Path) -> None:
    (archive,) = packages.glob("*.tar.gz")
    archives.unpack(archive, tmp_path)
    (prefix,) = tmp_path.glob("kvcache-*")
    assert run(prefix / "bin" / "kvcache", "--version").startswith("kvcache ")
    program = tmp_path / "consumer"
    assert compile_with_pkg_config(prefix, C_CONSUMER / "consumer.c", program) == CONSUMER_SAYS


def source_of_apt() -> list[str]:
    """The archive, suite and component that this machine's packages come from."""
    words = ["apt-get", "indextargets", "--format", "$(SITE) $(CODENAME) $(COMPONENT)"]
    lines = run(*words, "Created-By: Packages").splitlines()
    release = Path("/etc/os-release").read_text()
    of_release = [line.split() for line in lines if f"={line.split()[1]}\n" in release]
    assert of_release, f"apt has no archive of this release: {lines}"
    return next((words for words in of_release if words[2] == "main"), of_release[0])


@pytest.fixture(scope="module")
def chroot(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chroot]:
    """With the .deb installed, and what it depends on by itself."""
    chroots.skip_where_impossible()  # before this machine's apt is asked
    site, suite, _ = source_of_apt()
    system = chroots.make(suite, tmp_path_factory, site)
    (package,) = packages.glob("*.deb")
    shutil.copy(package, system.root / "kvcache.deb")
    system("apt-get", "install", "--yes", "--no-install-recommends", "/kvcache.deb")
    yield system
    chroots.remove(system)


def test_program_runs_with_what_the_package_depends_on(chroot: Chroot) -> None:
    assert chroot("kvcache", "--version").startswith("kvcache ")
    shutil.copytree(BUILD / "goldens" / "plain", chroot.root / "model")
    assert "gpt2, plain" in chroot("kvcache", "info", "/model")


@pytest.fixture(scope="module")
def tools(chroot: Chroot) -> Chroot:
    chroot("apt-get", "install", "--yes", "--no-install-recommends", *TOOLS)
    for name, consumer in (("c", C_CONSUMER), ("cpp", CONSUMER)):
        shutil.copytree(consumer, chroot.root / "source" / name)
    return chroot


def test_lintian_finds_no_errors(tools: Chroot) -> None:
    assert "E: " not in tools("lintian", "--fail-on", "error", "--allow-root", "/kvcache.deb")


@pytest.mark.parametrize("language", ["c", "cpp"])
def test_projects_find_the_package_by_cmake(tools: Chroot, language: str) -> None:
    tools("cmake", "-S", f"/source/{language}", "-B", f"/build/{language}")
    tools("cmake", "--build", f"/build/{language}")
    assert tools(f"/build/{language}/consumer") == CONSUMER_SAYS


@pytest.mark.parametrize(
    ("compiler", "source"),
    [("cc -std=c99", "c/consumer.c"), (f"c++ {STANDARD}", "cpp/consumer.cpp")],
)
def test_projects_find_the_package_by_pkg_config(tools: Chroot, compiler: str, source: str) -> None:
    flags = "$(pkg-config --cflags --libs kvcache)"
    tools("sh", "-c", f"{compiler} /source/{source} -o /consumer {flags}")
    assert tools("/consumer") == CONSUMER_SAYS
    assert "libkvcache.so" in tools("ldd", "/consumer")
