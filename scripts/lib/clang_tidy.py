"""clang-tidy over the sources of a compile database; what passed once is not checked again.

A source that CMake joined from several (CMAKE_UNITY_BUILD) is checked and remembered as one.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from build import jobs
from paths import ROOT, VENV
from steps import StepError, run

CONFIGURATION = ROOT / ".clang-tidy"
INCLUDE_ROOTS = [ROOT / "include", ROOT / "src", ROOT / "tests"]
INCLUDE = re.compile(r'^\s*#\s*include\s*["<]([^">]+)[">]', re.MULTILINE)


class ClangTidy:
    """Checks sources with the compile database of a build directory."""

    def __init__(self, program: str, build: Path) -> None:
        self._program = program
        self._build = build
        self._passed = build / "clang-tidy-passed"
        self._passed.mkdir(exist_ok=True)
        self._version = run([program, "--version"])

    def check(self) -> tuple[int, list[str]]:
        """Check every source that changed: how many those were, and the findings, file by file."""
        commands = self._build / "compile_commands.json"
        if not commands.exists():
            raise StepError(f"{commands} does not exist: the build was not configured")
        database = json.loads(commands.read_text())
        keys = {
            Path(entry["file"]): self._key(entry)
            for entry in database
            if not Path(entry["file"]).is_relative_to(VENV)  # nanobind's
        }
        changed = [source for source, key in keys.items() if not (self._passed / key).exists()]
        findings = []
        with ThreadPoolExecutor(jobs()) as pool:
            for source, found in zip(changed, pool.map(self._check_source, changed), strict=True):
                if found:
                    findings.append(found)
                else:
                    (self._passed / keys[source]).touch()
        return len(changed), findings

    def _check_source(self, source: Path) -> str:
        try:
            run([self._program, "-p", self._build, "--quiet", source], cwd=ROOT)
        except StepError as error:
            return error.output
        return ""

    def _key(self, entry: dict[str, str]) -> str:
        """A digest of all that the findings of one source depend on, within this repository."""
        digest = hashlib.sha256()
        digest.update(self._version.encode())
        digest.update(entry["command"].encode())
        for path in (CONFIGURATION, *sorted(_with_includes(Path(entry["file"])))):
            digest.update(path.read_bytes())
        return digest.hexdigest()


def _with_includes(source: Path) -> set[Path]:
    """A source and all it includes, directly or not, from this repository."""
    seen: set[Path] = set()
    waiting = [source]
    while waiting:
        path = waiting.pop()
        if path not in seen:
            seen.add(path)
            waiting.extend(_includes(path))
    return seen


def _includes(source: Path) -> Iterator[Path]:
    for name in INCLUDE.findall(source.read_text()):
        for root in (source.parent, *INCLUDE_ROOTS):
            if (root / name).is_file():
                yield root / name
                break
