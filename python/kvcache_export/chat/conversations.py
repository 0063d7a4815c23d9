"""Conversations to try a template with: kinds of them, and contents of every kind."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from .environment import Message
from .pieces import ROLES, WHITESPACE

LONGEST_OF_ALL = 4  # every conversation of a kind up to this length is tried
LONGEST = 12

ALPHABETS = (
    "abcdefghijklmnopqrstuvwxyz     ",
    "ABC xyz 0123456789.,;:!?",
    "{}[]()<>|/\\\"'&%#$@`~^*_+-=",
    "äöüßéñçøåÆŒ ΑΒΓαβγ Жизнь שלום مرحبا",
    "東京は日本の首都です中文한국어ไทย",
    "👩‍👩‍👧🏳️‍🌈🇩🇪❤️e\u0301\u200b\ufeff\U0001f9d1",
    "\x00\x01\x07\x1b\x7f\u0085\ufffd\U0010ffff",
    "\n\t \r",
    WHITESPACE,
)
FIXED = (
    *("", " ", "\n", "\n\n", " \t\r\n\u3000", "Hello!", "What is 1 + 1?", "  indented", "end\n"),
    *("\n\nHello\n\n", "a\n\nb", "{{ x }}", "{% if x %}", "{# x #}", "<b>&amp;</b>", '{"a": [1]}'),
    *("```python\nprint(1)\n```", "null", "None", "user", "assistant", "system", "\\n", "%d {} %s"),
)


@dataclass(frozen=True)
class Kind:
    """A set of conversations, by their roles."""

    name: str
    holds: Callable[[Sequence[str]], bool]

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        """Every short one."""
        for length in range(1, LONGEST_OF_ALL + 1):
            yield from filter(self.holds, itertools.product(ROLES, repeat=length))

    def random(self, generator: random.Random, longest: int = LONGEST) -> tuple[str, ...]:
        """One of up to `longest` messages, made role by role."""
        roles: tuple[str, ...] = ()
        for _ in range(generator.randint(1, longest)):
            following = [(*roles, role) for role in ROLES if self.holds((*roles, role))]
            roles = generator.choice(following)
        return roles


def _alternate(roles: Sequence[str]) -> bool:
    return all(role == ("user", "assistant")[i % 2] for i, role in enumerate(roles))


def _behind_system(roles: Sequence[str]) -> Sequence[str]:
    return roles[1:] if roles and roles[0] == "system" else roles


# From what takes most to what takes least.
KINDS = (
    Kind("any", lambda roles: True),
    Kind("a system message first", lambda roles: "system" not in _behind_system(roles)),
    Kind("a system message first, then turns", lambda roles: _alternate(_behind_system(roles))),
    Kind("turns without a system message", _alternate),
)


def contents(generator: random.Random, special: Sequence[str]) -> Iterator[str]:
    """Contents of every kind without end; `special` are texts that mean something to a model."""
    while True:
        kind = generator.randrange(8)
        if kind == 0:
            yield generator.choice(FIXED)
        elif kind == 1 and special:
            around = [_letters(generator, 6) for _ in range(2)]
            yield generator.choice(special).join(around)
        elif kind == 2:
            edges = ["".join(generator.choices(WHITESPACE, k=3)) for _ in range(2)]
            yield _letters(generator, 20).join(edges)
        elif kind == 3 and generator.randrange(10) == 0:
            yield _letters(generator, 20) * generator.choice((50, 500))
        else:
            yield "".join(_letters(generator, 12) for _ in range(generator.randint(1, 6)))


def _letters(generator: random.Random, most: int) -> str:
    return "".join(generator.choices(generator.choice(ALPHABETS), k=generator.randint(0, most)))


def messages(roles: Sequence[str], texts: Sequence[str]) -> list[Message]:
    return [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
