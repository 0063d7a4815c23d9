"""The pieces of a chat template, found by what it makes of messages, or why it has none.

Contents that are like no other text show what stands between them. The pieces count only where
putting them together gives the template's text for every short conversation of a kind, and for
random ones with contents of every kind; what the template asks of contents is watched, so that it
is known for which it does something else.
"""

from __future__ import annotations

import datetime
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..json_file import shown
from .conversations import KINDS, Kind, contents, messages
from .environment import ChatTemplate, Message, TemplateError
from .pieces import (
    ROLES,
    WHITESPACE,
    Piece,
    Pieces,
    Place,
    Refused,
    Time,
    places,
    unexpressed,
)
from .watched import Notes, watched

SEED = 0  # the same template has the same pieces everywhere
RANDOM_STRUCTURES = 100
RANDOM_CONVERSATIONS = 400
DRAWS = 12  # of contents for a conversation
# What C's strftime and Python's give the same text for, in the locale C.
TIME_FORMAT = re.compile(r"(?:[^%]|%[aAbBdHIjmMpSUwWyY%])*")
MARK = "\ue000{}\ue001"  # of private use: no template has these
TIMES = (datetime.datetime(2024, 7, 26, 9, 5, 3), datetime.datetime(2031, 12, 1, 23, 59, 0))


class NotExpressedError(Exception):
    """Why there are no pieces."""


def express(source: str, tokens: Mapping[str, str]) -> dict[str, Any]:
    """The fields of chat_template.json: the pieces, or why there are none."""
    try:
        return pieces_of(ChatTemplate(source, tokens), tuple(tokens.values())).to_json()
    except TemplateError as error:
        return unexpressed(f"it cannot be read: {error}")
    except NotExpressedError as error:
        return unexpressed(str(error))


def pieces_of(template: ChatTemplate, special: Sequence[str] = ()) -> Pieces:
    """Those of the largest kind of conversations that has some; NotExpressedError where none has.

    `special` are texts for contents that mean something to a model, such as its special tokens.
    """
    reasons = []
    for kind in KINDS:
        try:
            return Probe(template, kind, special).pieces()
        except NotExpressedError as error:
            reasons.append(f"{error} ({kind.name})")
    raise NotExpressedError("; ".join(reasons))


class Probe:
    """A template tried with one kind of conversations."""

    def __init__(self, template: ChatTemplate, kind: Kind, special: Sequence[str]):
        self._template = template
        self._kind = kind
        self._special = special
        self._generator = random.Random(SEED)
        self._notes = {role: Notes() for role in ROLES}
        self._formats: list[str] = []
        self._emptied: dict[str, tuple[bool, bool]] = {}
        self._witnesses: dict[Place, tuple[tuple[str, ...], bool, int]] = {}

    def pieces(self) -> Pieces:
        texts = self._texts()
        self._check_notes()
        found = Pieces({place: self._piece(place, text) for place, text in texts.items()})
        self._emptied = {role: self._blanks(found, role) for role in ROLES}
        found = Pieces(found.between, self._refused())
        self._check(found)
        return Pieces(found.between, self._refused())  # with what the check has brought up

    def _structures(self) -> Iterator[tuple[tuple[str, ...], bool]]:
        structures = list(self._kind)
        structures += [self._kind.random(self._generator) for _ in range(RANDOM_STRUCTURES)]
        for roles in dict.fromkeys(structures):
            yield from ((roles, generation) for generation in (False, True))

    def _texts(self) -> dict[Place, str]:
        """What stands at each place, the same in all conversations."""
        found: dict[Place, str] = {}
        refused, reason = [], None
        for roles, generation in self._structures():
            texts = [MARK.format(f"message{i}") for i in range(len(roles))]
            try:
                between = _cut(self._rendered(roles, texts, generation), texts)
                problem = f"{_named(roles)} are not in their order, each of them once"
            except TemplateError as error:
                between, problem = None, str(error)
            if between is None:
                refused.append((roles, generation))
                reason = reason or problem
                continue
            around = places(roles, generation)
            for i, (place, text) in enumerate(zip(around, between, strict=True)):
                if found.setdefault(place, text) != text:
                    raise NotExpressedError(
                        f"what stands {_where(place)} depends on other messages"
                    )
                self._witnesses.setdefault(place, (roles, generation, i))
        if not found:
            raise NotExpressedError(reason or "it takes no conversation")
        for roles, generation in refused:
            if all(place in found for place in places(roles, generation)):
                raise NotExpressedError(f"{_named(roles)} are refused ({reason})")
        return found

    def _rendered(self, roles: Sequence[str], texts: Sequence[str], generation: bool) -> str:
        """The template's text, with a mark for each time that it asks for."""
        notes = [self._notes[role] for role in roles]
        said = messages(roles, [watched(*each) for each in zip(texts, notes, strict=True)])
        return self._template.text(said, generation, self._mark_of_time)

    def _mark_of_time(self, format_: str) -> str:
        if format_ not in self._formats:
            self._formats.append(format_)
        return MARK.format(f"time{self._formats.index(format_)}")

    def _piece(self, place: Place, text: str) -> Piece:
        """What stands at a place, and what is taken off the contents around it."""
        roles, generation, i = self._witnesses[place]
        marks = [MARK.format(f"message{k}") for k in range(len(roles))]

        def kept(edge: str, changed: int) -> bool:
            """Whether a character at the edge of a content stays there."""
            content = marks[changed] + edge if changed < i else edge + marks[changed]
            texts = [*marks[:changed], content, *marks[changed + 1 :]]
            try:
                between = _cut(self._rendered(roles, texts, generation), marks)
            except TemplateError as error:
                raise NotExpressedError(f"{edge!r} at an edge of a message: {error}") from error
            stays = edge + text if changed < i else text + edge
            if between is None or between[i] not in (text, stays):
                raise NotExpressedError(
                    f"{edge!r} at an edge of a {roles[changed]} message changes more"
                )
            return between[i] == stays

        trimmed = set().union(*(notes.trimmed for notes in self._notes.values()))
        edges = sorted(set(WHITESPACE).union(*trimmed))
        sides = [i - 1] if place.after is None else [i] if place.before is None else [i - 1, i]
        off = {side: "".join(edge for edge in edges if not kept(edge, side)) for side in sides}
        return Piece(self._parts(text), off.get(i - 1, ""), off.get(i, ""))

    def _parts(self, text: str) -> tuple[str | Time, ...]:
        """A text with its marks of times as such."""
        parts: list[str | Time] = []
        for i, part in enumerate(re.split(MARK.format(r"time(\d+)"), text)):
            if i % 2 == 0:
                parts += [part] * bool(part)
                continue
            format_ = self._formats[int(part)]
            if not TIME_FORMAT.fullmatch(format_):
                raise NotExpressedError(
                    f"it formats the time as {format_!r}, which differs by system"
                )
            parts.append(Time(format_))
        return tuple(parts)

    def _blanks(self, found: Pieces, role: str) -> tuple[bool, bool]:
        """Whether empty contents of a role change more than themselves, and blank ones."""

        def change(*contents: str) -> bool:
            for roles, generation in itertools.product(self._kind, (False, True)):
                if role not in roles or not found.takes(roles, generation):
                    continue
                for content in contents:
                    texts = [content if each == role else "text" for each in roles]
                    if not self._agrees(found, messages(roles, texts), generation):
                        return True
            return False

        return change(""), change(" ", "\n", " \n\t", WHITESPACE)

    def _refused(self) -> dict[str, Refused]:
        """Of which contents the template asks more than to be held, by role."""
        self._check_notes()
        found = {}
        for role, notes in self._notes.items():
            refused = Refused(tuple(sorted(notes.searched)), *self._emptied[role])
            if refused != Refused():
                found[role] = refused
        return found

    def _check_notes(self) -> None:
        """NotExpressedError where what is asked of contents has an answer of its own for each."""
        for role, notes in self._notes.items():
            if notes.looks:
                raise NotExpressedError(
                    f"it looks at {role} messages: {', '.join(sorted(notes.looks))}"
                )
            if any(not text.strip() for text in notes.searched):
                raise NotExpressedError(f"it looks for whitespace in {role} messages")

    def _check(self, found: Pieces) -> None:
        """Compares with the template on random conversations; raises where one differs."""
        texts = contents(self._generator, (*self._special, *self._template.literals()))
        for i in range(RANDOM_CONVERSATIONS):
            roles, generation = self._kind.random(self._generator), bool(i % 2)
            if not found.takes(roles, generation):
                continue
            drawn = list(itertools.islice(texts, DRAWS))
            taken = {
                role: [text for text in drawn if text not in found.refused.get(role, Refused())]
                for role in ROLES
            }
            if not all(taken.values()):
                raise NotExpressedError("it does something else for nearly all contents")
            said = messages(roles, [self._generator.choice(taken[role]) for role in roles])
            if not self._agrees(found, said, generation):
                raise NotExpressedError(
                    f"it is not the same for all contents, such as {shown(said)}"
                )

    def _agrees(self, found: Pieces, said: Sequence[Message], generation: bool) -> bool:
        """Whether the pieces give the template's text."""
        now = self._generator.choice(TIMES).strftime
        watching = [
            {**each, "content": watched(each["content"], self._notes[each["role"]])}
            for each in said
        ]
        try:
            expected = self._template.text(watching, generation, now)
        except TemplateError:
            return False
        return found.text(said, generation, now) == expected


def _cut(whole: str, marks: Sequence[str]) -> list[str] | None:
    """What stands between the marks, where each is there once and in order."""
    between, rest = [], whole
    for mark in marks:
        before, found, rest = rest.partition(mark)
        if not found:
            return None
        between.append(before)
    return (
        None
        if any(mark in text for text in (*between, rest) for mark in marks)
        else [*between, rest]
    )


def _named(roles: Sequence[str]) -> str:
    return f"messages of {', '.join(roles)}"


def _where(place: Place) -> str:
    before = "at the beginning" if place.before is None else f"behind a {place.before} message"
    after = "at the end" if place.after is None else f"before a {place.after} message"
    return f"{before} and {after}"
