"""Configuring and building with CMake."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import toolchain
from paths import ROOT
from steps import StepError, run

STAMP = ".configured-for.json"
# A build directory remembers these from its first configuration, and CMake then ignores others.
REMEMBERED = ("CMAKE_PREFIX_PATH", "CXXFLAGS", "LDFLAGS")
MEMORY_OF_A_COMPILER = 1_700_000_000  # bytes: the largest source took 1.65 GB
CLEAN_COMPILERS = {
    "GNU": (12, 14)
}  # name as CMake has it, and major versions, that warn of nothing


def configure(directory: Path, build_type: str, **options: str) -> str:
    """Configure a build directory; return why it was begun anew, if it was.

    One that was configured before keeps its generator. It is begun anew where it was configured in
    another place, for another compiler or with other flags.
    """
    compiler = shlex.join(toolchain.compiler())
    wanted = {
        "source tree": str(ROOT),
        "compiler": compiler,
        "CUDA compiler": options.get("CMAKE_CUDA_COMPILER", ""),
        **{name: os.environ.get(name, "") for name in REMEMBERED},
    }
    cache = _Cache(directory)
    changes = _changes(directory, cache, wanted)
    if changes:
        cache.forget()
    definitions = {
        "CMAKE_BUILD_TYPE": build_type,
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        "KVCACHE_WARNINGS_AS_ERRORS": _warnings_as_errors(),
        **options,
    }
    generator = cache.generator or "Ninja"
    if generator == "Ninja":
        definitions["CMAKE_MAKE_PROGRAM"] = toolchain.ninja()
    run(
        [
            *(toolchain.cmake(), "-S", ROOT, "-B", directory, "-G", generator),
            *(f"-D{name}={value}" for name, value in definitions.items()),
        ],
        environment={"CXX": compiler},
    )
    (directory / STAMP).write_text(json.dumps(wanted, indent=2))
    return f"configured anew: {'; '.join(changes)}" if changes else ""


class _Cache:
    """What CMake remembers in a build directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file = directory / "CMakeCache.txt"
        text = self._file.read_text() if self._file.exists() else ""
        entries = re.findall(r"^(\w+):\w+=(.*)$", text, re.MULTILINE)
        values = dict(entries)
        self.generator = values.get("CMAKE_GENERATOR", "")
        self.source_tree = values.get("CMAKE_HOME_DIRECTORY", "")
        self.compiler = values.get("CMAKE_CXX_COMPILER", "")

    def forget(self) -> None:
        self._file.unlink(missing_ok=True)
        shutil.rmtree(self._directory / "CMakeFiles", ignore_errors=True)


def _changes(directory: Path, cache: _Cache, wanted: dict[str, str]) -> list[str]:
    """What a build directory was configured for that is something else now."""
    stamp = directory / STAMP
    if stamp.exists():
        try:
            was = json.loads(stamp.read_text())
        except ValueError:
            return ["what it was configured for cannot be read"]
    else:  # configured by hand
        was = {"source tree": cache.source_tree, "compiler": cache.compiler}
        was = {name: value for name, value in was.items() if value}
    return [
        f"{name} was {was[name] or 'unset'}, is {value or 'unset'}"
        for name, value in wanted.items()
        if name in was and was[name] != value
    ]


def _warnings_as_errors() -> str:
    """ON with the compilers whose warnings are known, so that another one can only warn.

    The same for every command: the flag is on each compiler's command line.
    """
    chosen = os.environ.get("KVCACHE_WARNINGS_AS_ERRORS")
    if chosen:
        return chosen
    name, major = toolchain.compiler_version()
    return "ON" if major in CLEAN_COMPILERS.get(name, ()) else "OFF"


def build(directory: Path, *targets: str) -> None:
    """Build targets, or everything, with as many jobs as cores and memory allow."""
    chosen = ["--target", *targets] if targets else []
    words = [toolchain.cmake(), "--build", directory, "--parallel", str(jobs()), *chosen]
    try:
        run(words)
    except StepError as error:
        if "-Werror" in error.output:
            error.advice = (
                "A warning of this compiler is taken for an error: KVCACHE_WARNINGS_AS_ERRORS=OFF"
                " in the environment lets it pass."
            )
        if "Killed signal" in error.output:
            error.advice = "The compiler was killed, most likely for want of memory: KVCACHE_JOBS=1"
        raise


def jobs() -> int:
    """How many compilers run side by side; the environment variable KVCACHE_JOBS says otherwise."""
    chosen = os.environ.get("KVCACHE_JOBS")
    if chosen:
        if not chosen.isdecimal() or int(chosen) == 0:
            raise StepError(f"KVCACHE_JOBS is {chosen!r}, must be a number from 1 on")
        return int(chosen)
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, available_memory() // MEMORY_OF_A_COMPILER))


def available_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be taken, by the machine and by this process's control group."""
    found = re.search(
        r"^MemAvailable: +(\d+) kB", (root / "proc/meminfo").read_text(), re.MULTILINE
    )
    limits = [int(found[1]) * 1024] if found else []
    groups = root / "sys/fs/cgroup"
    for limit, used in (
        (groups / "memory.max", groups / "memory.current"),
        (groups / "memory/memory.limit_in_bytes", groups / "memory/memory.usage_in_bytes"),
    ):
        try:
            limits.append(int(limit.read_text()) - int(used.read_text()))
        except (OSError, ValueError):  # there is none, or "max"
            continue
    return min(limits, default=MEMORY_OF_A_COMPILER)
