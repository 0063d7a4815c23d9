"""llama.cpp, built for this processor from the sources in llama-cpp-python's distribution."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from environment import WORK, cmake, pip

VERSION = "0.3.36"
OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "GGML_NATIVE": "ON",
    **dict.fromkeys(
        [
            "LLAMA_CURL",
            "LLAMA_BUILD_COMMON",
            "LLAMA_BUILD_EXAMPLES",
            "LLAMA_BUILD_SERVER",
            "LLAMA_BUILD_TESTS",
            "LLAMA_BUILD_TOOLS",
        ],
        "OFF",
    ),
}
LIBRARIES = WORK / "llama" / "bin"


def sources() -> Path:
    """The sources; downloaded and unpacked where they are not there."""
    unpacked = WORK / f"llama_cpp_python-{VERSION}"
    if not unpacked.exists():
        with tempfile.TemporaryDirectory(dir=WORK) as directory:
            folder = Path(directory)
            download = ["download", "--no-deps", "--no-binary", ":all:", "--dest", folder]
            pip(*download, f"llama-cpp-python=={VERSION}")
            # No word about filters, which Debian 12's Python does not know.
            shutil.unpack_archive(next(folder.glob("llama_cpp_python-*.tar.gz")), folder)
            shutil.move(folder / unpacked.name, unpacked)
    return unpacked / "vendor" / "llama.cpp"


def _flags() -> dict[str, str]:
    """What a processor with AMX needs.

    GCC's intrinsics (seen with 12) do not tell it that loading the tiles' shape reads all of it,
    so that it drops the stores before: llama.cpp then ends with SIGSEGV or SIGILL in its first
    quantised product.
    """
    has_amx = "amx_tile" in Path("/proc/cpuinfo").read_text()
    return {"CMAKE_CXX_FLAGS": "-fno-tree-dse -fno-dse"} if has_amx else {}


def build() -> Path:
    """Build libllama; its sources."""
    found = sources()
    cmake(found, WORK / "llama", OPTIONS | _flags(), "llama")
    return found
