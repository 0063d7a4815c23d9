"""How a page becomes HTML, on sites of two pages: links, and what is an error."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import build_site
import pytest

pytest.importorskip("sphinx", reason="requirements-site.txt is not installed")

import link_check

OTHER = "# Other\n\n## A place\n\nText.\n"


def built(folder: Path, page: str, *, repository_url: str = "") -> subprocess.CompletedProcess[str]:
    """Sphinx over docs/PAGE.md with these lines and docs/OTHER.md."""
    stage = folder / "pages"
    (stage / "docs").mkdir(parents=True)
    (stage / "index.md").write_text("# Index\n\n```{toctree}\ndocs/PAGE\ndocs/OTHER\n```\n")
    (stage / "docs" / "PAGE.md").write_text(f"# Page\n\n{page}\n")
    (stage / "docs" / "OTHER.md").write_text(OTHER)
    words = ["-W", "--keep-going", "-n", "-q", "-c", build_site.SITE, stage, folder / "html"]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *words],
        capture_output=True,
        text=True,
        check=False,
        env={"KVCACHE_SITE_REPOSITORY": repository_url},
    )


def html(folder: Path) -> str:
    return (folder / "html" / "docs" / "PAGE.html").read_text(encoding="utf-8")


def test_links_to_pages_places_and_files(tmp_path: Path) -> None:
    ran = built(
        tmp_path,
        "[OTHER.md](OTHER.md), [that one](OTHER.md), [place](OTHER.md#a-place),"
        " [the tree](../src/cache/block_pool.hpp), [block_pool.hpp](../src/cache/block_pool.hpp)",
    )
    assert ran.returncode == 0, ran.stderr
    page = html(tmp_path)
    called = re.findall(r'<a [^>]*href="OTHER.html"><span[^>]*>([^<]*)</span>', page)
    assert called == ["Other", "that one"]  # by its title where it was called by its file
    assert 'href="OTHER.html#a-place"' in page
    assert "the tree" in page
    assert page.count('<span class="pre">src/cache/block_pool.hpp</span>') == 2
    assert link_check.dead_links(tmp_path / "html")[0] == []


def test_files_are_links_where_it_is_said_where_they_are(tmp_path: Path) -> None:
    ran = built(
        tmp_path, "[the pool](../src/cache/block_pool.hpp)", repository_url="https://e.org/main/"
    )
    assert ran.returncode == 0, ran.stderr
    assert 'href="https://e.org/main/src/cache/block_pool.hpp"' in html(tmp_path)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("[gone](GONE.md)", "'GONE.md'"),
        ("[gone](../src/gone.cpp)", "'../src/gone.cpp'"),
        ("[outside](../../../../etc/passwd)", "passwd"),
        ("[gone](OTHER.md#gone)", "'gone'"),
        ("[gone](#gone)", "'gone'"),
    ],
)
def test_a_dead_link_is_an_error(tmp_path: Path, line: str, said: str) -> None:
    ran = built(tmp_path, line)
    assert ran.returncode != 0
    assert "PAGE.md:3: WARNING:" in ran.stderr
    assert said in ran.stderr


def test_the_links_of_html_are_followed(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a id="here" href="b.html#there">b</a><a href="#here"></a><a href="https://e.org/">e</a>'
        '<img src="c.svg"><a href="b.html#gone"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="there"></p>')
    assert link_check.dead_links(tmp_path) == (
        [
            "a.html: b.html#gone, whose page has no such place",
            "a.html: c.svg is no file of the site",
        ],
        4,
        1,
    )
