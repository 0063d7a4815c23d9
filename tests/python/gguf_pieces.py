"""A SentencePiece model as GGUF metadata, as llama.cpp's converter writes it."""

from __future__ import annotations

import sentencepiece

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def metadata_of(data: bytes, users: tuple[str, ...] = ()) -> dict[str, object]:
    """Of a model's bytes; `users` are pieces that its tokenizer_config.json lists as added."""
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    ids = range(model.get_piece_size())

    def kind(id_: int) -> int:
        if model.id_to_piece(id_) in users:
            return USER_DEFINED
        asked = (
            (model.is_unknown, UNKNOWN),
            (model.is_control, CONTROL),
            (model.is_unused, UNUSED),
            (model.is_byte, BYTE),
        )
        return next((number for asks, number in asked if asks(id_)), NORMAL)

    fields = {
        "model": "llama",
        "pre": "default",
        "tokens": [model.id_to_piece(id_) for id_ in ids],
        "scores": [model.get_score(id_) for id_ in ids],
        "token_type": [kind(id_) for id_ in ids],
        "unknown_token_id": model.unk_id(),
        "bos_token_id": model.bos_id(),
        "eos_token_id": model.eos_id(),
        "add_bos_token": True,
        "add_eos_token": False,
    }
    return {f"tokenizer.ggml.{name}": value for name, value in fields.items()}
