"""Pieces whose order of merging no tokenizer.json can say are refused, and no others."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from tokenizers import Tokenizer

from kvcache_export import sentencepiece_pieces
from kvcache_export.sentencepiece_pieces import NORMAL, UNUSED, Piece, UnsupportedTokenizerError


def made(scores: dict[str, float], unused: tuple[str, ...] = ()) -> str:
    pieces = [
        Piece(text, score, UNUSED if text in unused else NORMAL) for text, score in scores.items()
    ]
    return sentencepiece_pieces.tokenizer_json(
        pieces, space_before=False, byte_fallback=False, before=None, behind=None
    )


def runs(letter: str, lengths: Iterable[int], score: float = -1.0) -> dict[str, float]:
    return {letter: -9.0} | {letter * length: score for length in lengths}


SPACES = (2, 4, 8, 5, 16, 6, 12, 13, 10, 14, 3, 9, 7, 11, 15)  # Llama 2's, in their order
LETTERS = dict.fromkeys("abc", -9.0)


def test_the_highest_score_is_merged_first():
    file = made(LETTERS | {"bc": -1.0, "ab": -2.0, "abc": -3.0})
    assert json.loads(file)["model"]["merges"] == [["b", "c"], ["a", "b"], ["a", "bc"], ["ab", "c"]]
    assert Tokenizer.from_str(file).encode("abc").tokens == ["abc"]


@pytest.mark.parametrize(
    "scores",
    [
        runs("a", SPACES),
        runs("a", SPACES) | runs("b", (2, 4, 3)),
        LETTERS | {"ab": -1.0, "ac": -1.0},
        LETTERS | {"ab": -1.0, "bc": -2.0},
    ],
    ids=str,
)
def test_the_same_score_where_it_does_not_matter(scores: dict):
    """The leftmost pair of the same score is the first, as SentencePiece merges."""
    tokenizer = Tokenizer.from_str(made(scores))
    for length in range(1, 60):
        for letters in ("a", "b", "ab", "aab", "abc"):
            text = (letters * length)[:length]
            if set(text) <= scores.keys():
                assert tokenizer.encode(text).tokens == merged(text, scores), text


def merged(text: str, scores: dict[str, float]) -> list[str]:
    """SentencePiece's order by its definition."""
    parts = list(text)
    while True:
        pairs = [(scores.get(parts[i] + parts[i + 1]), -i) for i in range(len(parts) - 1)]
        found = [pair for pair in pairs if pair[0] is not None]
        if not found:
            return parts
        at = -max(found)[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (
            LETTERS | {"ab": -1.0, "bc": -1.0},
            "its pieces 'ab' and 'bc' have the same score and can share 'b'",
        ),
        (
            runs("a", range(2, 3)) | {"b": -9.0, "ab": -1.0},
            "its pieces 'aa' and 'ab' have the same score and can share 'a'",
        ),
        (runs("a", range(2, 17)), "its pieces of 'a' have the same score"),
        (runs("a", range(2, 32)), "its pieces of 'a' have the same score"),
        (runs("a", range(2, 80)), "its pieces of 'a' have the same score"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_same_score_where_it_matters_is_refused(scores: dict, message: str):
    with pytest.raises(UnsupportedTokenizerError) as caught:
        made(scores)
    assert message in str(caught.value)


def test_unused_pieces_that_others_make_are_refused():
    scores = LETTERS | {"ab": -1.0, "[PAD]": -2.0}
    made(scores, unused=("[PAD]",))
    with pytest.raises(UnsupportedTokenizerError, match="its unused piece 'ab' can be made of"):
        made(scores, unused=("[PAD]", "ab"))
