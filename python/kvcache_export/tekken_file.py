"""The tokenizer.json of a tekken.json, as Mistral publishes since Nemo: byte pairs by rank.

A token is bytes and a rank; two tokens are merged where what they make is one, of the lowest rank
first. Special tokens have the ids before those of ranks.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import json_file
from .errors import ExportError
from .fields import is_integer, size
from .json_file import shown

NAME = "tekken.json"
MAX_TOKENS = 1 << 22
LONGEST_TOKEN = 1 << 10  # bytes


def _byte_alphabet() -> list[str]:
    """How byte-level BPE writes each byte: printable Latin-1 as itself, the rest from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    code = dict(zip(printable, printable, strict=True)) | {b: 256 + i for i, b in enumerate(others)}
    return [chr(code[byte]) for byte in range(256)]


ALPHABET = _byte_alphabet()


def tokenizer_json(path: Path) -> str:
    """The file's text; ExportError names the field that is not as it must be."""
    found = json_file.read_object(path)
    try:
        return json.dumps(_tokenizer(found), ensure_ascii=False)
    except ExportError as error:
        raise ExportError(f"{path}: {error}") from error


def _tokenizer(file: Mapping[str, Any]) -> dict[str, Any]:
    config = file.get("config")
    if not isinstance(config, Mapping) or not isinstance(config.get("pattern"), str):
        raise ExportError("config must be an object with a pattern")
    total = size("config.default_vocab_size", config.get("default_vocab_size"), MAX_TOKENS)
    special = size("config.default_num_special_tokens", config.get("default_num_special_tokens"))
    if special >= total:
        raise ExportError(f"{special} special tokens leave none of {total} for texts")
    names = _special_tokens(file.get("special_tokens"), special)
    tokens = _tokens(file.get("vocab"), total - special)
    ranks = {token: rank for rank, token in enumerate(tokens)}
    if len(ranks) < len(tokens):
        raise ExportError("vocab has a token twice")
    written = [_written(token) for token in tokens]
    merges = [
        [_written(token[:at]), _written(token[at:])]
        for token in tokens
        for at in sorted(
            (at for at in range(1, len(token)) if token[:at] in ranks and token[at:] in ranks),
            key=lambda at, token=token: (ranks[token[:at]], ranks[token[at:]]),
        )
    ]
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    split = {"type": "Split", "pattern": {"Regex": config["pattern"]}, "behavior": "Isolated"}
    of_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    bos = {"SpecialToken": {"id": names[1], "type_id": 0}} if special > 1 else None
    text, other = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": i, "content": name, **flags, "special": True} for i, name in enumerate(names)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [split | {"invert": False}, of_bytes | {"use_regex": False}],
        },
        "post_processor": None
        if bos is None
        else {
            "type": "TemplateProcessing",
            "single": [bos, text],
            "pair": [bos, text, other],
            "special_tokens": {names[1]: {"id": names[1], "ids": [1], "tokens": [names[1]]}},
        },
        "decoder": of_bytes | {"use_regex": True},
        "model": {
            "type": "BPE",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {name: i for i, name in enumerate([*names, *written])},
            "merges": merges,
        },
    }


def _special_tokens(given: Any, count: int) -> list[str]:
    """Their texts by id; those that are not named are fillers, and older files name none."""
    names = {i: f"<SPECIAL_{i}>" for i in range(count)}
    if given is None:
        names |= {0: "<unk>", 1: "<s>", 2: "</s>"}
    for token in given if isinstance(given, list) else []:
        rank = token.get("rank") if isinstance(token, Mapping) else None
        text = token.get("token_str") if isinstance(token, Mapping) else None
        if not is_integer(rank) or rank not in names or not isinstance(text, str) or not text:
            raise ExportError(f"special_tokens: {shown(token)} must have a rank and a token_str")
        names[rank] = text
    if len(set(names.values())) < count:
        raise ExportError("special_tokens has a token twice")
    return [names[i] for i in range(count)]


def _tokens(given: Any, count: int) -> list[bytes]:
    if not isinstance(given, list) or len(given) < count:
        raise ExportError(f"vocab must be a list of at least {count} tokens")
    tokens = []
    for rank, token in enumerate(given[:count]):
        text = token.get("token_bytes") if isinstance(token, Mapping) else None
        try:
            data = base64.b64decode(text, validate=True)
        except (TypeError, ValueError, binascii.Error):
            data = b""
        if not 0 < len(data) <= LONGEST_TOKEN or token.get("rank") != rank:
            raise ExportError(
                f"vocab[{rank}] is {shown(token)}, must have the rank {rank} and 1 to"
                f" {LONGEST_TOKEN} bytes as base64 in token_bytes"
            )
        tokens.append(data)
    return tokens


def _written(token: bytes) -> str:
    return "".join(ALPHABET[byte] for byte in token)
