"""The C++ libraries that the build needs: found, installed, or unpacked into .deps/debian."""

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import debian
from paths import DEBIAN_ROOT
from steps import StepError, step


class Library(NamedTuple):
    """A library: Debian's package and a header that shows it is there."""

    package: str
    header: str
    only_for_tests: bool = False


class Oldest(NamedTuple):
    """The oldest major version that will do, and the header that defines it."""

    major: int
    header: str
    macro: str


LIBRARIES = [
    Library("libhwy-dev", "hwy/highway.h"),
    Library("nlohmann-json3-dev", "nlohmann/json.hpp"),
    Library("libcli11-dev", "CLI/CLI.hpp"),
    Library("libfmt-dev", "fmt/format.h"),
    Library("libxxhash-dev", "xxhash.h"),
    Library("libpcre2-dev", "pcre2.h"),
    Library("libicu-dev", "unicode/normalizer2.h"),
    Library("libgtest-dev", "gtest/gtest.h", only_for_tests=True),
]
OLDEST = {"Highway": Oldest(1, "hwy/base.h", "HWY_MAJOR")}


def check(*, tests: bool = True) -> None:
    """Raise StepError where something is missing that provide() cannot get."""
    missing = missing_packages(tests=tests)
    if missing and not debian.has_apt():
        raise StepError(
            f"C++ libraries are missing: {', '.join(missing)} (Debian's names)",
            advice="Install them with this machine's package manager; where they are in a"
            " place of their own, name it in the environment variable CMAKE_PREFIX_PATH.",
        )
    check_versions()


def check_versions() -> None:
    """Raise StepError where CMake would take a library that is too old."""
    for name, oldest in OLDEST.items():
        header = next(_headers(oldest.header), None)
        if header is None:
            continue
        found = re.search(rf"^#define {oldest.macro} (\d+)$", header.read_text(), re.MULTILINE)
        if found and int(found[1]) < oldest.major:
            raise StepError(
                f"{name} is {found[1]}.x in {header}, must be {oldest.major}.0 or later",
                advice=f"Build a newer {name}, install it to a prefix of its own, and name that in"
                " the environment variable CMAKE_PREFIX_PATH.",
            )


def provide(*, tests: bool = True) -> None:
    """Install or unpack what is missing; `tests`: of what they need, too."""
    with step("setup", "C++ libraries") as outcome:
        check(tests=tests)
        missing = missing_packages(tests=tests)
        if not missing:
            outcome.text = "in place"
        elif debian.may_install():
            debian.install(missing)
            outcome.text = f"installed {' '.join(missing)}"
        else:
            _unpack(missing)
            outcome.text = f"unpacked {' '.join(missing)} into .deps/debian"
        check_versions()


def missing_packages(*, tests: bool = True) -> list[str]:
    """The packages of those libraries whose header is in none of the places CMake looks into."""
    wanted = [library for library in LIBRARIES if tests or not library.only_for_tests]
    return [library.package for library in wanted if not any(_headers(library.header))]


def _headers(name: str) -> Iterator[Path]:
    """Where a header is, in the order that CMake looks."""
    named = filter(None, os.environ.get("CMAKE_PREFIX_PATH", "").split(os.pathsep))
    for prefix in (*map(Path, named), DEBIAN_ROOT / "usr", Path("/usr/local"), Path("/usr")):
        if (prefix / "include" / name).exists():
            yield prefix / "include" / name


def _unpack(packages: Sequence[str]) -> None:
    """Fetch Debian packages and unpack them into .deps/debian, without root."""
    with tempfile.TemporaryDirectory() as folder:
        apt = debian.PrivateApt(Path(folder))
        apt.download_with_dependencies(packages)
        apt.unpack(DEBIAN_ROOT)
    debian.complete_links(DEBIAN_ROOT)
