"""scripts/site builds every page, and the reference has every name that callers can use."""

from __future__ import annotations

import html
import re
import subprocess
import time
from pathlib import Path

import build_site
import c_header
import chromium
import public_names
import pytest
from paths import ROOT
from snippets import BUILT
from steps import StepError

pytest.importorskip("sphinx", reason="requirements-site.txt is not installed")
pytest.importorskip("clang", reason="requirements-site.txt is not installed")

import link_check
from sphinx.util.inventory import InventoryFile

PROGRAM = BUILT / "kvcache"
EACH_KIND = [  # of page: prose, wide tables, long names, signatures, drawings, printed columns
    *("index", "README", "docs/CONCEPTS", "docs/WHICH_CALL", "docs/TREE", "docs/TROUBLESHOOTING"),
    *("reference/c", "reference/cpp/sequence", "reference/python", "reference/program"),
]
Names = dict[str, set[str]]  # by the kind that Sphinx has them under, such as "cpp:class"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("site") / "html"
    build_site.build_site(output, PROGRAM)
    return output


@pytest.fixture(scope="module")
def names(site: Path) -> Names:
    inventory = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {kind: set(entries) for kind, entries in inventory.data.items()}


def short(names: Names, domain: str) -> set[str]:
    """The names of a language without their scopes."""
    found = set().union(*(of for kind, of in names.items() if kind.startswith(f"{domain}:")))
    return {re.split(r"::|\.", name)[-1] for name in found}


def test_nothing_but_the_site_is_left(site: Path) -> None:
    assert [path.name for path in site.parent.iterdir()] == ["html"]


def test_every_page_of_the_repository_is_there(site: Path, names: Names) -> None:
    for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")):
        name = str(path.relative_to(ROOT).with_suffix(""))
        assert name in names["std:doc"]
        assert (site / f"{name}.html").is_file()


def test_every_link_leads_somewhere(site: Path) -> None:
    problems, followed, _ = link_check.dead_links(site)
    assert problems == []
    assert followed > 5000


@pytest.mark.parametrize("header", public_names.of_cpp())
def test_every_name_of_a_cpp_header_has_an_entry(names: Names, header: str) -> None:
    assert public_names.of_cpp()[header] - short(names, "cpp") == set()


def test_the_listing_of_cpp_names_finds_them() -> None:
    """Else it would miss with the reference what both do not see."""
    listed = public_names.of_cpp()
    assert {"Sequence", "extend", "fork", "commit", "length"} <= listed["sequence.hpp"]
    assert {"beams", "beam_search", "Beam", "score"} <= listed["beam_search.hpp"]
    assert {"ErrorCode", "queue_full", "Error", "code"} <= listed["error.hpp"]
    assert {"KVCacheInferencer", "Metrics", "forward"} <= listed["kvcache_inferencer.hpp"]
    assert sum(map(len, listed.values())) > 400


def test_every_name_of_kvcache_h_has_an_entry(names: Names) -> None:
    header = c_header.read(c_header.HEADER.read_text(encoding="utf-8"))
    functions = {function.name for function in header.functions}
    assert functions == names["c:function"]
    others = {*header.defines, *header.aliases, *header.handles, *header.callbacks, *header.numbers}
    assert others | set(header.structs) <= short(names, "c")
    for struct, fields in header.structs.items():
        assert {f"{struct}.{field.name}" for field in fields} <= names["c:member"]


def test_every_command_has_its_help(site: Path) -> None:
    """By the names that the sources give CLI11."""
    page = (site / "reference" / "program.html").read_text(encoding="utf-8")
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "cli").glob("*.cpp"))
    commands = re.findall(r'add_subcommand\(\s*"([\w-]+)"', sources)
    assert len(commands) == 10
    for command in commands:
        assert f'id="kvcache-{command}"' in page
    options = set(re.findall(r'add_(?:option|flag)\w*\(\s*"(?:-\w,)?(--[\w-]+)', sources))
    assert len(options) > 50
    assert {option for option in options if option not in page} == set()


def test_the_exporter_has_its_options(site: Path) -> None:
    page = (site / "reference" / "exporter.html").read_text(encoding="utf-8")
    package = (ROOT / "python" / "kvcache_export").glob("*.py")
    source = "".join(path.read_text(encoding="utf-8") for path in package)
    options = set(re.findall(r'add_argument\(\s*"(--[\w-]+)"', source))
    assert len(options) > 10
    assert {option for option in options if option not in page} == set()


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    for path in site.rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        for tag in re.findall(r"<(?:link|script|img|iframe)\b[^>]*>", page):
            assert "//" not in tag, f"{path.name}: {tag}"


@pytest.mark.parametrize("pages", [EACH_KIND, pytest.param(["**/*"], marks=pytest.mark.full)])
def test_pages_fit_a_phone(site: Path, pages: list[str]) -> None:
    """None is scrolled sideways, and the browser complains of nothing."""
    browser = chromium.Browser(chromium.start())
    found = [path for page in pages for path in sorted(site.glob(f"{page}.html"))]
    assert len(found) >= len(pages)
    try:
        for path in found:
            browser.open(path, 360, "dark")
            assert browser.ask("return document.documentElement.scrollWidth") == 360, path
            assert browser.complaints() == [], path
    finally:
        browser.driver.quit()


def test_what_is_looked_for_is_found(site: Path) -> None:
    """From the files alone, without a server."""
    browser = chromium.Browser(chromium.start())
    found = "return [...document.querySelectorAll('#search-results li a')].map(e => e.textContent)"
    try:
        browser.driver.get(f"{(site / 'search.html').as_uri()}?q=rewind")
        deadline = time.monotonic() + 20
        while "Fork and rewind" not in browser.ask(found) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert {"Fork and rewind", "kvcache.Sequence.rewind"} <= set(browser.ask(found))
    finally:
        browser.driver.quit()


def test_pictures_have_the_colours_of_the_page(site: Path) -> None:
    """Chosen by the system, and on the page itself."""
    browser = chromium.Browser(chromium.start())
    color = "return getComputedStyle(document.querySelector('svg.picture text')).fill"
    text = "return getComputedStyle(document.querySelector('article p')).color"
    try:
        seen = set()
        for theme in chromium.THEMES:
            browser.open(site / "docs" / "CONCEPTS.html", 360, theme)
            assert browser.ask(color) == browser.ask(text)
            seen.add(browser.ask(color))
        browser.ask("document.body.dataset.theme = 'light'")
        assert browser.ask(color) == browser.ask(text)
        assert len(seen) == 2
    finally:
        browser.driver.quit()


def words(page: Path) -> str:
    """The text of a page, with one space between words."""
    without_tags = re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))
    return " ".join(html.unescape(without_tags).split())


@pytest.mark.parametrize("header", public_names.of_cpp())
def test_the_comments_of_a_cpp_header_come_along(site: Path, header: str) -> None:
    folder = "kvcache/" if header != "kvcache_inferencer.hpp" else ""
    begin = set(public_names.comments(f"{folder}{header}"))
    if not public_names.of_cpp()[header]:
        return  # it has no page
    page = words((site / "reference" / "cpp" / header).with_suffix(".html"))
    assert {comment for comment in begin if comment not in page} == set()


def test_the_listing_of_comments_finds_them() -> None:
    """Those above, those behind a field and those behind a function."""
    assert "Forgets all tokens and gives their" in public_names.comments("kvcache/sequence.hpp")
    types = set(public_names.comments("kvcache/types.hpp"))
    assert {"where the weights came from", '"float32", …'} <= types
    headers = [f"kvcache/{name}" for name in public_names.of_cpp() if "inferencer" not in name]
    assert sum(len(list(public_names.comments(header))) for header in headers) > 300


def test_the_comments_of_kvcache_h_come_along(site: Path) -> None:
    page = words(site / "reference" / "c.html")
    text = c_header.HEADER.read_text(encoding="utf-8")
    comments = re.findall(r"/\*(?: ---- .*? ----)?(.*?)\*/", text, re.DOTALL)
    assert len(comments) > 150
    for comment in comments:
        plain = " ".join(re.sub(r"^\s*\* ?", "", comment, flags=re.MULTILINE).split())
        for part in re.split(r"docs/\w+\.md|`", plain):  # which has become a page's title
            assert part.strip() in page


def test_every_call_that_is_recommended_leads_to_its_entry(site: Path) -> None:
    page = (site / "docs" / "WHICH_CALL.html").read_text(encoding="utf-8")
    table = page[page.index("<tbody>") : page.index("</tbody>")]
    names = re.findall(r"<code.*?</code>", table, re.DOTALL)
    links = re.findall(r'href="\.\./reference/[^"]*"><code', table)
    assert len(links) == len(names) > 60


def test_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StepError, match=r"/missing is no program") as raised:
        build_site.build_site(tmp_path / "out", Path("/missing"))
    assert "scripts/benchmark" in raised.value.advice
    assert list(tmp_path.iterdir()) == []


def test_says_that_a_program_is_another_one(tmp_path: Path) -> None:
    with pytest.raises(StepError) as raised:
        build_site.build_site(tmp_path / "out", Path("/bin/true"))
    assert "lists no commands; kvcache's does" in raised.value.output
    assert list(tmp_path.iterdir()) == []


def test_replaces_nothing_but_a_site(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    with pytest.raises(StepError, match="is there and is no site") as raised:
        build_site.build_site(tmp_path, PROGRAM)
    assert "--output" in raised.value.advice
    assert [path.name for path in tmp_path.iterdir()] == ["letters"]


def test_says_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StepError, match=r"cannot be written to .*file/site: "):
        build_site.build_site(tmp_path / "file" / "site", PROGRAM)


def test_a_page_with_an_error_leaves_the_site_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "site"
    output.mkdir()
    for name in build_site.MADE_HERE:
        (output / name).write_text("before")

    def fail(*_: object, **__: object) -> None:
        raise StepError("a page has an error")

    monkeypatch.setattr(build_site, "run", fail)
    with pytest.raises(StepError, match="a page has an error"):
        build_site.build_site(output, PROGRAM)
    assert list(tmp_path.iterdir()) == [output]
    assert (output / "index.html").read_text() == "before"


def test_the_command_tells_its_options() -> None:
    ran = subprocess.run(
        [ROOT / "scripts" / "site", "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--output DIR", "--program FILE", "--repository-url URL"):
        assert option in ran.stdout
