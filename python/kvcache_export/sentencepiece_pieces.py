"""The tokenizer.json of SentencePiece's pieces, wherever they are written: byte pairs by scores.

A pair is merged where its text is a piece, the one of the highest score first and of several such
the leftmost; as rules in an order, of which the first counts, that is what `tokenizers` does. Where
both orders can matter for pieces of the same score, there is no such file.

One thing is as in the files that transformers makes of such models, and not as in SentencePiece:
where a text holds a piece of the user's (Mistral v3's "[REFERENCE_DOC_0]"), what follows it begins
with a space like a text of its own, if texts do.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MAX_PIECES = 1 << 22  # as many as the library takes
LONGEST_PIECE = 1 << 10  # characters; merges are looked for at each of them
LONGEST_RUN = 1 << 6  # of one character, in pieces of the same score
SPACE = "▁"

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of pieces


class UnsupportedTokenizerError(Exception):
    """Of which no tokenizer.json can be made, and why."""


@dataclass(frozen=True)
class Piece:
    """A token; ValueError where it is not as one can be."""

    text: str
    score: float
    type: int

    def __post_init__(self) -> None:
        if not 0 < len(self.text) <= LONGEST_PIECE:
            raise ValueError(
                f"a piece has {len(self.text)} characters, must have 1 to {LONGEST_PIECE}"
            )
        if self.type not in range(NORMAL, BYTE + 1) or math.isnan(self.score):
            raise ValueError(
                f"piece {self.text!r} has the type {self.type!r} and the score {self.score}"
            )


def check_count(pieces: int) -> None:
    if not 0 < pieces <= MAX_PIECES:
        raise ValueError(f"it has {pieces} pieces, must have 1 to {MAX_PIECES}")


def tokenizer_json(
    pieces: Sequence[Piece],
    *,
    space_before: bool,
    byte_fallback: bool,
    before: int | None,
    behind: int | None,
    unknown: int | None = None,
    added: Sequence[Mapping[str, Any]] = (),
    keeping_whitespace: Sequence[str] | None = None,
) -> str:
    """The file's text, of pieces in the order of their ids.

    Args:
        space_before: a text begins with a space that is not written.
        byte_fallback: what is no piece is written in its bytes.
        before, behind: ids of the tokens around a text; below 0 none, as None.
        unknown: the id of what nothing else stands for; the first of that type where None.
        added: tokens behind the pieces, as `added_token` makes them.
        keeping_whitespace: where given, all special and user's pieces but these take the whitespace
            behind them.

    Raises ValueError where pieces are not as they can be, UnsupportedTokenizerError where no
    tokenizer.json does the same.
    """
    check_count(len(pieces))
    ids = {piece.text: i for i, piece in enumerate(pieces)}
    if len(ids) < len(pieces):
        raise ValueError("it has a piece twice")
    unknowns = [i for i, piece in enumerate(pieces) if piece.type == UNKNOWN]
    unknown = unknowns[0] if unknown is None and unknowns else unknown
    to_spaces = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    from_spaces = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    prepend = [{"type": "Prepend", "prepend": SPACE}] if space_before else []
    strip = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if space_before else []
    return json.dumps(
        {
            "version": "1.0",
            "added_tokens": [*_added(pieces, keeping_whitespace), *added],
            "normalizer": {"type": "Sequence", "normalizers": [*prepend, from_spaces]},
            "pre_tokenizer": None,
            "post_processor": _post_processor(pieces, before, behind),
            "decoder": {
                "type": "Sequence",
                "decoders": [to_spaces, {"type": "ByteFallback"}, {"type": "Fuse"}, *strip],
            },
            "model": {
                "type": "BPE",
                "unk_token": None if unknown is None else pieces[unknown].text,
                "fuse_unk": True,
                "byte_fallback": byte_fallback,
                "vocab": ids,
                "merges": _merges(pieces),
            },
        },
        ensure_ascii=False,
    )


def added_token(id_: int, content: str, *, special: bool) -> dict[str, Any]:
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": id_, "content": content, **flags, "special": special}


def _merges(pieces: Sequence[Piece]) -> list[list[str]]:
    """Every way to make a piece of two others, the piece of the highest score first."""
    normal = {piece.text: i for i, piece in enumerate(pieces) if piece.type == NORMAL}
    _check_unused(pieces, normal)
    ordered = sorted(normal, key=lambda text: (-pieces[normal[text]].score, normal[text]))
    merges: list[list[str]] = []
    for _, texts in itertools.groupby(ordered, key=lambda text: pieces[normal[text]].score):
        same: list[list[str]] = []  # of the same score
        for text in texts:
            halves = [(text[:at], text[at:]) for at in range(1, len(text))]
            there = [pair for pair in halves if pair[0] in normal and pair[1] in normal]
            same += map(list, sorted(there, key=lambda pair: (normal[pair[0]], normal[pair[1]])))
        _check_same_score(same)
        merges += same
    return merges


def _check_unused(pieces: Sequence[Piece], normal: Mapping[str, int]) -> None:
    """Refuses unused pieces that merges would lead to, which are taken apart again."""
    there = normal.keys() | {piece.text for piece in pieces if piece.type == UNUSED}
    for text in there - normal.keys():
        if any(text[:at] in there and text[at:] in there for at in range(1, len(text))):
            raise UnsupportedTokenizerError(
                f"its unused piece {text!r} can be made of others, which is not supported"
            )


def _check_same_score(merges: Sequence[Sequence[str]]) -> None:
    """Refuses merges of one score that can share a symbol: the leftmost must be the first.

    Runs of one character (Llama 2's spaces) are as long as they can be in either order, mostly.
    """
    of_runs = {left[0] for left, right in merges if len({*left, *right}) == 1}
    for letter in of_runs if len(merges) > 1 else ():
        runs = [(len(a), len(b)) for a, b in merges if {*a, *b} == {letter}]
        longest = max(map(sum, runs))
        if longest > LONGEST_RUN or any(
            _merged(n, runs, leftmost=True) != _merged(n, runs, leftmost=False)
            for n in range(2, 3 * longest)
        ):
            raise UnsupportedTokenizerError(
                f"its pieces of {letter!r} have the same score, which is not supported"
            )
    begun: dict[str, set[str]] = {}
    for left, right in merges:
        begun.setdefault(left, set()).add(left + right)
    for left, right in merges:
        for other in begun.get(right, set()) - {left + right}:
            if len({*left, *right, *other}) > 1:
                raise UnsupportedTokenizerError(
                    f"its pieces {left + right!r} and {other!r} have the same score and can share"
                    f" {right!r}, which is not supported"
                )


def _merged(length: int, runs: Sequence[tuple[int, int]], *, leftmost: bool) -> list[int]:
    """The lengths that a run is cut into: where several merges fit, the leftmost, or the first."""
    order = {pair: rank for rank, pair in enumerate(runs)}
    parts = [1] * length
    while True:
        fitting = [
            (at if leftmost else order[pair], at)
            for at, pair in enumerate(itertools.pairwise(parts))
            if pair in order
        ]
        if not fitting:
            return parts
        at = min(fitting)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def _added(
    pieces: Sequence[Piece], keeping_whitespace: Sequence[str] | None
) -> list[dict[str, Any]]:
    """Pieces that are found as they are: a user's, and special ones, which are no text."""
    return [
        added_token(i, piece.text, special=piece.type != USER_DEFINED)
        | {"rstrip": keeping_whitespace is not None and piece.text not in keeping_whitespace}
        for i, piece in enumerate(pieces)
        if piece.type in (UNKNOWN, CONTROL, USER_DEFINED)
    ]


def _post_processor(
    pieces: Sequence[Piece], before: int | None, behind: int | None
) -> dict[str, Any] | None:
    """What stands around a text."""
    around = {"before": before, "behind": behind}
    there = {
        side: (id_, pieces[id_].text)
        for side, id_ in around.items()
        if id_ is not None and 0 <= id_ < len(pieces)
    }
    if not there:
        return None
    special = {
        side: [{"SpecialToken": {"id": text, "type_id": 0}}] for side, (_, text) in there.items()
    }
    text, other = ([{"Sequence": {"id": name, "type_id": 0}}] for name in "AB")
    single = [*special.get("before", []), *text, *special.get("behind", [])]
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": [*single, *other],
        "special_tokens": {
            text: {"id": text, "ids": [id_], "tokens": [text]} for id_, text in there.values()
        },
    }
