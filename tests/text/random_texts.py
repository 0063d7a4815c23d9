"""Random texts that tokenizers disagree on."""

from __future__ import annotations

import random
from collections.abc import Sequence

SURROGATES = range(0xD800, 0xE000)
BLOCKS = [
    *[(0x20, 0x7F)] * 8,
    (0, 0x20), (0x80, 0x250), (0x250, 0x400), (0x300, 0x370), (0x370, 0x530), (0x530, 0x700),
    (0x700, 0xE00), (0xE00, 0x1200), (0x1200, 0x2000), (0x2000, 0x2C00), (0x2C00, 0x3100),
    (0x3000, 0x3400), (0x4E00, 0xA000), (0xA000, 0xAC00), (0xAC00, 0xD7A4), (0xE000, 0x10000),
    (0x10000, 0x11000), (0x11000, 0x12000), (0x12000, 0x20000), (0x1F000, 0x1FB00),
    (0x20000, 0x34000), (0x34000, 0x110000),
]  # fmt: skip
WORDS = [
    "the", "of", "and", "is", "hello", "world's", "don't", "I'll", "we've", "THE", "It's",
    "print(x)", "foo_bar", "__init__", "3.14", "1e-5", "http://a.b/c?d=e&f", "#include", "λ", "≤",
    "€", "ü", "straße", "Москва", "Ελλάδα", "שלום", "مرحبا", "नमस्ते", "ไทย", "東京", "서울",
    "words", "word", "[L]", "[R]", "[LR]", "[N]", "[NN]", "é", "<|end|>er", "<0x0A>", "<0xE2>",
    "▁", "▁▁", "<unk>",
]  # fmt: skip
SPACES = [" ", "  ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "   ", ""]
RUNS = [" ", "\n", "\r", "\t", "a", "1", ".", "'", "s", "\u00a0"]
FIXED = [
    "", " ", "\n", "\0", "a\0b", "\x00\x01\x1f\x7f", " Hello  world \n\n x",
    "I'M don't 'S 'ſ 'ſt'RE",
    "\r\n\r\n a", "1234567 1 22 333 ½²³ ٣٤٥ 𝟘𝟙", "e\u0301 ﬁ K Å \u1100\u1161\u11a8",
    "👩‍👩‍👧‍👦🏳️‍🌈🫠🫨🪿🩷🇩🇪", "\u180e a\u180eb", "a\u0085b\u00a0c\u2003d\u3000e",
    "\ufeffx\u200b\u200d", "\u0301\u0301a\u0327\u0301", "\u07fd\u0334\u1715", " " * 100 + "x",
    "a" * 300, "\U00011de0\U00016ff4 \U0001fae9\u1c89\ua7cb\U00010d4a\U00032000",
]  # fmt: skip


def random_texts(seed: int, count: int, special: Sequence[str] = ()) -> list[str]:
    """The fixed ones and `count` random ones."""
    chance = random.Random(seed)
    return [*FIXED, *(_text(chance, [*special, "x"]) for _ in range(count))]


def every_character(seed: int, length: int = 64) -> list[str]:
    """Texts that have each character once, in random order."""
    codes = [chr(code) for code in range(0x110000) if code not in SURROGATES]
    random.Random(seed).shuffle(codes)
    return ["".join(codes[place : place + length]) for place in range(0, len(codes), length)]


def _text(chance: random.Random, special: Sequence[str]) -> str:
    kind = chance.random()
    if kind < 0.25:
        return _join(chance, 20, lambda: chance.choice(WORDS) + chance.choice(SPACES))
    if kind < 0.5:
        block = chance.choice(BLOCKS)
        return _join(chance, 30, lambda: _character(chance, block))
    if kind < 0.8:
        return _join(chance, 25, lambda: _mixed(chance, special))
    if kind < 0.9:
        return _join(chance, 30, lambda: chance.choice(RUNS))
    return _join(chance, 6, lambda: chance.choice(special) + chance.choice([*SPACES, *WORDS]))


def _join(chance: random.Random, most: int, make: object) -> str:
    return "".join(make() for _ in range(chance.randint(1, most)))


def _character(chance: random.Random, block: tuple[int, int]) -> str:
    code = chance.randrange(*block)
    return " " if code in SURROGATES else chr(code)


def _mixed(chance: random.Random, special: Sequence[str]) -> str:
    character = _character(chance, chance.choice(BLOCKS))
    more = chance.choice([*SPACES, *WORDS, *special]) if chance.random() < 0.3 else ""
    return character + more
