"""SentencePiece's vocabulary in a GGUF file: the ids of its own library."""

from __future__ import annotations

import json
import math

import pytest
import sentencepiece
from gguf_pieces import UNUSED, USER_DEFINED, metadata_of
from test_sentencepiece_file import SEED, TEXTS, random_texts, trained
from tokenizers import Tokenizer

from kvcache_export.errors import ExportError
from kvcache_export.sentencepiece_pieces import UnsupportedTokenizerError
from kvcache_export.sources import gguf_tokenizer


def changed(metadata: dict, **fields: object) -> dict:
    return metadata | {f"tokenizer.ggml.{name}": value for name, value in fields.items()}


def made(metadata: dict) -> Tokenizer:
    return Tokenizer.from_str(gguf_tokenizer.tokenizer_json(metadata))


@pytest.mark.parametrize(
    ("options", "fields", "users"),
    [
        ({}, {}, ()),
        ({"byte_fallback": False, "vocab_size": 200}, {}, ()),
        ({"add_dummy_prefix": False}, {"add_space_prefix": False}, ()),
        (
            {"add_dummy_prefix": False, "user_defined_symbols": ["[x]", "首都"]},
            {"add_space_prefix": False},
            ("[x]", "首都"),
        ),
        ({"control_symbols": ["[INST]"], "bos_id": 2, "unk_id": 0, "eos_id": 1}, {}, ()),
        ({"bos_id": 0, "eos_id": 1, "unk_id": 3, "pad_id": 2}, {}, ()),
    ],
    ids=str,
)
def test_ids_are_the_references(options: dict, fields: dict, users: tuple):
    data = trained(**options)
    reference = sentencepiece.SentencePieceProcessor(model_proto=data)
    tokenizer = made(changed(metadata_of(data, users), **fields))
    for text in [*TEXTS, *random_texts(), "[INST]</s>"]:
        tokenizer.encode_special_tokens = True
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        assert ids == reference.encode(text), (SEED, text)
        if reference.unk_id() not in ids:
            assert tokenizer.decode(ids) == reference.decode(ids), (SEED, text)
    before = tokenizer.encode("the").ids
    assert before == [reference.bos_id(), *reference.encode("the")]


@pytest.mark.parametrize(
    ("fields", "around"),
    [
        ({}, ([1], [])),
        ({"add_bos_token": False}, ([], [])),
        ({"add_eos_token": True}, ([1], [2])),
        ({"add_bos_token": None, "bos_token_id": None}, None),
    ],
    ids=str,
)
def test_what_stands_around_a_text(fields: dict, around: tuple | None):
    """What a file does not say is as llama.cpp has it: token 1 before, nothing behind."""
    metadata = changed(metadata_of(trained()), **fields)
    metadata = {name: value for name, value in metadata.items() if value is not None}
    tokenizer = made(metadata)
    ids = tokenizer.encode("the", add_special_tokens=False).ids
    before, behind = around or ([1], [])
    assert tokenizer.encode("the").ids == [*before, *ids, *behind]


def test_special_tokens_of_phi3_take_the_whitespace_behind_them():
    data = trained(control_symbols=["<|user|>"])
    metadata = metadata_of(data)
    plain, phi3 = made(metadata), made(metadata | {"general.architecture": "phi3"})
    ids = {text: plain.encode(text, add_special_tokens=False).ids for text in ("<|user|>", "x")}
    for text in ("<|user|>  x", "<|user|>\nx"):
        found = phi3.encode(text, add_special_tokens=False).ids
        assert found == [*ids["<|user|>"], *ids["x"]]
        assert len(plain.encode(text, add_special_tokens=False).ids) > len(found)
    spaced = "<s>  x"
    assert phi3.encode(spaced).ids == plain.encode(spaced).ids


def test_padding_is_in_no_text():
    """llama.cpp's converter fills a vocabulary up with unused pieces."""
    data = trained()
    metadata, plain = metadata_of(data), made(metadata_of(data))
    for name, value in (("tokens", "[PAD400]"), ("scores", -10000.0), ("token_type", UNUSED)):
        metadata[f"tokenizer.ggml.{name}"].append(value)
    tokenizer = made(metadata)
    assert tokenizer.get_vocab_size() == 401
    for text in [*TEXTS, "[PAD400]"]:
        assert tokenizer.encode(text).ids == plain.encode(text).ids
    assert tokenizer.decode([400]) == "[PAD400]"


def test_a_users_piece_is_found_first():
    data = trained()
    metadata = metadata_of(data)
    for name, value in (("tokens", "  "), ("scores", -1000.0), ("token_type", USER_DEFINED)):
        metadata[f"tokenizer.ggml.{name}"].append(value)
    found = made(changed(metadata, add_space_prefix=False)).encode("a  b", add_special_tokens=False)
    assert 400 in found.ids


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scores": None}, "scores must be a list of 400 numbers"),
        ({"scores": [0.0]}, "scores must be a list of 400 numbers"),
        ({"scores": [math.nan] * 400}, "scores must be a list of 400 numbers"),
        ({"token_type": [1.0] * 400}, "token_type must be a list of 400 integers"),
        ({"unknown_token_id": 400}, "unknown_token_id is 400, must be in [0, 400)"),
        ({"bos_token_id": -1}, "bos_token_id is -1, must be in [0, 400)"),
        ({"add_space_prefix": "yes"}, "add_space_prefix is 'yes', must be true or false"),
        (
            {"tokens": [*map(str, range(399)), "x" * 2000]},
            "tokens: a piece has 2000 characters, must have 1 to 1024",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_vocabularies_are_refused(fields: dict, message: str):
    with pytest.raises(ExportError) as caught:
        made(changed(metadata_of(trained()), **fields))
    assert f"tokenizer.ggml.{message}" in str(caught.value)


def test_what_is_not_supported_is_refused_by_name():
    metadata = metadata_of(trained())
    with pytest.raises(UnsupportedTokenizerError, match="it removes extra whitespace"):
        made(changed(metadata, remove_extra_whitespaces=True))
    kinds = [
        1 if kind == 6 and i % 2 else kind
        for i, kind in enumerate(metadata["tokenizer.ggml.token_type"])
    ]
    with pytest.raises(UnsupportedTokenizerError, match="it has tokens of 128 of the 256 bytes"):
        made(changed(metadata, token_type=kinds))


def test_ids_of_the_tokenizer_are_the_vocabularys():
    metadata = metadata_of(trained())
    fields = json.loads(gguf_tokenizer.tokenizer_json(metadata))
    assert list(fields["model"]["vocab"]) == metadata["tokenizer.ggml.tokens"]
