"""The tokenizer's files of a checkpoint, which go into the model directory as they are, or one made
of a vocabulary."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from . import json_file, sentencepiece_file, tekken_file

ROLE = "tokenizer"
WHOLE = "tokenizer.json"
PAIR = ("vocab.json", "merges.txt")  # in its place, of older checkpoints
SETTINGS = "tokenizer_config.json"
NAMES = (WHOLE, *PAIR, SETTINGS)
OTHERS = (sentencepiece_file.NAME, tekken_file.NAME)  # of which one is made


@dataclass(frozen=True)
class Made:
    """A tokenizer.json that is in no file."""

    text: str
    name: str = WHOLE


def find(directory: Path) -> tuple[Path | Made, ...]:
    """Those of a checkpoint's directory that the library reads; none where it has no tokenizer.

    Raises ExportError for a damaged file that one would be made of, UnsupportedTokenizerError where
    it is of another kind than those are.
    """
    whole = directory / WHOLE
    pair = [directory / name for name in PAIR]
    if whole.is_file():
        found = [whole]
    elif all(path.is_file() for path in pair):
        found = pair
    elif (text := _made(directory)) is not None:
        found = [Made(text)]
    else:
        return ()
    settings = directory / SETTINGS
    return (*found, settings) if settings.is_file() else tuple(found)


def _made(directory: Path) -> str | None:
    pieces, tekken = (directory / name for name in OTHERS)
    if tekken.is_file():
        return tekken_file.tokenizer_json(tekken)
    if not pieces.is_file():
        return None
    settings = directory / SETTINGS
    fields = json_file.read_object(settings) if settings.is_file() else {}
    return sentencepiece_file.tokenizer_json(pieces, fields)


def copy(files: Sequence[Path | Made], directory: Path) -> list[tuple[Path, str]]:
    """Copies `files` into a directory under their names; the copies and their role."""
    copies = [directory / file.name for file in files]
    for file, to in zip(files, copies, strict=True):
        if isinstance(file, Made):
            to.write_text(file.text, encoding="utf-8")
        else:
            shutil.copyfile(file, to)
    return [(path, ROLE) for path in copies]
