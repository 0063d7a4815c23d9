"""The tokenizer.json of a GGUF file whose vocabulary is SentencePiece's: Llama 2, Mistral, Gemma.

llama.cpp calls these "llama" (llama-vocab.cpp): pieces with scores and types, as in SentencePiece's
own file. What that file says of texts are a few flags here, or the defaults that llama.cpp has.
"""

from __future__ import annotations

from .. import sentencepiece_pieces
from ..errors import ExportError
from ..sentencepiece_pieces import BYTE, UNKNOWN, Piece, UnsupportedTokenizerError
from . import gguf_vocabulary
from .gguf_vocabulary import PREFIX, Metadata

BYTES = 256
UNKNOWN_ID, BOS_ID, EOS_ID = range(3)  # where the file names none

# Phi-3's special tokens take the whitespace behind them, but for these; no GGUF file says so.
KEEPING_WHITESPACE = ("<unk>", "<s>", "<|endoftext|>")


def tokenizer_json(metadata: Metadata) -> str:
    """The file's text.

    Raises ExportError naming the field that is not as it must be, UnsupportedTokenizerError where
    no tokenizer.json does the same.
    """
    tokens = gguf_vocabulary.tokens(metadata)
    count = len(tokens)
    kinds = gguf_vocabulary.types(metadata, count)
    scores = gguf_vocabulary.scores(metadata, count)
    if gguf_vocabulary.flag(metadata, "remove_extra_whitespaces", default=False):
        raise UnsupportedTokenizerError("it removes extra whitespace, which is not supported")
    of_bytes = sum(kind == BYTE for kind in kinds)
    if of_bytes not in (0, BYTES):
        raise UnsupportedTokenizerError(f"it has tokens of {of_bytes} of the {BYTES} bytes")
    ids = {
        name: gguf_vocabulary.token_id(metadata, f"{name}_token_id", default, count)
        for name, default in (("unknown", UNKNOWN_ID), ("bos", BOS_ID), ("eos", EOS_ID))
    }
    unknown = ids["unknown"]
    if f"{PREFIX}unknown_token_id" not in metadata and UNKNOWN in kinds:
        unknown = kinds.index(UNKNOWN)
    phi3 = metadata.get("general.architecture") == "phi3"
    try:
        return sentencepiece_pieces.tokenizer_json(
            [Piece(*each) for each in zip(tokens, scores, kinds, strict=True)],
            space_before=gguf_vocabulary.flag(metadata, "add_space_prefix", default=True),
            byte_fallback=of_bytes == BYTES,
            before=ids["bos"] if _adds(metadata, "bos", default=True) else None,
            behind=ids["eos"] if _adds(metadata, "eos", default=False) else None,
            unknown=unknown,
            keeping_whitespace=KEEPING_WHITESPACE if phi3 else None,
        )
    except ValueError as error:
        raise ExportError(f"{PREFIX}tokens: {error}") from error


def _adds(metadata: Metadata, name: str, *, default: bool) -> bool:
    return gguf_vocabulary.flag(metadata, f"add_{name}_token", default=default)
