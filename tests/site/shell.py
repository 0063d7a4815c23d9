"""The commands that pages show: which are run, with which smaller numbers, and which are not."""

from __future__ import annotations

import re
from dataclasses import dataclass

import snippets

GPU = "needs a GPU"
BUILDS = "sets up and builds everything, for minutes"
CLUSTER = "needs a cluster, and hours"
# Blocks, by page and number, that are not run, and why.
NOT_RUN = {
    ("CONTRIBUTING.md", 0): "runs this test",
    ("README.md", 0): "runs this test",
    ("README.md", 1): GPU,
    ("README.md", 4): f"{BUILDS}, as scripts/test has done",
    ("bench/peers/README.md", 0): "needs the other runtimes, and minutes",
    ("docs/CONSTRAINTS.md", 1): "needs the network; scripts/test does it by itself",
    ("docs/CUDA.md", 0): GPU,
    ("docs/CUDA.md", 1): GPU,
    ("docs/KVCACHE_BENCHMARK.md", 0): GPU,
    ("docs/TOUR.md", 0): BUILDS,
    ("examples/self_play_ray/README.md", 0): CLUSTER,
    ("examples/self_play_ray/README.md", 1): CLUSTER,
    ("examples/trigo/README.md", 1): f"{GPU}, for minutes, and games of hours",
    ("tests/fuzz/README.md", 0): "takes an hour; scripts/test --full runs the fuzzers",
}
# Blocks that another test runs, with --full where it takes the network or minutes.
RUN_BY = {
    ("README.md", 3): "tests/text/test_readme.py",
    ("docs/BUILD.md", 0): "tests/setup/test_install.py",
    ("docs/BUILD.md", 1): "tests/setup/test_packages_of_cpack.py",
    ("docs/PYTHON.md", 0): "tests/python/bindings/test_wheel.py",
    ("docs/TOUR.md", 3): "tests/python/bindings/test_wheel.py",
    **{
        (f"examples/{name}/README.md", 0): "tests/setup/test_install.py"
        for name in (
            *("batch", "evaluator", "fork", "prefix_cache", "saved_state", "tree", "window"),
        )
    },
}
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
        place = (self.page, self.block)
        return place not in NOT_RUN and place not in RUN_BY

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
