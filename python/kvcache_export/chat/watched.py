"""Contents that note what a template asks of them.

A template whose text depends on a message's content by more than holding it, such as one that cuts
off what stands before "</think>", has pieces only for contents without that. What is asked is noted
here, so that it is known which contents those are; what is made of a content is watched like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

# Each gives the same for all texts without what it is given.
SEARCHES = ("startswith", "endswith", "split", "rsplit", "partition", "rpartition", "replace")
SEARCHES += ("removeprefix", "removesuffix")
TRIMS = ("strip", "lstrip", "rstrip")
# Each gives something else for another text.
LOOKS = ("__getitem__", "__lt__", "__le__", "__gt__", "__ge__", "__mod__", "__mul__", "__rmul__")
LOOKS += ("find", "rfind", "index", "rindex", "count", "splitlines", "format", "format_map")
LOOKS += ("capitalize", "casefold", "lower", "upper", "swapcase", "title", "center", "ljust")
LOOKS += ("rjust", "zfill", "expandtabs", "encode", "translate", "join", "isalnum", "isalpha")
LOOKS += ("isascii", "isdecimal", "isdigit", "isidentifier", "islower", "isnumeric", "isspace")
LOOKS += ("isprintable", "istitle", "isupper", "__reversed__")


@dataclass
class Notes:
    """What was asked of one role's contents."""

    searched: set[str] = field(default_factory=set)  # whether they hold these texts
    trimmed: set[str] = field(default_factory=set)  # characters taken off their ends
    looks: set[str] = field(default_factory=set)  # what depends on all of a text
    emptiness: bool = False  # whether there is anything in them


class Watched(str):
    """A content with the notes of its role, or what is made of contents with those of each."""

    notes: tuple[Notes, ...]

    def __str__(self) -> str:
        return self

    __hash__ = str.__hash__

    def __bool__(self) -> bool:
        _note_emptiness(self.notes)
        return str.__len__(self) > 0

    def __len__(self) -> int:
        _note_look(self.notes, "its length")
        return str.__len__(self)

    def length(self) -> Length:
        """What `len` can't give, for that is always a plain number."""
        made = Length(str.__len__(self))
        made.notes = self.notes
        return made

    def __iter__(self) -> Iterator[str]:
        """To be iterable is no look, `is iterable` asks for that."""
        for each in str.__iter__(self):
            _note_look(self.notes, "its characters")
            yield each

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Watched):
            _note_look(self.notes, "whether it is another message's")
        elif isinstance(other, str):
            self._search(other)
        return str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __contains__(self, text: str) -> bool:
        self._search(text)
        return str.__contains__(self, text)

    def __add__(self, other: str) -> Any:
        if not isinstance(other, str):
            return NotImplemented
        return joined((self, other))

    def __radd__(self, other: str) -> Any:
        return joined((other, self))

    def _search(self, text: Any) -> None:
        for each in text if isinstance(text, tuple) else (text,):
            if not each:
                _note_emptiness(self.notes)
            for notes in self.notes:
                notes.searched.update((each,) if each else ())


class Length(int):
    """One that knows whether it is compared with 0, which only asks for emptiness."""

    notes: tuple[Notes, ...]

    def __bool__(self) -> bool:
        _note_emptiness(self.notes)
        return int(self) != 0

    __hash__ = int.__hash__


def _compare(name: str) -> Any:
    def method(self: Length, other: Any) -> Any:
        if (name, other) in EMPTINESS:
            _note_emptiness(self.notes)
        else:
            _note_look(self.notes, "its length")
        return getattr(int, name)(self, other)

    return method


EMPTINESS = {
    ("__gt__", 0),
    ("__eq__", 0),
    ("__ne__", 0),
    ("__le__", 0),
    ("__ge__", 1),
    ("__lt__", 1),
}
for _name in ("__gt__", "__eq__", "__ne__", "__le__", "__ge__", "__lt__"):
    setattr(Length, _name, _compare(_name))


def watched(text: str, *notes: Notes) -> Watched:
    made = Watched(text)
    made.notes = notes
    return made


def joined(texts: Iterable[str]) -> str:
    """The texts as one, watched where one of them is."""
    parts = list(texts)
    notes = {id(each): each for part in parts if isinstance(part, Watched) for each in part.notes}
    whole = "".join(parts)
    return watched(whole, *notes.values()) if notes else whole


def _note_emptiness(all_notes: Iterable[Notes]) -> None:
    for notes in all_notes:
        notes.emptiness = True


def _note_look(all_notes: Iterable[Notes], what: str) -> None:
    for notes in all_notes:
        notes.looks.add(what)


def _watch(value: Any, notes: tuple[Notes, ...]) -> Any:
    if isinstance(value, str):
        return watched(value, *notes)
    if isinstance(value, list | tuple):
        return type(value)(_watch(each, notes) for each in value)
    return value


def _search(name: str) -> Any:
    def method(self: Watched, *given: Any, **named: Any) -> Any:
        if given and given[0] is not None:
            self._search(given[0])
        else:
            _note_look(self.notes, f"{name} without a text")
        return _watch(getattr(str, name)(self, *given, **named), self.notes)

    return method


def _trim(name: str) -> Any:
    def method(self: Watched, *given: Any) -> Any:
        for notes in self.notes:
            notes.trimmed.update(*given if given and given[0] is not None else ())
        return _watch(getattr(str, name)(self, *given), self.notes)

    return method


def _look(name: str) -> Any:
    def method(self: Watched, *given: Any, **named: Any) -> Any:
        _note_look(self.notes, name)
        return getattr(str, name)(self, *given, **named)

    return method


for _make, _names in ((_search, SEARCHES), (_trim, TRIMS), (_look, LOOKS)):
    for _name in _names:
        if hasattr(str, _name):
            setattr(Watched, _name, _make(_name))
