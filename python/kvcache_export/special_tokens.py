"""Which tokens begin, end and pad a text, by the files beside a checkpoint's config.json.

A config.json often names the one that ends a text and not those that end a turn of a chat: for
that there is generation_config.json, or tokenizer_config.json by its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import fields as checked
from . import json_file, tokenizer_files
from .errors import ExportError
from .family import Config
from .json_file import shown

GENERATION = "generation_config.json"
NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def completed(config: Config, directory: Path) -> Config:
    """The config with what the files of its directory add; what it says itself comes first.

    Raises ExportError naming the file and the field that is none.
    """
    generation, vocab_size = _read(directory / GENERATION), config.spec.vocab_size
    ids = texts_and_ids(directory)

    def of_files(name: str) -> tuple[int, ...]:
        given = generation.get(f"{name}_id")
        try:
            found = checked.tokens(f"{name}_id", given, vocab_size)
        except ExportError as error:
            raise ExportError(f"{directory / GENERATION}: {error}") from error
        written = ids.get(name)
        return (*found, *checked.tokens(name, written, vocab_size))

    first = {name: next(iter(of_files(name)), None) for name in ("bos_token", "pad_token")}
    return replace(
        config,
        bos_token_id=first["bos_token"] if config.bos_token_id is None else config.bos_token_id,
        eos_token_ids=tuple(dict.fromkeys((*config.eos_token_ids, *of_files("eos_token")))),
        pad_token_id=first["pad_token"] if config.pad_token_id is None else config.pad_token_id,
    )


def texts(directory: Path) -> dict[str, str]:
    """The special tokens that tokenizer_config.json names, by these names: their texts."""
    path = directory / tokenizer_files.SETTINGS
    settings, found = _read(path), {}
    for name in NAMES:
        given = settings.get(name)
        text = given.get("content") if isinstance(given, Mapping) else given
        if text is not None and not isinstance(text, str):
            raise ExportError(f"{path}: {name} must be a token's text, not {shown(given)}")
        if text is not None:
            found[name] = text
    return found


def texts_and_ids(directory: Path) -> dict[str, int]:
    """The ids of those that the tokenizer has."""
    named = texts(directory)
    ids = _vocabulary(directory) if named else {}
    return {name: ids[text] for name, text in named.items() if text in ids}


def added(directory: Path) -> dict[str, int]:
    """The ids of the tokens that a tokenizer.json has beside its vocabulary, by their texts."""
    whole = directory / tokenizer_files.WHOLE
    return _added(json_file.read_object(whole)) if whole.is_file() else {}


def _added(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    given = tokenizer.get("added_tokens")
    return {
        token["content"]: token.get("id")
        for token in (given if isinstance(given, list) else ())
        if isinstance(token, Mapping)
        and isinstance(token.get("content"), str)
        and checked.is_integer(token.get("id"))
        and token["id"] >= 0
    }


def _vocabulary(directory: Path) -> dict[str, int]:
    """Ids by text, where the files have them in the usual places; the library checks the rest."""
    whole = directory / tokenizer_files.WHOLE
    if not whole.is_file():
        vocab = _read(directory / tokenizer_files.PAIR[0])
        return {text: id_ for text, id_ in vocab.items() if checked.is_integer(id_)}
    tokenizer = json_file.read_object(whole)
    model = tokenizer.get("model")
    vocab = model.get("vocab") if isinstance(model, Mapping) else None
    ids = {**(vocab if isinstance(vocab, Mapping) else {}), **_added(tokenizer)}
    return {text: id_ for text, id_ in ids.items() if checked.is_integer(id_)}


def _read(path: Path) -> dict[str, Any]:
    return json_file.read_object(path) if path.is_file() else {}
