"""Which tokens begin, end and pad a text, by the files beside config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import checkpoints
import pytest

from kvcache_export import families, special_tokens
from kvcache_export.errors import ExportError
from kvcache_export.family import Config

TOKENIZER = {
    "model": {"vocab": {"a": 0, "<s>": 1, "</s>": 2}},
    "added_tokens": [{"content": "<|end|>", "id": 7}, {"content": "<pad>", "id": 8}],
}


def completed(directory: Path, config: dict[str, Any], **files: dict[str, Any]) -> Config:
    fields = {**checkpoints.SMALL, "bos_token_id": None, "eos_token_id": None, **config}
    for name, content in files.items():
        (directory / f"{name}.json").write_text(json.dumps(content))
    found = families.find(fields).parse(fields)
    return special_tokens.completed(found, directory)


def ids(config: Config) -> tuple:
    return (config.bos_token_id, config.eos_token_ids, config.pad_token_id)


def test_without_files_it_is_the_config(tmp_path: Path):
    given = {"bos_token_id": 3, "eos_token_id": [9, 4], "pad_token_id": 5}
    assert ids(completed(tmp_path, given)) == (3, (9, 4), 5)
    assert ids(completed(tmp_path, {})) == (None, (), None)


def test_ends_of_all_files_are_joined_the_configs_first(tmp_path: Path):
    found = completed(
        tmp_path,
        {"bos_token_id": 3, "eos_token_id": 9},
        generation_config={"eos_token_id": [4, 9, 1000], "bos_token_id": 6, "pad_token_id": 5},
        tokenizer=TOKENIZER,
        tokenizer_config={"eos_token": {"content": "<|end|>"}, "bos_token": "<s>"},
    )
    assert ids(found) == (3, (9, 4, 7), 5)


def test_the_tokenizers_texts_stand_for_its_ids(tmp_path: Path):
    settings = {"eos_token": "</s>", "bos_token": {"content": "<s>"}, "pad_token": "<pad>"}
    found = completed(tmp_path, {}, tokenizer=TOKENIZER, tokenizer_config=settings)
    assert ids(found) == (1, (2,), 8)


def test_of_the_older_pair_too(tmp_path: Path):
    vocab = TOKENIZER["model"]["vocab"]
    found = completed(tmp_path, {}, vocab=vocab, tokenizer_config={"eos_token": "</s>"})
    assert found.eos_token_ids == (2,)


def test_a_text_without_a_token_ends_nothing(tmp_path: Path):
    settings = {"eos_token": "<other>", "pad_token": None}
    assert ids(completed(tmp_path, {}, tokenizer=TOKENIZER, tokenizer_config=settings)) == (
        None,
        (),
        None,
    )


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"generation_config": {"eos_token_id": "x"}}, "unsupported eos_token_id: 'x'"),
        ({"generation_config": {"eos_token_id": [1, True]}}, "unsupported eos_token_id: True"),
        ({"tokenizer_config": {"eos_token": 3}}, "eos_token must be a token's text, not 3"),
        ({"generation_config": []}, "is not a JSON object"),
    ],
)
def test_what_is_none_is_refused_by_name(files: dict, message: str, tmp_path: Path):
    with pytest.raises(ExportError) as caught:
        completed(tmp_path, {}, **files)
    assert message in str(caught.value)
    assert str(tmp_path / next(iter(files))) in str(caught.value)


def test_they_are_in_the_exported_config(export, tmp_path: Path):
    directory = checkpoints.write_random(tmp_path, eos_token_id=9)
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": [9, 4]}))
    model = export("--model", directory)
    config = json.loads((model / "config.json").read_text())
    assert (config["eos_token_id"], config["stop_token_ids"]) == (9, [9, 4])
