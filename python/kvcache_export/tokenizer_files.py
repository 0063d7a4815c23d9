"""The tokenizer's files of a checkpoint, which go into the model directory as they are."""

import shutil
from collections.abc import Sequence
from pathlib import Path

ROLE = "tokenizer"
WHOLE = "tokenizer.json"
PAIR = ("vocab.json", "merges.txt")  # in its place, of older checkpoints
SETTINGS = "tokenizer_config.json"
NAMES = (WHOLE, *PAIR, SETTINGS)


def find(directory: Path) -> tuple[Path, ...]:
    """Those of a checkpoint's directory that the library reads; none where it has no tokenizer."""
    whole = directory / WHOLE
    pair = [directory / name for name in PAIR]
    if whole.is_file():
        found = [whole]
    elif all(path.is_file() for path in pair):
        found = pair
    else:
        return ()
    settings = directory / SETTINGS
    return (*found, settings) if settings.is_file() else tuple(found)


def copy(files: Sequence[Path], directory: Path) -> list[tuple[Path, str]]:
    """Copies `files` into a directory under their names; the copies and their role."""
    return [(Path(shutil.copyfile(path, directory / path.name)), ROLE) for path in files]
