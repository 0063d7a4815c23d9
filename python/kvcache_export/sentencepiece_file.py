"""The tokenizer.json of a SentencePiece model's file, as of Llama 2, Mistral and Gemma.

A tokenizer.model is a message of protobuf (sentencepiece_model.proto): pieces with scores and
types, and what it was trained with. Only the fields that matter are read; what becomes of them is
in sentencepiece_pieces.py.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import sentencepiece_pieces
from .errors import ExportError
from .sentencepiece_pieces import NORMAL, Piece, UnsupportedTokenizerError

NAME = "tokenizer.model"
MAX_BYTES = 256 << 20

MODEL_TYPES = {1: "unigram", 2: "bpe", 3: "word", 4: "char"}
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # kinds of fields
UNSIGNED_64, SIGN = 1 << 64, 1 << 63


def tokenizer_json(path: Path, settings: Mapping[str, Any]) -> str:
    """The file's text; `settings` are those of tokenizer_config.json.

    Raises ExportError where it is no such model, UnsupportedTokenizerError where it is of another
    kind.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise ExportError(f"cannot read {path}: it is larger than {MAX_BYTES >> 20} MiB")
    try:
        return _tokenizer_json(data, settings)
    except ValueError as error:
        raise ExportError(f"{path} is no SentencePiece model, or a broken one: {error}") from error
    except UnsupportedTokenizerError as error:
        raise UnsupportedTokenizerError(f"{path}: {error}") from error


def _tokenizer_json(data: bytes, settings: Mapping[str, Any]) -> str:
    fields = list(_fields(data))
    pieces = [_piece(_bytes(value)) for number, value in fields if number == 1]
    trainer, normalizer = (_message(fields, number) for number in (2, 3))
    sentencepiece_pieces.check_count(len(pieces))
    _check(trainer, normalizer)
    bos, eos = (_signed(trainer.get(number, default)) for number, default in ((41, 1), (42, 2)))
    return sentencepiece_pieces.tokenizer_json(
        pieces,
        space_before=normalizer.get(3, 1) != 0,
        byte_fallback=trainer.get(35, 0) != 0,
        before=bos if settings.get("add_bos_token", True) is True else None,
        behind=eos if settings.get("add_eos_token", False) is True else None,
        added=_of_settings(settings, len(pieces)),
    )


def _check(trainer: Mapping[int, Any], normalizer: Mapping[int, Any]) -> None:
    """Refuses by its name what would cut a text otherwise than byte pairs do."""
    kind = trainer.get(3, 1)
    if MODEL_TYPES.get(kind) != "bpe":
        raise UnsupportedTokenizerError(
            f"its model_type is {MODEL_TYPES.get(kind, kind)} (supported: bpe)"
        )
    if normalizer.get(2, b""):
        raise UnsupportedTokenizerError(
            f"it normalises texts by {_text(normalizer.get(1, b''))!r} (supported: identity)"
        )
    for what, found, wanted in (
        ("removes extra whitespace", normalizer.get(4, 1), 0),
        ("does not write spaces as ▁", normalizer.get(5, 1), 1),
        ("puts spaces behind words", trainer.get(24, 0), 0),
    ):
        if found != wanted:
            raise UnsupportedTokenizerError(f"it {what}, which is not supported")


def _of_settings(settings: Mapping[str, Any], first: int) -> list[dict[str, Any]]:
    """Tokens that were added to the model behind its pieces (Phi-3's turns)."""
    given = settings.get("added_tokens_decoder")
    found = {
        int(id_): token
        for id_, token in (given.items() if isinstance(given, Mapping) else ())
        if id_.isdecimal() and isinstance(token, Mapping) and isinstance(token.get("content"), str)
    }
    ids = sorted(id_ for id_ in found if id_ >= first)
    if ids != list(range(first, first + len(ids))):
        raise UnsupportedTokenizerError(
            f"added_tokens_decoder must have ids from {first} without a gap, has {ids[:5]}…"
        )
    names = ("single_word", "lstrip", "rstrip", "normalized")
    return [
        sentencepiece_pieces.added_token(
            id_, found[id_]["content"], special=found[id_].get("special") is True
        )
        | {name: found[id_].get(name) is True for name in names}
        for id_ in ids
    ]


def _piece(data: bytes) -> Piece:
    fields = dict(_fields(data))
    text = _text(fields.get(1, b""))
    stored = _bytes(fields.get(2, bytes(4)))
    score = struct.unpack("<f", stored)[0] if len(stored) == 4 else math.nan
    kind = fields.get(3, NORMAL)
    return Piece(text, score, kind)


def _message(fields: list[tuple[int, Any]], number: int) -> dict[int, Any]:
    found = [_bytes(value) for each, value in fields if each == number]
    return dict(_fields(b"".join(found)))


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: their numbers, and a number or bytes each."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == VARINT:
            value, at = _varint(data, at)
        elif kind in (FIXED64, FIXED32, BYTES):
            size, at = _varint(data, at) if kind == BYTES else ({FIXED64: 8, FIXED32: 4}[kind], at)
            value = data[at : at + size]
            at += size
            if at > len(data):
                raise ValueError("it is cut off")
        else:
            raise ValueError(f"field {key >> 3} is of the unknown kind {kind}")
        yield key >> 3, value


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ValueError("it is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has more than 64 bits")


def _bytes(value: Any) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a field is a number and should be bytes")
    return value


def _text(value: Any) -> str:
    return _bytes(value).decode("utf-8")


def _signed(value: Any) -> int:
    if not isinstance(value, int):
        raise ValueError("a field is bytes and should be a number")
    return value - UNSIGNED_64 if value >= SIGN else value
