"""Ten megabytes of text of many kinds: prose in the scripts that Django is translated into, code,
every character of Unicode, what tokenizers disagree on."""

from __future__ import annotations

import ast
import random
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

from random_texts import every_character, random_texts

BYTES = 10_000_000
CODE_BYTES = 3_000_000
RANDOM_TEXTS = 4000
LINES_OF_A_TEXT = 40


def ten_megabytes(translations: Path, seed: int) -> list[str]:
    """Texts of a few kilobytes, in random order; `translations` is Django's wheel."""
    kinds = [
        list(_in_texts(_prose(translations))),
        list(_in_texts(_code())),
        every_character(seed),
        random_texts(seed, RANDOM_TEXTS),
    ]
    chance = random.Random(seed)
    texts = [text for kind in kinds for text in kind]
    size = sum(len(text.encode()) for text in texts)
    longest = kinds[0]
    while size < BYTES:  # prose with its sentences in another order
        lines = chance.choice(longest).splitlines(keepends=True)
        chance.shuffle(lines)
        texts.append("".join(lines))
        size += len(texts[-1].encode())
    chance.shuffle(texts)
    return texts


def _prose(wheel: Path) -> Iterator[str]:
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith(".po") and "/locale/" in name:
                yield from _translated(archive.read(name).decode())


def _translated(catalog: str) -> Iterator[str]:
    """The translations in a gettext catalog, a line each."""
    parts: list[str] = []
    for line in catalog.splitlines():
        if line.startswith("msgstr"):
            parts = [line.partition(" ")[2]]
        elif line.startswith('"') and parts:
            parts.append(line)
        elif parts:
            yield "".join(ast.literal_eval(part) for part in parts) + "\n"
            parts = []


def _code() -> Iterator[str]:
    size = 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        text = path.read_text(encoding="utf-8", errors="replace")
        yield from text.splitlines(keepends=True)
        size += len(text)
        if size > CODE_BYTES:
            return


def _in_texts(lines: Iterator[str]) -> Iterator[str]:
    gathered: list[str] = []
    for line in lines:
        gathered.append(line)
        if len(gathered) == LINES_OF_A_TEXT:
            yield "".join(gathered)
            gathered = []
    yield "".join(gathered)
