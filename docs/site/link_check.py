"""Every link of the built pages to another place in them leads there."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LINKS = {"href", "src"}


@dataclass
class Page:
    """What a page refers to, and where it can be referred to."""

    links: set[str] = field(default_factory=set)
    anchors: set[str] = field(default_factory=set)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.page = Page()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if value is None:
                continue
            if name in LINKS:
                self.page.links.add(value)
            elif name == "id" or (tag == "a" and name == "name"):
                self.page.anchors.add(value)


def read(path: Path) -> Page:
    """Read one page."""
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    return reader.page


def dead_links(site: Path) -> tuple[list[str], int, int]:
    """What leads nowhere, in words, and how many links were followed and how many lead outside."""
    pages = {path.resolve(): read(path) for path in sorted(site.rglob("*.html"))}
    problems, followed, outside = [], 0, 0
    for path, page in pages.items():
        for link in sorted(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                outside += 1
                continue
            followed += 1
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            here = path.relative_to(site.resolve())
            if not target.is_file():
                problems.append(f"{here}: {link} is no file of the site")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                problems.append(f"{here}: {link}, whose page has no such place")
    return problems, followed, outside


def main() -> int:
    """Check a site, and say what leads nowhere."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    problems, followed, outside = dead_links(parser.parse_args().site)
    for problem in problems:
        print(problem)
    if not problems:
        print(f"{followed} lead somewhere, {outside} lead outside and were not followed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
