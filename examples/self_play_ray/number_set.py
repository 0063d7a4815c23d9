"""A set of game numbers, kept as few ranges: a billion games of a long order are one of them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class NumberSet:
    """Whole numbers, of which neighbours share a range."""

    def __init__(self) -> None:
        """Begin empty."""
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        """How many numbers are in it."""
        return self._count

    def __contains__(self, number: int) -> bool:
        """Whether a number is in it."""
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number < self._stops[at]

    def add(self, number: int) -> bool:
        """Put a number in; False where it is there already."""
        if number in self:
            return False
        at = bisect_right(self._starts, number)
        joins_before = at > 0 and self._stops[at - 1] == number
        joins_after = at < len(self._starts) and self._starts[at] == number + 1
        if joins_before and joins_after:
            self._stops[at - 1] = self._stops.pop(at)
            del self._starts[at]
        elif joins_before:
            self._stops[at - 1] = number + 1
        elif joins_after:
            self._starts[at] = number
        else:
            self._starts.insert(at, number)
            self._stops.insert(at, number + 1)
        self._count += 1
        return True

    def missing(self, stop: int) -> Iterator[range]:
        """The ranges of 0 to `stop` - 1 that are not in it."""
        begin = 0
        for start, end in zip(self._starts, self._stops, strict=True):
            if start >= stop:
                break
            if begin < start:
                yield range(begin, start)
            begin = end
        if begin < stop:
            yield range(begin, stop)
