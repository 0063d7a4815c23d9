"""The tokenizer.json of a GGUF file's vocabulary: byte pairs, as GPT-2 and its descendants.

The file has tokens and merges, and a name for how a text is cut into words before; what belongs to
a name is published with each family's tokenizer.json, and llama.cpp has the same (llama-vocab.cpp).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PREFIX = "tokenizer.ggml."
CONTROL, USER_DEFINED = 3, 4  # of token_type

_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _bytes(*, words: bool) -> dict[str, Any]:
    fields = {"add_prefix_space": False, "trim_offsets": True, "use_regex": words}
    return {"type": "ByteLevel", **fields}


def _words(pattern: str) -> list[dict[str, Any]]:
    split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated"}
    return [split | {"invert": False}, _bytes(words=False)]


# By tokenizer.ggml.pre.
PRE_TOKENIZERS = {
    "gpt-2": [_bytes(words=True)],
    "smollm": [{"type": "Digits", "individual_digits": True}, _bytes(words=True)],
    "qwen2": _words(_LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")),
    "llama-bpe": _words(_LLAMA3),
}
NORMALIZERS = {"qwen2": {"type": "NFC"}}


# Of those that end something: a text, a turn, a message to a tool.
ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


def token_ids(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of special tokens' ids, as a config.json has them."""
    ends = [metadata[f"{PREFIX}{name}"] for name in ENDS if f"{PREFIX}{name}" in metadata]
    return {
        "bos_token_id": metadata.get(f"{PREFIX}bos_token_id"),
        "eos_token_id": ends or None,
        "pad_token_id": metadata.get(f"{PREFIX}padding_token_id"),
    }


def token_texts(metadata: Mapping[str, Any]) -> dict[str, str]:
    """The texts of special tokens, as a chat template names them."""
    tokens = metadata.get(f"{PREFIX}tokens") or []
    ids = {
        "bos_token": metadata.get(f"{PREFIX}bos_token_id"),
        "eos_token": metadata.get(f"{PREFIX}eos_token_id"),
        "unk_token": metadata.get(f"{PREFIX}unknown_token_id"),
        "pad_token": metadata.get(f"{PREFIX}padding_token_id"),
    }
    return {
        name: tokens[id_]
        for name, id_ in ids.items()
        if isinstance(id_, int) and 0 <= id_ < len(tokens)
    }


def added_tokens(metadata: Mapping[str, Any]) -> dict[str, int]:
    """The ids of tokens of these types by their texts."""
    tokens, types = (metadata.get(f"{PREFIX}{name}") or [] for name in ("tokens", "token_type"))
    kinds = zip(tokens, types, strict=False)
    return {text: i for i, (text, kind) in enumerate(kinds) if kind in (CONTROL, USER_DEFINED)}


def tokenizer_json(metadata: Mapping[str, Any]) -> str | None:
    """The file's text; None where the vocabulary is of another kind than these."""
    pre = metadata.get(f"{PREFIX}pre")
    tokens, merges = metadata.get(f"{PREFIX}tokens"), metadata.get(f"{PREFIX}merges")
    of_bytes = metadata.get(f"{PREFIX}model") == "gpt2" and pre in PRE_TOKENIZERS
    if not of_bytes or not tokens or merges is None:
        return None
    types = metadata.get(f"{PREFIX}token_type") or [1] * len(tokens)
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": i, "content": token, **flags, "special": kind == CONTROL}
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    of_words = {
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": list(merges),
        "ignore_merges": pre == "llama-bpe",
    }
    fields = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": NORMALIZERS.get(pre),
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[pre]},
        "post_processor": _post_processor(metadata, tokens),
        "decoder": _bytes(words=True),
        "model": {"type": "BPE", "fuse_unk": False, "byte_fallback": False, **of_words},
    }
    return json.dumps(fields, ensure_ascii=False)


def _post_processor(metadata: Mapping[str, Any], tokens: list[str]) -> dict[str, Any] | None:
    """What puts the first token before a text, where the file says so."""
    first = metadata.get(f"{PREFIX}bos_token_id")
    if not metadata.get(f"{PREFIX}add_bos_token", False) or first is None:
        return None
    token = tokens[first]
    special = {"SpecialToken": {"id": token, "type_id": 0}}
    text, other = ({"Sequence": {"id": name, "type_id": i}} for i, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [special, text],
        "pair": [special, text, other],
        "special_tokens": {token: {"id": token, "ids": [first], "tokens": [token]}},
    }
