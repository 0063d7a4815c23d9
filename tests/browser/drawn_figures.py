"""What a page shows, read from the browser: figures, places of marks, contrasts."""

from __future__ import annotations

import re
from itertools import pairwise
from math import log2
from typing import Any

from chromium import Browser
from written_figure import Written

# Each mark's place in pixels, and the places of the axis's values: what it stands for follows.
LINES = """
return [...document.querySelectorAll('figure.lines')].map(figure => {
  const drawing = figure.querySelector('svg.drawing');
  const middle = (element, side) => {
    const box = element.getBoundingClientRect();
    return side === 'x' ? box.left + box.width / 2 : box.top + box.height / 2;
  };
  const axis = side => [...drawing.querySelectorAll(`line[data-axis="${side}"]`)].map(
    line => [Number(line.dataset.value), middle(line, side)]);
  return {
    id: figure.id,
    scale: drawing.dataset.xScale,
    x: axis('x'), y: axis('y'),
    points: [...drawing.querySelectorAll(':scope > svg.point')].map(point => {
      const mark = point.querySelector('.mark');
      return {series: point.dataset.series, x: Number(point.dataset.x), y: Number(point.dataset.y),
              json: point.dataset.json, left: middle(mark, 'x'), top: middle(mark, 'y')};
    }),
    whiskers: [...drawing.querySelectorAll('line.whisker')].map(line => {
      const box = line.getBoundingClientRect();
      return {low: Number(line.dataset.low), high: Number(line.dataset.high),
              top: box.top, bottom: box.bottom};
    }),
  };
});
"""
BARS = """
return [...document.querySelectorAll('figure.bars')].map(figure => ({
  id: figure.id,
  bars: [...figure.querySelectorAll('.bar-drawing')].map(drawing => {
    const axis = [...drawing.querySelectorAll('line[data-axis]')].map(line => {
      const box = line.getBoundingClientRect();
      return [Number(line.dataset.value), box.left + box.width / 2];
    });
    const mark = drawing.querySelector('.bar');
    const box = mark.getBoundingClientRect();
    return {axis, value: Number(mark.dataset.value), json: mark.dataset.json,
            left: box.left, right: box.right, round: mark.tagName === 'circle',
            written: drawing.parentElement.querySelector('data').value};
  }),
}));
"""
FIGURES = """
return [...document.querySelectorAll('data')].map(element => ({
  value: Number(element.value), json: element.dataset.json, text: element.textContent}));
"""
# Of every element with text of its own: its colour and that of what is behind it.
CONTRASTS = """
const probe = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = colour => {
  probe.clearRect(0, 0, 1, 1);
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  return [...probe.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(
  c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4
).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const behind = element => {
  for (let e = element; e; e = e.parentElement) {
    const colour = rgb(getComputedStyle(e).backgroundColor);
    if (colour[3] === 255) return colour;
  }
  return [255, 255, 255, 255];
};
const found = [];
for (const element of document.body.querySelectorAll('*')) {
  const style = getComputedStyle(element);
  const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  if (own && element.checkVisibility()) {
    const cell = element.closest('.icicle g')?.querySelector('rect');
    const ground = cell ? rgb(getComputedStyle(cell).fill) : behind(element);
    const ink = rgb(element.closest('svg') ? style.fill : style.color);
    found.push({kind: 'text', what: element.textContent.slice(0, 40),
                contrast: contrast(ink, ground)});
  }
  if (element.matches('.mark, rect.bar, circle.bar')) {
    found.push({kind: 'mark', what: element.getAttribute('class'),
                contrast: contrast(rgb(style.fill), behind(element))});
  }
}
return found;
"""


def at_place(document: Any, place: str) -> Any:
    """The value at a place such as `[1].decode[0].median_ms`; names of shapes hold no dots."""
    for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", place):
        document = document[int(number)] if number else document[name]
    return document


def value_at(axis: list[list[float]], pixel: float, scale: str = "linear") -> float:
    """What a place along an axis stands for, from two of its values, far from each other."""
    (first, first_at), (last, last_at) = axis[0], axis[-1]
    share = (pixel - first_at) / (last_at - first_at)
    if scale == "log":
        return 2 ** (log2(first) + share * (log2(last) - log2(first)))
    return first + share * (last - first)


def extent(axis: list[list[float]]) -> float:
    return abs(axis[-1][0] - axis[0][0])


def pixels(axis: list[list[float]]) -> float:
    return abs(axis[-1][1] - axis[0][1])


def check_figures(browser: Browser, document: Any) -> int:
    """Every figure is the JSON's, and what is written is what it says; returns how many."""
    figures = browser.ask(FIGURES)
    assert figures
    for figure in figures:
        if figure["json"]:
            assert figure["value"] == at_place(document, figure["json"]), figure
        assert Written.of(figure["text"]).says(figure["value"]), figure
    return sum(bool(figure["json"]) for figure in figures)


def check_lines(browser: Browser, document: Any) -> set[str]:
    """Marks lie where their figures belong, to half a pixel; returns the drawings' names."""
    charts = browser.ask(LINES)
    for chart in charts:
        assert chart["points"], chart["id"]
        y_tolerance = 0.6 * extent(chart["y"]) / pixels(chart["y"])
        for point in chart["points"]:
            if point["json"]:
                assert point["y"] == at_place(document, point["json"])
            drawn = value_at(chart["y"], point["top"])
            assert abs(drawn - point["y"]) <= y_tolerance, (chart["id"], point)
            if len(chart["x"]) > 1:
                drawn_x = value_at(chart["x"], point["left"], chart["scale"])
                wide = 0.6 * extent(chart["x"]) / pixels(chart["x"])
                tolerance = 0.03 * point["x"] if chart["scale"] == "log" else wide
                assert abs(drawn_x - point["x"]) <= tolerance, (chart["id"], point)
        for whisker in chart["whiskers"]:
            assert abs(value_at(chart["y"], whisker["top"]) - whisker["high"]) <= 2 * y_tolerance
            assert abs(value_at(chart["y"], whisker["bottom"]) - whisker["low"]) <= 2 * y_tolerance
    return {chart["id"] for chart in charts}


def check_bars(browser: Browser, document: Any) -> set[str]:
    """Bars end where their figures belong, to half a pixel; returns the drawings' names."""
    charts = browser.ask(BARS)
    for chart in charts:
        assert chart["bars"], chart["id"]
        for bar in chart["bars"]:
            assert float(bar["written"]) == bar["value"]
            if bar["json"]:
                assert bar["value"] == at_place(document, bar["json"])
            end = (bar["left"] + bar["right"]) / 2 if bar["round"] else bar["right"]
            tolerance = 0.6 * extent(bar["axis"]) / pixels(bar["axis"])
            assert abs(value_at(bar["axis"], end) - bar["value"]) <= tolerance, (chart["id"], bar)
    return {chart["id"] for chart in charts}


def check_contrasts(browser: Browser) -> None:
    """WCAG 2.2 AA: 4.5 of text, 3 of what is drawn."""
    found = browser.ask(CONTRASTS)
    assert {entry["kind"] for entry in found} >= {"text"}
    too_weak = [
        entry for entry in found if entry["contrast"] < (4.5 if entry["kind"] == "text" else 3)
    ]
    assert not too_weak, too_weak


def check_layout(browser: Browser) -> None:
    """The page is as wide as the window, loads nothing and runs nothing."""
    wide = browser.ask(
        "const page = document.documentElement; return [page.scrollWidth, page.clientWidth];"
    )
    assert wide[0] <= wide[1]
    # Nothing sticks out by itself either, but for what scrolls or is cut off in a frame of its own.
    sticking_out = browser.ask("""
      const wide = document.documentElement.clientWidth + 0.5;
      return [...document.body.querySelectorAll('*')].filter(
        e => e.getBoundingClientRect().right > wide && e.checkVisibility()
             && !e.closest('.scroll, .icicle svg svg') && !e.matches('.icicle g')
      ).map(e => e.outerHTML.slice(0, 120));
    """)
    assert sticking_out == []
    assert browser.ask("return performance.getEntriesByType('resource').length") == 0
    assert browser.ask("return document.scripts.length") == 0
    assert browser.complaints() == []
    assert browser.ask("return document.documentElement.lang") == "en"
    levels = browser.ask("""return [...document.querySelectorAll('h1,h2,h3')].map(
      heading => Number(heading.tagName[1]))""")
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    captions = "return [...document.querySelectorAll('table')].every(t => t.caption)"
    assert browser.ask(captions)
    ids = browser.ask("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))
