"""A chat template in pieces: what stands between two messages, by their roles.

The text of a conversation is what stands before its first message, a content, what stands between
that and the next one, and so on. Where a template is of that kind, a program without Jinja2 renders
it exactly; src/text/chat_pieces.cpp is the same in C++.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .environment import Message

FORMAT, FORMAT_VERSION = "kvcache_chat_template", 1
ROLES = ("system", "user", "assistant")
# What Python's str.strip() takes off: what str.isspace() says yes to.
WHITESPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


@dataclass(frozen=True)
class Place:
    """Between which messages: None is the beginning or the end of the conversation.

    `last` is whether `after` is the last message; `generation`, at the end, whether what begins an
    answer stands there.
    """

    before: str | None
    after: str | None
    last: bool = False
    generation: bool = False


def places(roles: Sequence[str], generation: bool) -> list[Place]:
    """Those of a conversation, in their order."""
    ends = [None, *roles, None]
    return [
        Place(before, after, i == len(roles) - 1, generation and after is None)
        for i, (before, after) in enumerate(itertools.pairwise(ends))
    ]


@dataclass(frozen=True)
class Time:
    """A part of a text that tells the time, as strftime formats it."""

    format: str


@dataclass(frozen=True)
class Piece:
    text: tuple[str | Time, ...]
    trim_before: str = ""  # characters that are taken off the end of the content before it
    trim_after: str = ""  # and off the beginning of the one behind it

    def written(self, now: Callable[[str], str]) -> str:
        return "".join(now(part.format) if isinstance(part, Time) else part for part in self.text)


@dataclass(frozen=True)
class Refused:
    """Contents of a role that the template treats in another way than all others."""

    containing: tuple[str, ...] = ()
    empty: bool = False
    blank: bool = False  # nothing but whitespace

    def __contains__(self, content: str) -> bool:
        return (
            (self.empty and not content)
            or (self.blank and not content.strip())
            or any(text in content for text in self.containing)
        )


@dataclass(frozen=True)
class Pieces:
    between: dict[Place, Piece]
    refused: dict[str, Refused] = field(default_factory=dict)

    def takes(self, roles: Sequence[str], generation: bool) -> bool:
        """Whether there is a piece for each place of such a conversation."""
        return all(place in self.between for place in places(roles, generation))

    def text(
        self, messages: Sequence[Message], generation: bool, now: Callable[[str], str] = str
    ) -> str:
        """The conversation's text, of roles that are taken and contents that are not refused."""
        around = places([message["role"] for message in messages], generation)
        found = [self.between[place] for place in around]
        text = [found[0].written(now)]
        for message, before, after in zip(messages, found, found[1:], strict=False):
            content = message["content"]
            content = content.lstrip(before.trim_after) if before.trim_after else content
            content = content.rstrip(after.trim_before) if after.trim_before else content
            text += (content, after.written(now))
        return "".join(text)

    @property
    def extends(self) -> bool:
        """Whether a conversation's text begins with that of its beginning, asked for an answer.

        Then a cache that holds the one is extended to the other. It may still fail at whitespace
        around an answer, which many templates take off.
        """
        answer = self.between.get(Place("user", None, generation=True))
        for place, piece in self.between.items():
            other = self.between.get(Place(place.before, place.after, not place.last))
            if place.after is not None and other is not None and other.text != piece.text:
                return False
        after_user = self.between.get(Place("user", "assistant"))
        return answer is not None and after_user is not None and answer.text == after_user.text

    def to_json(self) -> dict[str, Any]:
        """The fields of chat_template.json (docs/CHAT.md)."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "expressed": True,
            "extends": self.extends,
            "between": [
                _entry(place, piece, both)
                for place, piece in self.between.items()
                for both in (self._is_both(place, piece),)
                if not (both and place.last)
            ],
            "refused": [
                {
                    "role": role,
                    "containing": list(refused.containing),
                    "empty": refused.empty,
                    "blank": refused.blank,
                }
                for role, refused in self.refused.items()
            ],
        }

    def _is_both(self, place: Place, piece: Piece) -> bool:
        """Whether it is the same for the last message and for others."""
        other = Place(place.before, place.after, not place.last)
        return place.after is not None and self.between.get(other) == piece


def unexpressed(reason: str) -> dict[str, Any]:
    """The fields of a template that has no pieces, and why."""
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "expressed": False,
        "reason": reason,
    }


def _entry(place: Place, piece: Piece, both: bool) -> dict[str, Any]:
    parts = [{"time": part.format} if isinstance(part, Time) else part for part in piece.text]
    entry: dict[str, Any] = {"before": place.before, "after": place.after}
    if place.after is None:
        entry["generation"] = place.generation
    elif not both:
        entry["last"] = place.last
    return entry | {
        "text": parts,
        "trim_before": piece.trim_before,
        "trim_after": piece.trim_after,
    }
