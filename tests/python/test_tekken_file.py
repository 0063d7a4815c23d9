"""A tekken.json becomes the tokenizer.json that merges by rank."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from kvcache_export import tekken_file, tokenizer_files
from kvcache_export.errors import ExportError

SPECIAL = 5
TOKENS = [bytes([byte]) for byte in range(256)]
TOKENS += [b"th", b"he", b"the", b" t", b" the", b"ab", b"bc", b"abc", "é".encode(), b"aa", b"aaa"]
SEED = 1


def vocab() -> list[dict[str, Any]]:
    return [
        {"rank": rank, "token_bytes": base64.b64encode(token).decode(), "token_str": None}
        for rank, token in enumerate(TOKENS)
    ]


def file(**changed: Any) -> dict[str, Any]:
    total = len(TOKENS) + SPECIAL
    config = {
        "pattern": r"\s*\S+|\s+",
        "default_vocab_size": total,
        "default_num_special_tokens": SPECIAL,
    }
    config |= changed.pop("config", {})
    named = [{"rank": i, "token_str": text} for i, text in enumerate(["<unk>", "<s>", "</s>"])]
    return {"config": config, "vocab": vocab(), "special_tokens": named} | changed


def made(fields: Any, directory: Path) -> Tokenizer:
    path = directory / "tekken.json"
    path.write_text(json.dumps(fields))
    return Tokenizer.from_str(tekken_file.tokenizer_json(path))


def merged(word: bytes) -> list[int]:
    """By its definition: of neighbours that make a token, those of the lowest rank, the first."""
    ranks = {token: rank for rank, token in enumerate(TOKENS)}
    if word in ranks:
        return [ranks[word]]
    parts = [bytes([byte]) for byte in word]
    while True:
        pairs = [(ranks.get(a + b), i) for i, (a, b) in enumerate(zip(parts, parts[1:]))]  # noqa: RUF007, B905
        found = min((pair for pair in pairs if pair[0] is not None), default=None)
        if found is None:
            return [ranks[part] for part in parts]
        at = found[1]
        parts[at : at + 2] = [parts[at] + parts[at + 1]]


def test_ids_are_those_of_the_definition(tmp_path: Path):
    tokenizer, chance = made(file(), tmp_path), random.Random(SEED)
    for _ in range(500):
        word = "".join(chance.choices("theabcé🦀\x00", k=chance.randint(1, 20)))
        expected = [SPECIAL + rank for rank in merged(word.encode())]
        found = tokenizer.encode(word, add_special_tokens=False).ids
        assert found == expected, (SEED, word)
        assert tokenizer.decode(found) == word


def test_special_tokens_come_first(tmp_path: Path):
    tokenizer = made(file(), tmp_path)
    assert tokenizer.encode("</s>the").ids == [1, 2, SPECIAL + TOKENS.index(b"the")]
    assert tokenizer.id_to_token(4) == "<SPECIAL_4>"
    older = made(file(special_tokens=None), tmp_path)
    assert [older.id_to_token(i) for i in range(4)] == ["<unk>", "<s>", "</s>", "<SPECIAL_3>"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": {"pattern": None}}, "config must be an object with a pattern"),
        ({"config": {"default_vocab_size": 0}}, "config.default_vocab_size must be a positive"),
        ({"config": {"default_num_special_tokens": 999}}, "leave none of"),
        ({"vocab": vocab()[:9]}, "vocab must be a list of at least"),
        ({"vocab": [{"rank": 0, "token_bytes": "!"}, *vocab()[1:]]}, "vocab[0] is"),
        ({"vocab": [vocab()[1], *vocab()[1:]]}, "must have the rank 0"),
        ({"vocab": [{**vocab()[1], "rank": 0}, *vocab()[1:]]}, "vocab has a token twice"),
        ({"special_tokens": [{"rank": 9, "token_str": "x"}]}, "must have a rank and a token_str"),
        (
            {"special_tokens": [{"rank": i, "token_str": "x"} for i in (0, 1)]},
            "special_tokens has a token twice",
        ),
    ],
)
def test_what_is_wrong_is_named(changed: dict, message: str, tmp_path: Path):
    with pytest.raises(ExportError) as caught:
        made(file(**changed), tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "tekken.json") in str(caught.value)


def test_it_stands_in_for_a_tokenizer_that_is_not_there(tmp_path: Path):
    made(file(), tmp_path)
    (found,) = tokenizer_files.find(tmp_path)
    assert json.loads(found.text)["model"]["ignore_merges"] is True
