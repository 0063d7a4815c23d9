"""A GGUF file's vocabulary as tokenizer.json: what the reference makes of texts with it."""

from __future__ import annotations

import json

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from kvcache_export.errors import ExportError
from kvcache_export.sentencepiece_pieces import UnsupportedTokenizerError
from kvcache_export.sources import gguf_tokenizer

TEXTS = [
    "Hello world, it's 1234 o'clock\n\n  and WE'LL see.",
    "Größe ½ ² 東京は 日本 e\u0301 <end> the end",
    "",
    "   \t\r\n\u00a0x",
]
PATTERN = gguf_tokenizer._LLAMA3
CUTS = {
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False),
    "smollm": lambda: pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    ),
    "qwen2": lambda: _split(PATTERN.replace(r"\p{N}{1,3}", r"\p{N}")),
    "llama-bpe": lambda: _split(PATTERN),
}


def _split(pattern: str) -> object:
    words = pre_tokenizers.Split(Regex(pattern), "isolated")
    of_bytes = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([words, of_bytes])


def trained(pre: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.pre_tokenizer = CUTS[pre]()
    if pre == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXTS * 3, trainer)
    return tokenizer


def metadata_of(tokenizer: Tokenizer, pre: str) -> dict:
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3 if token == "<end>" else 1 for token in tokens],
        "tokenizer.ggml.merges": [" ".join(pair) for pair in model["merges"]],
        "tokenizer.ggml.bos_token_id": 0,
    }


@pytest.mark.parametrize("pre", list(gguf_tokenizer.PRE_TOKENIZERS))
def test_ids_are_those_of_the_family(pre: str):
    reference = trained(pre)
    found = Tokenizer.from_str(gguf_tokenizer.tokenizer_json(metadata_of(reference, pre)))
    for text in TEXTS:
        ids = reference.encode(text).ids
        assert found.encode(text).ids == ids
        assert found.decode(ids) == reference.decode(ids)


def test_a_first_token_where_the_file_says_so():
    reference = trained("llama-bpe")
    metadata = metadata_of(reference, "llama-bpe") | {"tokenizer.ggml.add_bos_token": True}
    found = Tokenizer.from_str(gguf_tokenizer.tokenizer_json(metadata))
    assert found.encode("the end").ids == [0, *reference.encode("the end").ids]
    plain = found.encode("the end", add_special_tokens=False)
    assert plain.ids == reference.encode("the end").ids


def test_ids_of_special_tokens_are_fields_of_a_config():
    ids = {"bos": 1, "eos": 2, "eot": 7, "eom": 8, "padding": 3}
    metadata = {f"tokenizer.ggml.{name}_token_id": id_ for name, id_ in ids.items()}
    assert gguf_tokenizer.token_ids(metadata) == {
        "bos_token_id": 1,
        "eos_token_id": [2, 7, 8],
        "pad_token_id": 3,
    }
    none = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))
    assert gguf_tokenizer.token_ids({}) == none


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model": "bert"}, "tokenizer.ggml.model is 'bert' (supported: 'gpt2', 'llama')"),
        ({"model": 7}, "tokenizer.ggml.model is 7 (supported"),
        (
            {"pre": "chatglm-bpe"},
            "tokenizer.ggml.pre is 'chatglm-bpe' (supported: 'gpt-2', 'smollm'",
        ),
        ({"pre": ["gpt-2"]}, "tokenizer.ggml.pre is ['gpt-2'] (supported"),
    ],
    ids=str,
)
def test_other_vocabularies_are_refused_by_name(changed: dict, message: str):
    fields = {f"tokenizer.ggml.{name}": value for name, value in changed.items()}
    with pytest.raises(UnsupportedTokenizerError) as caught:
        gguf_tokenizer.tokenizer_json(metadata_of(trained("gpt-2"), "gpt-2") | fields)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [None, "none", "no_vocab"])
def test_a_file_without_a_vocabulary_has_none(kind: str | None):
    metadata = metadata_of(trained("gpt-2"), "gpt-2") | {"tokenizer.ggml.model": kind}
    assert gguf_tokenizer.tokenizer_json(metadata) is None


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"tokens": None}, "tokens must be a list of texts"),
        ({"tokens": ["a", 1]}, "tokens must be a list of texts"),
        ({"tokens": []}, "tokens has 0 tokens, must have 1 to 4194304"),
        ({"tokens": ["a", "b", "a"]}, "tokens has 'a' twice"),
        ({"token_type": [1]}, "token_type must be a list of 325 integers from 1 to 6"),
        ({"token_type": [9] * 325}, "token_type must be a list of 325 integers from 1 to 6"),
        ({"merges": None}, "merges must be a list of texts"),
        ({"merges": "a b"}, "merges must be a list of texts"),
        ({"bos_token_id": 325}, "bos_token_id is 325, must be in [0, 325)"),
        ({"bos_token_id": "x"}, "bos_token_id is 'x', must be in [0, 325)"),
        ({"add_bos_token": 1}, "add_bos_token is 1, must be true or false"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_broken_vocabularies_are_refused(changed: dict, message: str):
    fields = {f"tokenizer.ggml.{name}": value for name, value in changed.items()}
    with pytest.raises(ExportError) as caught:
        gguf_tokenizer.tokenizer_json(metadata_of(trained("gpt-2"), "gpt-2") | fields)
    assert f"tokenizer.ggml.{message}" in str(caught.value)
