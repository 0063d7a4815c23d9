"""Writes src/text/unicode_replacements.inc: characters that versions of Unicode class differently.

Usage: unicode_replacements.py, with Python 3.11 (which knows Unicode 14.0) and unicodedata2 16.0.0
from PyPI. Run it anew where the reference, Hugging Face's tokenizers, moves to another version.
"""

import unicodedata as oldest
from pathlib import Path

import unicodedata2 as reference

OUTPUT = Path(__file__).resolve().parents[2] / "src" / "text" / "unicode_replacements.inc"
OLDEST, REFERENCE = "14.0.0", "16.0.0"
CHANGED_LATER = (0x295,)  # whose category Unicode 17 changed
LAST = 0x10FFFF
UNASSIGNED = {2: 0x3A2, 3: 0xFDD0, 4: 0x1FFFE}  # and so for ever, by length in UTF-8
HAN_4 = 0x20000
PER_LINE = 3


def main() -> None:
    """Write the table."""
    assert oldest.unidata_version == OLDEST, oldest.unidata_version
    assert reference.unidata_version == REFERENCE, reference.unidata_version
    stable: dict[tuple[str, int], int] = {}
    for code in range(0xE000):
        _remember(stable, code)
    for code in range(0xE000, LAST + 1):
        _remember(stable, code)
    ranges: list[list[int]] = []
    for code in range(LAST + 1):
        if not _differs(code):
            continue
        replacement = _replacement(stable, code)
        last = ranges[-1] if ranges else [0, -2, 0]
        if last[1] == code - 1 and last[2] == replacement and _length(last[1]) == _length(code):
            last[1] = code
        else:
            ranges.append([code, code, replacement])
    entries = [f"{{0x{first:X}, 0x{last:X}, 0x{to:X}}}," for first, last, to in ranges]
    lines = [" ".join(entries[i : i + PER_LINE]) for i in range(0, len(entries), PER_LINE)]
    head = "// Made by scripts/lib/unicode_replacements.py of Unicode 14.0 and 16.0.\n"
    OUTPUT.write_text(head + "".join(f"{line}\n" for line in lines), encoding="utf-8")


def _differs(code: int) -> bool:
    character = chr(code)
    was, now = oldest.category(character), reference.category(character)
    return was == "Cn" or was != now or code in CHANGED_LATER


def _length(code: int) -> int:
    """In UTF-8, of what is no surrogate."""
    return 1 if code < 0x80 else 2 if code < 0x800 else 3 if code < 0x10000 else 4


def _remember(stable: dict[tuple[str, int], int], code: int) -> None:
    """Keep the first caseless character of a category and length that every version agrees on."""
    if not _differs(code):
        stable.setdefault((reference.category(chr(code)), _length(code)), code)


def _replacement(stable: dict[tuple[str, int], int], code: int) -> int:
    category, length = reference.category(chr(code)), _length(code)
    if category == "Cn":
        return UNASSIGNED[length]
    if category == "Lo" and reference.name(chr(code), "").startswith("CJK UNIFIED"):
        return HAN_4
    return stable[category, length]


if __name__ == "__main__":
    main()
