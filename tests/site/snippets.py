"""The blocks of code on all pages, and how each is tried."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from paths import BUILD, ROOT

BUILT = Path(os.environ.get("KVCACHE_BUILD_DIR", BUILD))
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# As docs/site/stage.py has them.
PAGES = ("*.md", "docs/*.md", "bench/*/README.md", "examples/*/README.md", "tests/*/README.md")


@dataclass(frozen=True)
class Snippet:
    """A block of code on a page."""

    page: str  # "docs/FORK.md"
    language: str  # "" where the page names none
    number: int  # of those of its language on the page, from 0 on
    line: int  # the block's first, in the page
    text: str

    @property
    def name(self) -> str:
        """Such as FORK_0: different for all snippets of one language."""
        stem = re.sub(r"\W", "_", self.page.removesuffix(".md").removeprefix("docs/"))
        return f"{stem}_{self.number}"


def everywhere() -> list[Snippet]:
    """All of them, page by page."""
    found = []
    for path in sorted(path for pattern in PAGES for path in ROOT.glob(pattern)):
        text = path.read_text(encoding="utf-8")
        numbers: dict[str, int] = {}
        for match in FENCE.finditer(text):
            language = match[1]
            number = numbers.get(language, 0)
            numbers[language] = number + 1
            line = text.count("\n", 0, match.start(2)) + 1
            page = path.relative_to(ROOT).as_posix()
            found.append(Snippet(page, language, number, line, match[2]))
    return found


def of(language: str) -> list[Snippet]:
    """Those in one language."""
    return [snippet for snippet in everywhere() if snippet.language == language]


def one(page: str, language: str, number: int = 0) -> Snippet:
    """A certain one."""
    (found,) = (
        snippet
        for snippet in everywhere()
        if (snippet.page, snippet.language, snippet.number) == (page, language, number)
    )
    return found
