"""A SentencePiece model becomes the tokenizer.json that gives the same ids."""

from __future__ import annotations

import io
import json
import random
import struct
from pathlib import Path

import pytest
import sentencepiece
from tokenizers import Tokenizer

from kvcache_export import sentencepiece_file, tokenizer_files
from kvcache_export.errors import ExportError
from kvcache_export.sentencepiece_pieces import UnsupportedTokenizerError

LINES = [
    "Hello world, it's 1234 o'clock and we'll see what the tokens are.",
    "Größe straße naïve café Ελλάδα Москва 東京は日本の首都です",
    "the the of of and and in in to to a a is is that that for for",
] * 20
TEXTS = [
    "",
    " ",
    "  two  spaces ",
    "Hello world",
    "the 首都 \n\t x",
    "🦀 ½ \x00",
    "▁",
    "aaaaaaaaaa",
]
SEED = 1


def trained(**options: object) -> bytes:
    """A model as the reference trains it."""
    model = io.BytesIO()
    given = {
        "model_type": "bpe",
        "vocab_size": 400,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "character_coverage": 0.99,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model, **given | options
    )
    return model.getvalue()


def made(data: bytes, directory: Path, settings: dict | None = None) -> Tokenizer:
    path = directory / "tokenizer.model"
    path.write_bytes(data)
    return Tokenizer.from_str(sentencepiece_file.tokenizer_json(path, settings or {}))


def random_texts() -> list[str]:
    chance = random.Random(SEED)
    letters = "".join(LINES[:3]) + "  \n\t▁🦀ß"
    return [
        "".join(chance.choices(letters, k=chance.randint(1, 60)))
        + " ".join(chance.choices(LINES[0].split(), k=chance.randint(0, 5)))
        for _ in range(500)
    ]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"byte_fallback": False, "vocab_size": 200},
        {"add_dummy_prefix": False},
        {"add_dummy_prefix": False, "user_defined_symbols": ["[x]", "首都"]},
        {"control_symbols": ["[INST]"], "bos_id": 2, "unk_id": 0, "eos_id": 1},
    ],
    ids=str,
)
def test_ids_are_the_references(options: dict, tmp_path: Path):
    data = trained(**options)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = made(data, tmp_path)
    tokenizer.encode_special_tokens = True
    for text in [*TEXTS, *random_texts(), "a[x]b [x]", "[INST]</s>"]:
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == reference.encode(text), (SEED, text)
        if reference.unk_id() not in ids:
            assert tokenizer.decode(ids) == reference.decode(ids), (SEED, text)


@pytest.mark.parametrize(
    ("settings", "around"),
    [
        ({}, ([1], [])),
        ({"add_bos_token": False}, ([], [])),
        ({"add_eos_token": True}, ([1], [2])),
    ],
)
def test_what_stands_around_a_text(settings: dict, around: tuple, tmp_path: Path):
    tokenizer = made(trained(), tmp_path, settings)
    ids = tokenizer.encode("the", add_special_tokens=False).ids
    before, behind = around
    assert tokenizer.encode("the").ids == [*before, *ids, *behind]


def test_tokens_added_behind_the_pieces(tmp_path: Path):
    added = {
        "1": {"content": "<s>", "special": True},
        "400": {"content": "<|end|>", "special": True, "rstrip": True},
        "401": {"content": "<x>", "special": False},
    }
    tokenizer = made(trained(), tmp_path, {"added_tokens_decoder": added})
    assert tokenizer.encode("<|end|>  <x>", add_special_tokens=False).ids == [400, 401]
    with pytest.raises(UnsupportedTokenizerError, match="must have ids from 400 without a gap"):
        made(trained(), tmp_path, {"added_tokens_decoder": {"402": {"content": "<y>"}}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model_type": "unigram"}, "its model_type is unigram (supported: bpe)"),
        ({"model_type": "char"}, "its model_type is char"),
        ({"normalization_rule_name": "nmt_nfkc"}, "it normalises texts by 'nmt_nfkc'"),
        ({"remove_extra_whitespaces": True}, "it removes extra whitespace"),
        ({"treat_whitespace_as_suffix": True}, "it puts spaces behind words"),
    ],
)
def test_other_kinds_are_refused_by_name(options: dict, message: str, tmp_path: Path):
    size = {"vocab_size": 330} if options.get("model_type") else {}
    with pytest.raises(UnsupportedTokenizerError) as caught:
        made(trained(**options | size, hard_vocab_limit=False), tmp_path)
    assert message in str(caught.value)


PIECE = b"\x0a\x01a\x15" + struct.pack("<f", 0.0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has 0 pieces"),
        (b"\x0a", "it is cut off"),
        (b"\x0a\x7f", "it is cut off"),
        (b"\xff" * 11, "a number has more than 64 bits"),
        (b"\x0b", "field 1 is of the unknown kind 3"),
        (b"\x08\x01", "a field is a number and should be bytes"),
        (b"\x0a\x00", "a piece has 0 characters"),
        (b"\x0a\x03\x0a\x01\xff", "invalid start byte"),
        (b"\x0a\x05\x0a\x01a\x18\x63", "has the type 99"),
        (b"\x0a\x08" + PIECE[:3] + b"\x15\x00\x00\xc0\x7f", "the score nan"),
        ((b"\x0a\x08" + PIECE) * 2 + b"\x12\x02\x18\x02\x1a\x02\x20\x00", "it has a piece twice"),
    ],
)
def test_broken_models_are_refused(data: bytes, message: str, tmp_path: Path):
    with pytest.raises(ExportError) as caught:
        made(data, tmp_path)
    assert message in str(caught.value)
    assert str(tmp_path / "tokenizer.model") in str(caught.value)


def test_damaged_models_are_taken_or_refused(tmp_path: Path):
    """Whatever is changed in a model, nothing but these errors comes of it."""
    data, chance = trained(), random.Random(SEED)
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        (tmp_path / "tokenizer.model").write_bytes(damaged[: chance.randint(0, len(damaged))])
        try:
            json.loads(sentencepiece_file.tokenizer_json(tmp_path / "tokenizer.model", {}))
        except (ExportError, UnsupportedTokenizerError):
            continue


def test_it_stands_in_for_a_tokenizer_that_is_not_there(tmp_path: Path):
    (tmp_path / "tokenizer.model").write_bytes(trained())
    (tmp_path / "tokenizer_config.json").write_text("{}")
    made_of, settings = tokenizer_files.find(tmp_path)
    assert json.loads(made_of.text)["model"]["type"] == "BPE"
    assert settings == tmp_path / "tokenizer_config.json"
    (tmp_path / "tokenizer.json").write_text("{}")
    assert tokenizer_files.find(tmp_path)[0] == tmp_path / "tokenizer.json"
