"""What a program may bring along itself: constraints and drafters of its own.

Any object with these methods will do; deriving from the class says so to mypy.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, Self, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ._native import TokenMask


@runtime_checkable
class Constraint(Protocol):
    """What a text has to be, and how far it has come; docs/CONSTRAINTS.md is the page.

    The library forks what it is given for every text, so that the one that was given stays as it
    is. An object is used by one thread at a time; what its methods raise ends the call that was
    made, and comes out of it.

    Source: include/kvcache/constraint.hpp.
    """

    vocab_size: int
    """Of the masks: the model's."""

    @abstractmethod
    def allow_next(self, mask: TokenMask) -> None:
        """Adds the tokens that may follow to `mask`, which is of vocab_size and empty.

        Each must lead somewhere: to an end, or to a state that allows another token. Stop tokens
        are not among them unless the constraint means them; they are added where it may end.
        """

    @abstractmethod
    def may_end(self) -> bool:
        """Whether the text may end here."""

    @abstractmethod
    def accept(self, token: int) -> bool:
        """Takes the token that follows; False, and nothing changes, where it is not allowed."""

    @abstractmethod
    def rollback(self, tokens: int) -> None:
        """Takes back the last so many accepted tokens."""

    @abstractmethod
    def fork(self) -> Self:
        """Another one in the same state, which then goes its own way."""


@runtime_checkable
class Drafter(Protocol):
    """Guesses how a text goes on; docs/SPECULATION.md is the page.

    Whatever it guesses, the text stays the same: it only comes sooner.

    Source: include/kvcache/speculation.hpp.
    """

    @abstractmethod
    def draft(self, text: npt.NDArray[np.int64], most: int) -> tuple[Sequence[int], Sequence[int]]:
        """Continuations of a text as tokens and parents of a tree of at most `most` nodes.

        Likelier ones are deeper; parents of −1 follow the text's last token. No node where there
        is nothing to guess from.
        """
