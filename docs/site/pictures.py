"""Draws docs/pictures/*.svg, which docs/CONCEPTS.md shows: python docs/site/pictures.py."""

from __future__ import annotations

from pathlib import Path

from drawing import BLOCK_HEIGHT, BLOCK_WIDTH, CELL, STEP, Drawing

PICTURES = Path(__file__).resolve().parents[1] / "pictures"
LEFT = 4


def column(i: float) -> float:
    """Where the i-th block of a row begins."""
    return LEFT + i * STEP


def middle(i: float) -> float:
    """The middle of that block."""
    return column(i) + BLOCK_WIDTH / 2


def blocks() -> Drawing:
    """A sequence's tokens, its table and the pool."""
    drawing = Drawing(190, "A sequence of ten tokens on three blocks of the pool")
    drawing.text(LEFT, 14, "tokens, in order")
    for i, tokens in enumerate(("abcd", "efgh", "ij")):
        for j, token in enumerate(tokens):
            drawing.cell(column(i) + 3 + j * CELL, 22, token)
    drawing.text(LEFT, 66, "block table")
    for i, name in enumerate(("block 2", "block 0", "block 3")):
        drawing.box(column(i), 74, name)
    for i, j in ((0, 2), (1, 0), (2, 3)):
        drawing.arrow(middle(i), 94, middle(j), 143)
    for j, tokens in enumerate(("efgh", "", "abcd", "ij")):
        drawing.block(column(j), 145, tokens, name=f"block {j}" if tokens else "block 1: free")
    return drawing


def extend() -> Drawing:
    """Three tokens more."""
    drawing = Drawing(160, "extend: three tokens are written, one block is taken")
    drawing.text(LEFT, 14, "before: block table 2, 0, 3")
    for j, tokens in enumerate(("efgh", "", "abcd", "ij")):
        drawing.block(column(j), 22, tokens, name=f"block {j}")
    drawing.text(LEFT, 88, "after extend(k, l, m): block table 2, 0, 3, 1")
    for j, (tokens, new) in enumerate((("efgh", 0), ("m", 1), ("abcd", 0), ("ijkl", 2))):
        drawing.block(column(j), 96, tokens, ["new"] * new, name=f"block {j}")
    drawing.text(LEFT, 154, "green: computed and written. Nothing else moved.")
    return drawing


def rewind() -> Drawing:
    """Back to six tokens."""
    drawing = Drawing(160, "rewind: whole blocks are given back")
    drawing.text(LEFT, 14, "before: block table 2, 0, 3, 1")
    for j, tokens in enumerate(("efgh", "m", "abcd", "ijkl")):
        drawing.block(column(j), 22, tokens, name=f"block {j}")
    drawing.text(LEFT, 88, "after rewind(6): block table 2, 0")
    kinds = {"efgh": ["left"] * 2}
    for j, tokens in enumerate(("efgh", "", "abcd", "")):
        name = f"block {j}" if tokens else f"block {j}: free"
        drawing.block(column(j), 96, tokens, kinds.get(tokens, ()), name=name)
    drawing.text(LEFT, 154, "g and h are overwritten by what comes next.")
    return drawing


def fork() -> Drawing:
    """Two holders of the same blocks, of which one writes."""
    drawing = Drawing(160, "fork: two sequences share blocks; one block is copied on a write")
    drawing.text(LEFT, 14, "after B = A.fork(): both have the table 2, 0, 3")
    for j, tokens in enumerate(("efgh", "", "abcd", "ij")):
        drawing.block(column(j), 22, tokens, name=f"{j}: A and B" if tokens else "1: free")
    drawing.text(LEFT, 88, "after B.extend(k): B has the table 2, 0, 1")
    names = ("0: A and B", "1: B", "2: A and B", "3: A")
    contents = (("efgh", ()), ("ijk", ("copied", "copied", "new")), ("abcd", ()), ("ij", ()))
    for j, (tokens, kinds) in enumerate(contents):
        drawing.block(column(j), 96, tokens, kinds, name=names[j])
    drawing.text(LEFT, 154, "orange: copied, as B wrote into a block that A holds too")
    return drawing


def batch() -> Drawing:
    """Three sequences in one run."""
    drawing = Drawing(206, "extend of a batch: rows of any length in one run, without padding")
    rows = (("A", ("abcd", "efgh", "ij"), "k"), ("B", ("no",), "pqrs"), ("C", ("uvwx", "y"), "zz"))
    for i, (name, held, new) in enumerate(rows):
        y = 6 + i * 36
        drawing.text(LEFT, y + 17, name)
        for j, tokens in enumerate(held):
            drawing.block(22 + j * (BLOCK_WIDTH + 2), y, tokens)
        for j, token in enumerate(new):
            drawing.cell(265 + j * CELL, y + 3, token, "new")
    drawing.text(LEFT, 130, "one run of 1 + 4 + 2 tokens:")
    for j, token in enumerate("kpqrszz"):
        drawing.cell(LEFT + 20 + j * CELL + 8 * ((j >= 1) + (j >= 5)), 138, token, "new")
    drawing.text(LEFT, 180, "The weights are read once for all of them. Each row")
    drawing.text(LEFT, 196, "attends over its own block table.")
    return drawing


def tree() -> Drawing:
    """Evaluate and commit."""
    drawing = Drawing(300, "evaluate: nodes on blocks of their own; commit: one path is kept")
    drawing.text(LEFT, 14, "prefix a … f, and four nodes after it")
    drawing.box(LEFT, 44, "prefix", 56)
    for x, y, name in ((96, 24, "0: k"), (96, 64, "1: l"), (176, 24, "2: m"), (176, 64, "3: n")):
        drawing.box(x, y, name, 48)
    for line in ((60, 50, 95, 36), (60, 58, 95, 72), (144, 34, 175, 34), (144, 74, 175, 74)):
        drawing.arrow(*line)
    drawing.text(LEFT, 112, "evaluate({k, l, m, n}, {−1, −1, 0, 1}): one run")
    names = ("prefix", "prefix", "the evaluation's", "free")
    for j, (tokens, new) in enumerate((("abcd", 0), ("ef", 0), ("klmn", 4), ("", 0))):
        drawing.block(column(j), 120, tokens, ["new"] * new, name=names[j])
    drawing.text(LEFT, 176, "Each node saw the prefix, its ancestors and itself.")
    drawing.text(LEFT, 204, "commit(evaluation, 2): the path k, m")
    for j, (tokens, copied) in enumerate((("abcd", 0), ("efkm", 2), ("klmn", 0), ("", 0))):
        drawing.block(column(j), 212, tokens, ["copied"] * copied, name=names[j])
    drawing.text(LEFT, 268, "Keys and values are copied, nothing is computed again.")
    drawing.text(LEFT, 284, "The tree's block is free when the evaluation goes.")
    return drawing


def prefix_cache() -> Drawing:
    """Known prefixes and a request."""
    drawing = Drawing(222, "prefix cache: a tree whose edges are whole blocks of tokens")
    drawing.text(LEFT, 14, "known: three texts that begin alike")
    drawing.block(column(0), 58, "abcd")
    for y, tokens in ((24, "efgh"), (92, "pqrs")):
        drawing.block(column(1.4), y, tokens)
        drawing.arrow(column(1) - 4, 70, column(1.4) - 2, y + BLOCK_HEIGHT / 2)
    drawing.block(column(2.8), 24, "ijkl")
    drawing.arrow(column(2.4) - 4, 36, column(2.8) - 2, 36)
    drawing.text(LEFT, 144, "acquire(a b c d e f x y): a … f are there")
    drawing.block(column(0), 152, "abcd", name="shared")
    drawing.block(column(1), 152, "ef", name="shared")
    for j, token in enumerate("xy"):
        drawing.cell(column(2) + 3 + j * CELL, 155, token, "empty")
    drawing.text(column(2) + 2 * CELL + 12, 168, "to be extended by")
    drawing.text(LEFT, 214, "insert() shares whole blocks; nothing is copied.")
    return drawing


def window() -> Drawing:
    """A window before and after it slid."""
    drawing = Drawing(200, "window: the first tokens and the latest ones stay")
    drawing.text(LEFT, 14, "full: 2 sinks, and the latest tokens")
    tokens = "abcdefghijklmnop"
    for i, token in enumerate(tokens):
        drawing.cell(LEFT + i * 20, 22, token)
    drawing.text(LEFT, 66, "the next token makes it slide: what is between leaves")
    for i, token in enumerate(tokens):
        drawing.cell(LEFT + i * 20, 74, token, "kept" if i < 2 or i >= 10 else "left")
    drawing.text(LEFT, 118, "after: size = 8 tokens stay, stride = 8 more fit")
    for i, token in enumerate("abklmnopq"):
        drawing.cell(LEFT + i * 20, 126, token, "new" if token == "q" else "kept")
    for i in range(9, 16):
        drawing.cell(LEFT + i * 20, 126, "", "empty")
    drawing.text(LEFT, 174, "Models with rotary positions keep keys and values;")
    drawing.text(LEFT, 190, "with learned positions, what stays is encoded anew.")
    return drawing


ALL = {
    "blocks": blocks,
    "extend": extend,
    "rewind": rewind,
    "fork": fork,
    "batch": batch,
    "tree": tree,
    "prefix_cache": prefix_cache,
    "window": window,
}


def main() -> None:
    """Write every picture."""
    PICTURES.mkdir(exist_ok=True)
    for name, draw in ALL.items():
        (PICTURES / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main()
