"""The tokenizer.json of a GGUF file's vocabulary, by what llama.cpp calls its kind.

"gpt2" is byte pairs, as GPT-2 and its descendants: the file has tokens and merges, and a name for
how a text is cut into words before; what belongs to a name is published with each family's
tokenizer.json, and llama.cpp has the same (llama-vocab.cpp). "llama" is gguf_sentencepiece.py's.
"""

from __future__ import annotations

import json
from typing import Any

from ..errors import ExportError
from ..sentencepiece_pieces import CONTROL, USER_DEFINED, UnsupportedTokenizerError
from . import gguf_sentencepiece, gguf_vocabulary
from .gguf_vocabulary import PREFIX, Metadata

NO_VOCABULARY = ("none", "no_vocab")  # where the field is there at all

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


def token_ids(metadata: Metadata) -> dict[str, Any]:
    """The fields of special tokens' ids, as a config.json has them."""
    ends = [metadata[f"{PREFIX}{name}"] for name in ENDS if f"{PREFIX}{name}" in metadata]
    return {
        "bos_token_id": metadata.get(f"{PREFIX}bos_token_id"),
        "eos_token_id": ends or None,
        "pad_token_id": metadata.get(f"{PREFIX}padding_token_id"),
    }


def token_texts(metadata: Metadata) -> dict[str, str]:
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


def added_tokens(metadata: Metadata) -> dict[str, int]:
    """The ids of tokens of these types by their texts."""
    tokens, types = (metadata.get(f"{PREFIX}{name}") or [] for name in ("tokens", "token_type"))
    kinds = zip(tokens, types, strict=False)
    return {text: i for i, (text, kind) in enumerate(kinds) if kind in (CONTROL, USER_DEFINED)}


def tokenizer_json(metadata: Metadata) -> str | None:
    """The file's text; None where there is no vocabulary.

    Raises ExportError naming a field that is not as it must be, UnsupportedTokenizerError for a
    vocabulary of another kind than these.
    """
    kind = metadata.get(f"{PREFIX}model")
    if kind is None or kind in NO_VOCABULARY:
        return None
    if kind == "llama":
        return gguf_sentencepiece.tokenizer_json(metadata)
    if kind != "gpt2":
        raise UnsupportedTokenizerError(f"{PREFIX}model is {kind!r} (supported: 'gpt2', 'llama')")
    pre = metadata.get(f"{PREFIX}pre")
    if not isinstance(pre, str) or pre not in PRE_TOKENIZERS:
        raise UnsupportedTokenizerError(
            f"{PREFIX}pre is {pre!r} (supported: {', '.join(map(repr, PRE_TOKENIZERS))})"
        )
    return _of_byte_pairs(metadata, pre)


def _of_byte_pairs(metadata: Metadata, pre: str) -> str:
    tokens = gguf_vocabulary.tokens(metadata)
    types = gguf_vocabulary.types(metadata, len(tokens))
    merges = metadata.get(f"{PREFIX}merges")
    if not isinstance(merges, list) or not all(isinstance(merge, str) for merge in merges):
        raise ExportError(f"{PREFIX}merges must be a list of texts")
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [
        {"id": i, "content": token, **flags, "special": kind == CONTROL}
        for i, (token, kind) in enumerate(zip(tokens, types, strict=True))
        if kind in (CONTROL, USER_DEFINED)
    ]
    of_words = {
        "vocab": {token: i for i, token in enumerate(tokens)},
        "merges": merges,
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


def _post_processor(metadata: Metadata, tokens: list[str]) -> dict[str, Any] | None:
    """What puts the first token before a text, where the file says so."""
    first = gguf_vocabulary.token_id(metadata, "bos_token_id", len(tokens), len(tokens))
    adds = gguf_vocabulary.flag(metadata, "add_bos_token", default=False)
    if not adds or first is None:
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
