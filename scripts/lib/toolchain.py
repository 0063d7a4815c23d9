"""The machine's cmake, ninja and compiler, and what stands in for them."""

import os
import re
import shutil
import tempfile
from pathlib import Path

from paths import VENV
from steps import StepError, run

MINIMUM_CMAKE = (3, 21)

CPP20_PROBE = """\
#include <concepts>
#include <span>
#include <version>
static_assert(__cplusplus >= 202002L);
template <std::integral T> T first(std::span<const T> values) { return values[0]; }
int main() { const int values[] = {0}; return first<int>(values); }
"""


def machine_cmake() -> str | None:
    """The machine's cmake if it is new enough."""
    cmake = shutil.which("cmake")
    if cmake is None:
        return None
    version = re.search(r"version (\d+)\.(\d+)", run([cmake, "--version"]))
    return cmake if version and tuple(map(int, version.groups())) >= MINIMUM_CMAKE else None


def machine_ninja() -> str | None:
    return shutil.which("ninja")


def cmake() -> str:
    return machine_cmake() or str(VENV / "bin" / "cmake")


def ninja() -> str:
    return machine_ninja() or str(VENV / "bin" / "ninja")


def compiler() -> str:
    """The C++ compiler that CMake will take; StepError when there is none or it is too old."""
    advice = (
        "g++ 11 or clang++ 14, or newer, is needed; on Debian and Ubuntu: apt-get install g++. "
        "The environment variable CXX chooses another one."
    )
    names = [os.environ["CXX"]] if os.environ.get("CXX") else ["c++", "g++", "clang++"]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise StepError(f"no C++ compiler found (looked for {', '.join(names)})", advice=advice)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.cpp"
        probe.write_text(CPP20_PROBE)
        run([found, "-std=c++20", probe, "-o", probe.with_suffix("")], advice=advice)
    return found
