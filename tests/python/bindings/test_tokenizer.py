"""Text to tokens and back."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HuggingFace
from tokenizers import decoders, models, pre_tokenizers, trainers

import kvcache

TEXT = "ein Fluß, zwei Flüsse; 三 rivers ☂ and a man in the rain"


@pytest.fixture(scope="module")
def reference() -> HuggingFace:
    made = HuggingFace(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 4, trainer)
    return made


@pytest.fixture(scope="module")
def tokenizer(reference: HuggingFace) -> kvcache.Tokenizer:
    return kvcache.Tokenizer.from_json(reference.to_str())


def test_ids_and_texts_are_those_of_tokenizers(
    tokenizer: kvcache.Tokenizer, reference: HuggingFace
) -> None:
    ids = tokenizer.encode(TEXT)
    assert ids == reference.encode(TEXT).ids
    assert tokenizer.decode(ids) == TEXT
    assert tokenizer.vocab_size == reference.get_vocab_size()
    assert b"".join(tokenizer.bytes(id) or b"" for id in ids) == TEXT.encode()
    assert tokenizer.token(ids[0]) == reference.id_to_token(ids[0])
    assert tokenizer.token_id("<|end|>") == 0 and tokenizer.is_special(0)
    assert tokenizer.token_id("nowhere") is tokenizer.token(10**6) is tokenizer.bytes(-1) is None


def test_special_tokens(tokenizer: kvcache.Tokenizer) -> None:
    assert tokenizer.encode("a<|end|>")[-1] == 0
    as_text = tokenizer.encode("a<|end|>", special_tokens_as_text=True)
    assert 0 not in as_text and tokenizer.decode(as_text) == "a<|end|>"
    assert tokenizer.decode([0]) == ""
    assert tokenizer.decode([0], skip_special_tokens=False) == "<|end|>"


def test_a_text_that_grows(tokenizer: kvcache.Tokenizer) -> None:
    stream = tokenizer.new_text()
    parts = [stream.push(id) for id in tokenizer.encode("四 " + TEXT)]
    assert parts[0] == ""  # a part of 四, which the tokenizer did not learn, waits for the rest
    assert "".join([*parts, stream.finish()]) == "四 " + TEXT


def test_wrong_input_is_told(tokenizer: kvcache.Tokenizer, tmp_path: Path, fails) -> None:
    fails("token_out_of_range", tokenizer.decode, [10**6])
    assert tokenizer.decode([10**6], skip_unknown_ids=True) == ""
    fails("token_out_of_range", tokenizer.new_text().push, 10**6)
    fails("model_not_found", kvcache.Tokenizer.load, tmp_path)
    fails("tokenizer_invalid", kvcache.Tokenizer.from_json, json.dumps({"model": 3}))
    with pytest.raises(TypeError):
        tokenizer.encode(b"bytes")  # type: ignore[arg-type]
    with pytest.raises((TypeError, UnicodeEncodeError)):
        tokenizer.encode("\ud800")
