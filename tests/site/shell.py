"""The commands that pages show: which are run, with which smaller numbers, and which are not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import snippets

GPU = "needs a GPU"
BUILDS = "sets up and builds everything, for minutes"
CLUSTER = "needs a cluster, and hours"
# Blocks, by page and how they begin, that are not run, and why.
NOT_RUN = {
    ("CONTRIBUTING.md", "scripts/test "): "runs this test",
    ("README.md", "scripts/benchmark  "): "runs this test",
    ("README.md", "scripts/benchmark --cuda"): GPU,
    ("README.md", "cmake --preset"): f"{BUILDS}, as scripts/test has done",
    ("bench/peers/README.md", "scripts/peers"): "needs the other runtimes, and minutes",
    ("docs/CONSTRAINTS.md", ".venv/bin/pip"): "needs the network; scripts/test does it by itself",
    ("docs/CUDA.md", "scripts/benchmark --cuda"): GPU,
    ("docs/CUDA.md", "cmake"): GPU,
    ("docs/KVCACHE_BENCHMARK.md", "cmake"): GPU,
    ("docs/TOUR.md", "scripts/benchmark"): BUILDS,
    ("examples/self_play_ray/README.md", "python -m pip"): CLUSTER,
    ("examples/self_play_ray/README.md", "python examples/self_play_ray/scaling.py"): CLUSTER,
    ("examples/trigo/README.md", 'P="build'): f"{GPU}, for minutes, and games of hours",
    (
        "tests/fuzz/README.md",
        ".venv/bin/python scripts/lib/fuzz.py",
    ): "takes an hour; scripts/test --full runs the fuzzers",
}
# Blocks that another test runs, with --full where it takes the network or minutes.
RUN_BY = {
    ("README.md", "pip download"): "tests/text/test_readme.py",
    ("docs/BUILD.md", "mkdir"): "tests/setup/test_install.py",
    ("docs/BUILD.md", "cmake -S . -B build-package"): "tests/setup/test_packages_of_cpack.py",
    ("docs/PYTHON.md", "python -m pip"): "tests/python/bindings/test_wheel.py",
    ("docs/TOUR.md", "python -m pip"): "tests/python/bindings/test_wheel.py",
    **{
        (f"examples/{name}/README.md", "cmake -S"): "tests/setup/test_install.py"
        for name in (
            *("batch", "evaluator", "fork", "prefix_cache", "saved_state", "tree", "window"),
        )
    },
}
# A block with one of these is in one of the lists above: no test changes the machine by the way.
CHANGES_THE_MACHINE = re.compile(r"\b(pip3?|apt|apt-get|sudo|dpkg)\b|\bscripts/")
NEEDS_XGRAMMAR = ("--json-schema", "--regex")
# Self-play is run with few games: the numbers on the page take minutes.
SMALLER = (
    (r"--games \d+", "--games 1"),
    (r"--in-flight \d+", "--in-flight 2"),
    (r"--simulations \d+", "--simulations 8"),
    (r"--max-moves \d+", "--max-moves 4"),
    (r"rollouts:\d+", "rollouts:8"),
    (r"--threads \d+", "--threads 2"),
    (r"--depth \d+", "--depth 3"),
)
ADDED = ("--max-moves 4", "--simulations 8")  # where the page leaves them out


@dataclass(frozen=True)
class Command:
    """One command of a block."""

    page: str
    block: int
    line: int  # in the block, from 0 on
    text: str

    @property
    def name(self) -> str:
        """Such as docs/SAMPLING.md:0.3."""
        return f"{self.page}:{self.block}.{self.line}"

    def is_run_here(self) -> bool:
        """Whether neither another test nor nobody runs it."""
        block = snippets.one(self.page, "bash", self.block).text
        return not any(
            page == self.page and block.startswith(begins) for page, begins in [*NOT_RUN, *RUN_BY]
        )

    def short(self) -> str:
        """The command with smaller numbers where the page's would take minutes."""
        text = self.text
        if self.page.startswith("examples/trigo/"):
            for pattern, smaller in SMALLER:
                text = re.sub(pattern, smaller, text)
            for option in ADDED:
                if option.split()[0] not in text:
                    text = text.replace("trigo_selfplay", f"trigo_selfplay {option}")
        return text


def block(page: str, begins: str) -> snippets.Snippet:
    """The block of a page that begins so."""
    (found,) = (
        snippet
        for snippet in snippets.of("bash")
        if snippet.page == page and snippet.text.startswith(begins)
    )
    return found


def commands() -> list[Command]:
    """All commands of all pages; one that goes over several lines is one."""
    found = []
    for snippet in snippets.of("bash"):
        lines = snippet.text.replace("\\\n", " ").splitlines()
        found += [
            Command(snippet.page, snippet.number, i, line)
            for i, line in enumerate(lines)
            if line.strip()
        ]
    return found
