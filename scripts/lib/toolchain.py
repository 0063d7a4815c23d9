"""The machine's cmake, ninja and compiler, and what stands in for them."""

import functools
import os
import re
import shlex
import shutil
import tempfile
from pathlib import Path

from paths import VENV
from steps import StepError, run

MINIMUM_CMAKE = (3, 21)
AVX2_FLAGS = ("-march=x86-64-v3", "-maes", "-mpclmul")  # what Highway's target AVX2 is made of
AVX2_FEATURES = {"avx2", "fma", "bmi1", "bmi2", "f16c", "abm", "movbe", "aes", "pclmulqdq"}

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


def compiler() -> list[str]:
    """The C++ compiler's path, and the flags that CXX names behind it.

    Raises:
        StepError: there is none, or it does not know C++20.
    """
    return list(_tried(os.environ.get("CXX", ""), os.environ.get("PATH", "")))


@functools.cache
def _tried(cxx: str, path: str) -> tuple[str, ...]:
    """compiler(), once for each value of CXX and PATH."""
    advice = (
        "g++ 11 or clang++ 14, or newer, is needed; the environment variable CXX chooses one,"
        ' with flags if need be: CXX="g++-12 -m64".'
    )
    try:
        chosen = shlex.split(cxx)
    except ValueError as error:
        raise StepError(f"CXX is {cxx!r}: {error}", advice=advice) from error
    names = chosen[:1] or ["c++", "g++", "clang++"]
    found = next(filter(None, (shutil.which(name, path=path) for name in names)), None)
    if found is None:
        where = "CXX names it" if chosen else "on PATH"
        raise StepError(
            f"no C++ compiler found (looked for {', '.join(names)}; {where})",
            advice=advice,
            packages=["g++"],
        )
    words = (found, *chosen[1:])
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.cpp"
        probe.write_text(CPP20_PROBE)
        try:
            run([*words, "-std=c++20", probe, "-o", probe.with_suffix("")])
        except StepError as error:
            raise StepError(
                f"{shlex.join(words)} cannot build a program of C++20",
                advice=advice,
                packages=["g++"],
                output=error.output,
            ) from error
    return words


def avx2_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, ...]:
    """What makes AVX2 the least that a program runs on; nothing where this processor lacks it.

    Highway then compiles no kernels for less.
    """
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    features = re.search(r"^flags\s*: (.*)$", text, re.MULTILINE)
    return AVX2_FLAGS if features and set(features[1].split()) >= AVX2_FEATURES else ()


def compiler_version() -> tuple[str, int]:
    """The C++ compiler's name as CMake has it, GNU or Clang (empty: another), and major version."""
    macros = run([*compiler(), "-dM", "-E", "-x", "c++", "/dev/null"])
    for name, macro in (("Clang", "__clang_major__"), ("GNU", "__GNUC__")):  # clang defines both
        found = re.search(rf"^#define {macro} (\d+)$", macros, re.MULTILINE)
        if found:
            return name, int(found[1])
    return "", 0
