"""Configuring and building with CMake."""

import os
from pathlib import Path

import toolchain
from paths import ROOT
from steps import run


def configure(directory: Path, build_type: str, **options: str) -> None:
    """Configure a build directory; one that was configured before keeps its generator."""
    generator = [] if (directory / "CMakeCache.txt").exists() else _ninja()
    definitions = [f"-D{name}={value}" for name, value in options.items()]
    run(
        [
            *(toolchain.cmake(), "-S", ROOT, "-B", directory, *generator),
            *(f"-DCMAKE_BUILD_TYPE={build_type}", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON"),
            *definitions,
        ]
    )


def _ninja() -> list[str]:
    return ["-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={toolchain.ninja()}"]


def build(directory: Path, *targets: str) -> None:
    """Build targets, or everything, with as many jobs as there are cores."""
    chosen = ["--target", *targets] if targets else []
    jobs = str(os.cpu_count() or 1)
    run([toolchain.cmake(), "--build", directory, "--parallel", jobs, *chosen])
