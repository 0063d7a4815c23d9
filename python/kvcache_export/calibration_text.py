"""The text of --calibration as the model's own tokens: what its tokenizer's library makes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import tokenizer_files
from .errors import ExportError
from .sources import Source

if TYPE_CHECKING:
    from tokenizers import Tokenizer

OPTION = "--calibration"
MAX_BYTES = 64 << 20  # far more than anybody has the time for


def token_ids(path: Path, source: Source) -> list[int]:
    """The tokens of a text file, without those that a tokenizer puts around a text.

    Raises ExportError where the file is no text, or the model has no tokenizer to encode it with.
    """
    text = _read(path)
    tokenizer = _tokenizer(source)
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    if not ids:
        raise ExportError(f"{OPTION}: {path} holds no text; at least one token is needed")
    return ids


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ExportError(f"{OPTION}: {path} is larger than {MAX_BYTES >> 20} MiB")
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ExportError(f"{OPTION}: {path} is not UTF-8: {error}") from error
    except (OSError, ValueError) as error:  # ValueError: a name with a null character
        reason = getattr(error, "strerror", None) or error
        raise ExportError(f"{OPTION}: cannot read {path}: {reason}") from error


def _tokenizer(source: Source) -> Tokenizer:
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise ExportError(
            f"{OPTION} needs the Python package tokenizers; run: python -m pip install tokenizers,"
            " or give token ids instead: --calibration-ids"
        ) from error
    files = {file.name: file for file in source.tokenizer}
    whole, pair = files.get(tokenizer_files.WHOLE), tokenizer_files.PAIR
    try:
        if isinstance(whole, tokenizer_files.Made):
            return Tokenizer.from_str(whole.text)
        if whole is not None:
            return Tokenizer.from_str(whole.read_text(encoding="utf-8"))
        if all(name in files for name in pair):
            return _of_pair(*(str(files[name]) for name in pair))
    except Exception as error:  # of whatever kind the package has for a broken file
        raise ExportError(f"{OPTION}: the model's tokenizer cannot be read: {error}") from error
    raise ExportError(
        f"{OPTION}: the model has no tokenizer to encode the text with; give token ids instead:"
        " --calibration-ids"
    )


def _of_pair(vocab: str, merges: str) -> Tokenizer:
    """GPT-2's, as the library reads these files."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE.from_file(vocab, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
