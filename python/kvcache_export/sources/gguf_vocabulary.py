"""The vocabulary in a GGUF file's metadata, checked: tokens, their types and scores, and flags."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..errors import ExportError
from ..fields import is_integer
from ..json_file import shown
from ..sentencepiece_pieces import BYTE, MAX_PIECES, NORMAL

PREFIX = "tokenizer.ggml."

Metadata = Mapping[str, Any]


def tokens(metadata: Metadata) -> list[str]:
    """The texts, by id."""
    found = metadata.get(f"{PREFIX}tokens")
    if not isinstance(found, list) or not all(isinstance(token, str) for token in found):
        raise ExportError(f"{PREFIX}tokens must be a list of texts")
    if not 0 < len(found) <= MAX_PIECES:
        raise ExportError(f"{PREFIX}tokens has {len(found)} tokens, must have 1 to {MAX_PIECES}")
    if len(set(found)) < len(found):
        twice, _ = Counter(found).most_common(1)[0]
        raise ExportError(f"{PREFIX}tokens has {shown(twice)} twice")
    return found


def types(metadata: Metadata, count: int) -> list[int]:
    """What kind each token is, as SentencePiece numbers them; all normal where it is not said."""
    found = metadata.get(f"{PREFIX}token_type")
    if found is None:
        return [NORMAL] * count
    known = isinstance(found, list) and all(
        is_integer(each) and NORMAL <= each <= BYTE for each in found
    )
    if not known or len(found) != count:
        raise ExportError(
            f"{PREFIX}token_type must be a list of {count} integers from {NORMAL} to {BYTE}, one"
            " for each token"
        )
    return found


def scores(metadata: Metadata, count: int) -> list[float]:
    """Which pair is merged first."""
    found = metadata.get(f"{PREFIX}scores")
    numbers = isinstance(found, list) and all(
        isinstance(each, float) and not math.isnan(each) for each in found
    )
    if not numbers or len(found) != count:
        raise ExportError(f"{PREFIX}scores must be a list of {count} numbers, one for each token")
    return found


def flag(metadata: Metadata, name: str, *, default: bool) -> bool:
    found = metadata.get(f"{PREFIX}{name}", default)
    if not isinstance(found, bool):
        raise ExportError(f"{PREFIX}{name} is {shown(found)}, must be true or false")
    return found


def token_id(metadata: Metadata, name: str, default: int, count: int) -> int | None:
    """That of a special token; None where the default is no token's."""
    found = metadata.get(f"{PREFIX}{name}")
    if found is None:
        return default if default < count else None
    if not is_integer(found) or not 0 <= found < count:
        raise ExportError(f"{PREFIX}{name} is {shown(found)}, must be in [0, {count})")
    return found
