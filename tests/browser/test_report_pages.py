"""Pages in a browser: their figures are the JSON's, and no layout overflows."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from browser_program import read, run
from chromium import ROOT, THEMES, WIDTHS, Browser
from drawn_figures import (
    FIGURES,
    LINES,
    check_bars,
    check_contrasts,
    check_figures,
    check_layout,
    check_lines,
)

RESULTS = ROOT / "bench" / "results"
HOSTILE = """</script><script>document.title='run'</script><img src=x onerror="alert(1)">'"&amp;"""
each_size = pytest.mark.parametrize(
    ("width", "theme"), [(width, theme) for width in WIDTHS for theme in THEMES]
)


def check_page(browser: Browser, document: Any) -> tuple[int, set[str]]:
    check_layout(browser)
    check_contrasts(browser)
    drawings = check_lines(browser, document) | check_bars(browser, document)
    return check_figures(browser, document), drawings


@each_size
def test_every_figure_of_a_measurement_is_the_jsons(
    browser: Browser, measured: tuple[Path, Path], width: int, theme: str
) -> None:
    page, file = measured
    document = read(file)
    browser.open(page, width, theme)
    browser.screenshot(f"report-{width}-{theme}")
    figures, drawings = check_page(browser, document)
    assert figures > 150
    assert {name.rstrip("-0123456789") for name in drawings} == {
        *("latency-by-token", "latency-by-depth", "memory", "roofline", "speedup", "tree"),
        *("batch", "search", "evaluator", "start", "save"),
    }
    # The rounds' medians of each token, computed here once more.
    charts = {chart["id"]: chart for chart in browser.ask(LINES)}
    by_token = next(chart for name, chart in charts.items() if name.startswith("latency-by-token"))
    sequence = next(bench for bench in document if bench["mode"] == "sequence")
    expected = [
        median(decode["samples_ms"][token :: decode["tokens_per_round"]])
        for decode in sequence["decode"]
        for token in range(decode["tokens_per_round"])
    ]
    assert [point["y"] for point in by_token["points"]] == pytest.approx(expected, rel=1e-12)
    rates = [f["value"] for f in browser.ask(FIGURES) if f["text"].endswith("/s")]
    for decode in sequence["decode"]:
        assert any(rate == pytest.approx(1e3 / decode["median_ms"]) for rate in rates)


@pytest.mark.parametrize("name", ["tree-curve", "window-10000", "cpu-peers-smollm2"])
def test_stored_results_are_drawn(browser: Browser, tmp_path: Path, name: str) -> None:
    page = tmp_path / f"{name}.html"
    run("view", RESULTS / f"{name}.json", "--html", page)
    for width, theme in ((360, "dark"), (1280, "light")):
        browser.open(page, width, theme)
        browser.screenshot(f"{name}-{width}-{theme}")
        check_page(browser, read(RESULTS / f"{name}.json"))


def test_baselines_are_the_runs_medians(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "peers.html"
    peers = RESULTS / "cpu-peers-smollm2.json"
    run("view", peers, "--html", page)
    browser.open(page, 1280, "light")
    expected = set()
    for entry in read(peers)["baselines"]:
        for depth in (8, 512, 4096):
            runs = [
                run[f"decode_ms_{depth}"] for run in entry["runs"] if f"decode_ms_{depth}" in run
            ]
            if runs and entry["agreement"]["holds"]:
                expected.add(median(map(median, runs)))
    drawn = browser.ask("""return [...document.querySelectorAll('rect.bar')].map(
      bar => Number(bar.dataset.value))""")
    assert sorted(set(drawn)) == pytest.approx(sorted(expected))


def test_texts_from_outside_are_shown_and_not_obeyed(
    browser: Browser, measured: tuple[Path, Path], tmp_path: Path
) -> None:
    document = read(measured[1])
    for bench in document:
        bench["model"]["source"] = HOSTILE
        bench["environment"]["processor"] = HOSTILE
        if bench["mode"] == "batch":
            bench["ways"][0]["name"] = HOSTILE
    hostile = tmp_path / "hostile.json"
    hostile.write_text(json.dumps(document))
    page = tmp_path / "hostile.html"
    run("view", hostile, "--html", page)
    browser.open(page, 360, "light")
    browser.screenshot("hostile-360-light")
    assert HOSTILE in browser.driver.title
    assert browser.ask("return document.querySelectorAll('script, img').length") == 0
    assert HOSTILE in browser.ask("return document.querySelector('h1').textContent")
    check_page(browser, document)


def test_the_keyboard_reaches_points_and_folds(
    browser: Browser, measured: tuple[Path, Path]
) -> None:
    from selenium.webdriver.common.keys import Keys

    browser.open(measured[0], 768, "light")
    focus = "return document.activeElement.getAttribute('class') || document.activeElement.tagName"
    stops = []
    for _ in range(80):
        browser.driver.switch_to.active_element.send_keys(Keys.TAB)
        stops.append(browser.ask(focus))
        if str(stops[-1]).startswith("point"):
            break
    assert stops[0] == "A"  # the contents
    assert str(stops[-1]).startswith("point"), stops
    shown = "return getComputedStyle(document.activeElement.querySelector('.tip')).display"
    assert browser.ask(shown) != "none"
    assert "SUMMARY" in stops
    summary = browser.driver.find_element("css selector", "details summary")
    browser.ask("arguments[0].focus()", summary)
    assert not browser.ask("return document.querySelector('details').open")
    summary.send_keys(Keys.ENTER)
    assert browser.ask("return document.querySelector('details').open")


# ---- Comparisons ---------------------------------------------------------------------------------


@each_size
def test_a_comparison_is_drawn(
    browser: Browser, measured: tuple[Path, Path], tmp_path: Path, width: int, theme: str
) -> None:
    """Of a run with itself slowed by a half: every time 1.5 times as long, rounds as they are."""
    document = read(measured[1])
    slower = [bench for bench in document if bench["mode"] == "tree"]
    for bench in slower:
        for way in ("tree", "forks", "fresh"):
            bench[way]["samples_ms"] = [1.5 * sample for sample in bench[way]["samples_ms"]]
    second = tmp_path / "second.json"
    second.write_text(json.dumps(slower))
    page = tmp_path / "compared.html"
    text = run("compare", measured[1], second, "--html", page)
    assert "1.500x" in text
    browser.open(page, width, theme)
    browser.screenshot(f"compared-{width}-{theme}")
    check_layout(browser)
    check_contrasts(browser)
    assert check_bars(browser, document) == {"ratios"}
    drawn = browser.ask("""return [...document.querySelectorAll('circle.bar')].map(
      mark => Number(mark.dataset.value))""")
    assert drawn[0] == pytest.approx(1.5, rel=0.2)  # the median of all pairs of rounds
    untouched = next(bench for bench in read(measured[1]) if bench["mode"] == "tree")
    firsts = untouched["tree"]["samples_ms"]
    seconds = slower[0]["tree"]["samples_ms"]
    assert drawn[0] == pytest.approx(median(b / a for a in firsts for b in seconds))


# ---- Trees ---------------------------------------------------------------------------------------


def search_line(ply: int) -> dict[str, Any]:
    """A search with a hostile move, an end, and blocks of both kinds."""
    nodes = [{"parent": -1, "move": "", "visits": 100, "value": -0.25, "prior": 1.0}]
    for number in range(1, 40):
        parent = (number - 1) // 3
        nodes.append(
            {
                "parent": parent,
                "move": HOSTILE if number == 2 else f"m{number}",
                "visits": max(1, nodes[parent]["visits"] // 4),
                "value": round((number * 37 % 200) / 100 - 1, 3),
                "prior": 0.25,
            }
        )
    for number, node in enumerate(nodes):
        node |= {"tokens_computed": 4, "tokens_reused": 8 + number, "end": number == 39}
        node |= {"blocks": [number % 4, 1]}
    head = {"game": 0, "ply": ply, "board": [5, 5, 1], "text": "[Board 5x5]\n\n1. " + HOSTILE}
    return head | {"simulations": 99, "ms": 12.5, "nodes": nodes, "chosen": "m1"}


@each_size
def test_a_search_is_drawn(browser: Browser, tmp_path: Path, width: int, theme: str) -> None:
    searches = [search_line(ply) for ply in range(3)]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(search) + "\n" for search in searches))
    assert run("view", trace, "--search", 2).strip() == str(tmp_path / "trace.html")
    browser.open(tmp_path / "trace.html", width, theme)
    browser.screenshot(f"search-{width}-{theme}")
    nodes = searches[1]["nodes"]
    check_layout(browser)
    check_contrasts(browser)
    assert browser.ask("return document.querySelectorAll('script, img').length") == 0
    # The list has every node, with its figures.
    listed = browser.ask("""return [...document.querySelectorAll('.tree .row:not(.head)')].map(
      row => Object.fromEntries([...row.querySelectorAll('data[data-json]')].map(
        figure => [figure.dataset.json, Number(figure.value)])))""")
    found = {place: value for row in listed for place, value in row.items()}
    assert len(listed) == len(nodes)
    for number, node in enumerate(nodes):
        for name in ("visits", "value", "prior", "tokens_computed"):
            assert found[f"nodes[{number}].{name}"] == node[name]
        for at in (0, 1):
            assert found[f"nodes[{number}].blocks[{at}]"] == node["blocks"][at]
    squares = browser.ask("return document.querySelectorAll('.blocks i.shared').length")
    assert squares == sum(node["blocks"][0] for node in nodes)
    # Boxes are as wide as their share of the visits, under their parents.
    boxes = browser.ask("""return [...document.querySelectorAll('.icicle g')].map(box => {
      const place = box.querySelector('rect').getBoundingClientRect();
      return [Number(box.dataset.node), place.left, place.right, place.top]; })""")
    at = {int(node): (left, right, top) for node, left, right, top in boxes}
    assert at.keys() == set(range(len(nodes)))
    whole = at[0][1] - at[0][0]
    for number, (left, right, top) in at.items():
        assert right - left == pytest.approx(whole * nodes[number]["visits"] / 100, abs=0.6)
        if number:
            above = at[nodes[number]["parent"]]
            assert above[0] - 0.6 <= left
            assert right <= above[1] + 0.6
            assert top > above[2]


@pytest.mark.parametrize(("width", "theme"), [(360, "light"), (1280, "dark")])
def test_a_tree_of_tokens_is_drawn(
    browser: Browser, tmp_path: Path, width: int, theme: str
) -> None:
    """A chain of 300 tokens and a bush: neither the page nor the program minds the depth."""
    parents = [-1, *range(299), *([-1] * 20)]
    tree = tmp_path / "tree.json"
    tree.write_text(json.dumps({"tokens": list(range(1000, 1320)), "parents": parents}))
    run("view", tree)
    browser.open(tmp_path / "tree.html", width, theme)
    browser.screenshot(f"tree-{width}-{theme}")
    check_layout(browser)
    check_contrasts(browser)
    labels = browser.ask("""return [...document.querySelectorAll('.tree .row .label')].map(
      label => label.textContent)""")
    assert sorted(map(int, labels)) == list(range(1000, 1320))
