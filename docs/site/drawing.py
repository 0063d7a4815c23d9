"""Small drawings of blocks of tokens as SVG, as wide as a phone.

Fills are translucent and text has the page's colour: one drawing is for light and dark pages.
"""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import escape

WIDTH = 340
CELL = 18
PAD = 3
BLOCK_LEN = 4
BLOCK_WIDTH = BLOCK_LEN * CELL + 2 * PAD
BLOCK_HEIGHT = CELL + 2 * PAD
STEP = BLOCK_WIDTH + 6  # from one block to the next
# What a token's place in the cache is: there before, written now, copied now, of nobody any more.
FILLS = {
    "kept": ("#3b82f6", 0.30),
    "new": ("#16a34a", 0.45),
    "copied": ("#f59e0b", 0.45),
    "left": ("#808080", 0.15),
    "empty": ("none", 0.0),
}
# For who opens the file itself; in a page the text has the page's colour.
STYLE = "svg{color:#1f2328}@media(prefers-color-scheme:dark){svg{color:#e6edf3}}"
FONT = "font-family='sans-serif' font-size='11.5'"


class Drawing:
    """Lines of SVG."""

    def __init__(self, height: int, title: str) -> None:
        self._height = height
        self._lines = [f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>"]
        self._lines.append(
            "<defs><marker id='head' viewBox='0 0 8 8' refX='7' refY='4' markerWidth='7'"
            " markerHeight='7' orient='auto'><path d='M0 0L8 4L0 8z' fill='currentColor'/>"
            "</marker></defs>"
        )

    def text(self, x: float, y: float, words: str, anchor: str = "start") -> None:
        """Words with their baseline at y."""
        self._lines.append(
            f"<text x='{x:g}' y='{y:g}' text-anchor='{anchor}' fill='currentColor' {FONT}>"
            f"{escape(words)}</text>"
        )

    def cell(self, x: float, y: float, token: str, kind: str = "kept") -> None:
        """A token's place."""
        color, opacity = FILLS[kind]
        dashes = " stroke-dasharray='2 2'" if kind in ("left", "empty") else ""
        self._lines.append(
            f"<rect x='{x:g}' y='{y:g}' width='{CELL}' height='{CELL}' rx='2' fill='{color}'"
            f" fill-opacity='{opacity}' stroke='currentColor' stroke-opacity='.45'{dashes}/>"
        )
        if token:
            self.text(x + CELL / 2, y + CELL / 2 + 4, token, "middle")

    def block(
        self, x: float, y: float, tokens: str, kinds: Sequence[str] = (), name: str = ""
    ) -> None:
        """A block: its tokens from the left, the rest empty. `kinds` are of the last tokens."""
        self._lines.append(
            f"<rect x='{x:g}' y='{y:g}' width='{BLOCK_WIDTH}' height='{BLOCK_HEIGHT}' rx='4'"
            " fill='none' stroke='currentColor'/>"
        )
        all_kinds = ["kept"] * (len(tokens) - len(kinds)) + list(kinds)
        all_kinds += ["empty"] * (BLOCK_LEN - len(tokens))
        for i, kind in enumerate(all_kinds):
            self.cell(x + PAD + i * CELL, y + PAD, tokens[i : i + 1], kind)
        if name:
            self.text(x + BLOCK_WIDTH / 2, y + BLOCK_HEIGHT + 13, name, "middle")

    def box(self, x: float, y: float, words: str, width: float = BLOCK_WIDTH) -> None:
        """Words in a frame: an entry of a table, a node of a tree."""
        self._lines.append(
            f"<rect x='{x:g}' y='{y:g}' width='{width:g}' height='20' rx='10' fill='none'"
            " stroke='currentColor' stroke-opacity='.6'/>"
        )
        self.text(x + width / 2, y + 14, words, "middle")

    def arrow(self, x1: float, y1: float, x2: float, y2: float) -> None:
        """A line with a head at its end."""
        self._lines.append(
            f"<path d='M{x1:g} {y1:g}L{x2:g} {y2:g}' stroke='currentColor' stroke-opacity='.7'"
            " fill='none' marker-end='url(#head)'/>"
        )

    def svg(self) -> str:
        """The whole file."""
        head = f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {self._height}'>"
        return "\n".join([head, *self._lines, "</svg>"]) + "\n"
