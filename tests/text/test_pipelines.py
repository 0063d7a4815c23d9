"""Every kind of tokenizer, against Hugging Face's tokenizers: ids and texts are the same."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path

import pytest
from pipelines import pipelines
from programs import runner
from random_texts import random_texts
from tokenizers import Tokenizer

PIPELINES = dict(pipelines())
SEED = int(os.environ.get("KVCACHE_TEST_SEED", "1"))
TEXTS = int(400 * float(os.environ.get("KVCACHE_TEST_SCALE", "1")))
kvcache = runner("kvcache")


def convert(file: Path, values: list[object], *options: str) -> list[object]:
    """What `kvcache tokenize --json-lines` makes of each value."""
    lines = "".join(f"{json.dumps(value)}\n" for value in values)
    finished = kvcache("tokenize", file, "--json-lines", *options, input=lines)
    assert finished.returncode == 0, finished.stderr
    results = [json.loads(line) for line in finished.stdout.removesuffix("\n").split("\n")]
    assert len(results) == len(values)
    return results


def assert_same(reference: Tokenizer, file: Path, texts: list[str]) -> None:
    special = convert(file, texts)
    bare = convert(file, texts, "--no-special-tokens")
    as_text = convert(file, texts, "--no-special-tokens", "--special-tokens-as-text")
    for text, with_special, without, plain in zip(texts, special, bare, as_text, strict=True):
        reference.encode_special_tokens = False
        assert reference.encode(text).ids == with_special, (SEED, text)
        assert reference.encode(text, add_special_tokens=False).ids == without, (SEED, text)
        reference.encode_special_tokens = True
        assert reference.encode(text, add_special_tokens=False).ids == plain, (SEED, text)
    reference.encode_special_tokens = False
    chance = random.Random(SEED)
    known = sorted(reference.get_vocab().values())
    ids = special + [
        [chance.choice(known) for _ in range(chance.randint(1, 20))] for _ in range(len(texts))
    ]
    kept = convert(file, ids, "--decode", "--keep-special-tokens")
    skipped = convert(file, ids, "--decode")
    for tokens, text, short in zip(ids, kept, skipped, strict=True):
        assert reference.decode(tokens, skip_special_tokens=False) == text, (SEED, tokens)
        assert reference.decode(tokens) == short, (SEED, tokens)


@pytest.mark.parametrize("name", PIPELINES)
def test_ids_and_texts_are_the_reference_s(name: str, tmp_path: Path) -> None:
    reference = PIPELINES[name]
    file = tmp_path / "tokenizer.json"
    reference.save(str(file))
    loaded = Tokenizer.from_file(str(file))
    special = [token.content for token in loaded.get_added_tokens_decoder().values()]
    assert_same(loaded, file, random_texts(SEED, TEXTS, special))
