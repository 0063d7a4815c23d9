"""What pip builds the wheel with: scikit-build-core, once the C++ that the build needs is there.

pyproject.toml names this as its build backend, so that `pip install .` needs no scripts/setup
before it. What that has provided is taken; else it goes to .deps, as with scripts/setup, but for
Debian's packages, which are unpacked there and never installed: pip changes nothing of the machine.
"""

import functools
import os
import re
import sys
from pathlib import Path
from typing import Any

import cpp_libraries
import onnx_runtime
import python_environment
import toolchain
from paths import DEPS, ROOT
from scikit_build_core import build as scikit_build
from scikit_build_core.build import (
    build_sdist,
    get_requires_for_build_sdist,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)
from steps import StepError, check_all, step

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]

Settings = dict[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*scikit_build.get_requires_for_build_wheel(config_settings), *_requirements()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*scikit_build.get_requires_for_build_editable(config_settings), *_requirements()]


def build_wheel(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    _provide()
    return scikit_build.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(
    wheel_directory: str, config_settings: Settings = None, metadata_directory: str | None = None
) -> str:
    _provide()
    return scikit_build.build_editable(wheel_directory, config_settings, metadata_directory)


def _requirements() -> list[str]:
    """What .deps/onnxruntime is made of and with: the library's wheel, and pip for its headers."""
    if onnx_runtime.is_there():
        return []
    pinned = re.search(r"^onnxruntime==\S+", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    assert pinned, "requirements.txt pins onnxruntime"
    return ["pip", pinned[0]]


def _provide() -> None:
    """Fetch what is missing, a line for each step; end with what went wrong and what helps."""
    os.environ.setdefault("KVCACHE_SETUP_NO_ROOT", "1")
    try:
        with step("setup", "C++ compiler"):
            libraries = functools.partial(cpp_libraries.check, tests=False)
            headers = python_environment.check_headers
            check_all(toolchain.compiler, headers, libraries, onnx_runtime.check)
        DEPS.mkdir(exist_ok=True)
        cpp_libraries.provide(tests=False)
        if not onnx_runtime.is_there():
            onnx_runtime.provide(_site_packages())
    except StepError as error:
        raise SystemExit(f"\nkvcache cannot be built here.\n{error}") from error


def _site_packages() -> list[Path]:
    """Where pip put this build's requirements."""
    return [Path(entry) for entry in sys.path if entry]
