"""Who plays which games: each is lent to a worker, and lent again when that one is lost.

Nothing here makes a game arrive once; the store does, by its number. Leases see to it that each
arrives at all, and seldom is played twice.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from self_play_ray.errors import LostTooOftenError


@dataclass(frozen=True)
class Lease:
    """Games `first` to `first` + `count` - 1, lent out under a number that is never used again."""

    number: int
    first: int
    count: int
    losses: int = 0  # how often these games were lost with a worker

    @property
    def games(self) -> range:
        """The numbers of its games."""
        return range(self.first, self.first + self.count)


class Leases:
    """Lends out games until all of them have come back."""

    def __init__(
        self,
        missing: Iterable[range],
        size: int,
        *,
        seconds: float = float("inf"),
        most_losses: int = 5,
    ) -> None:
        """Begin with nothing lent.

        Args:
            missing: the games to be played, without overlaps.
            size: games of a lease.
            seconds: after which a lease is lent to another worker too: its own may hang.
            most_losses: of the same games, before they are held for the cause.
        """
        self._ranges = deque((range_.start, range_.stop) for range_ in missing if len(range_))
        self._again: deque[Lease] = deque()
        self._lent: dict[int, tuple[Lease, Hashable, float]] = {}
        self._size, self._seconds, self._most_losses = size, seconds, most_losses
        self._next = 0

    def grant(self, worker: Hashable, now: float) -> Lease | None:
        """Lend games to a worker; None where none are left to lend at the moment."""
        self._take_back_late(now)
        if self._again:
            lost = self._again.popleft()
            lease = Lease(self._number(), lost.first, lost.count, lost.losses)
        elif self._ranges:
            first, stop = self._ranges.popleft()
            end = min(first + self._size, stop)
            if end < stop:
                self._ranges.appendleft((end, stop))
            lease = Lease(self._number(), first, end - first)
        else:
            return None
        self._lent[lease.number] = (lease, worker, now)
        return lease

    def finished(self, lease: Lease) -> None:
        """The games of a lease have come, perhaps after it was lent to another worker too."""
        self._lent.pop(lease.number, None)
        # A later lease of the same games goes on where it is lent already: the store drops those.
        self._again = deque(other for other in self._again if other.first != lease.first)

    def lost(self, worker: Hashable, why: str) -> list[Lease]:
        """A worker is gone; what it had is to be lent again, first of all.

        Raises:
            LostTooOftenError: the same games were lost again and again.
        """
        gone = [lease for lease, owner, _ in self._lent.values() if owner == worker]
        for lease in gone:
            self._return(lease, why)
        return gone

    def failed(self, lease: Lease, why: str) -> None:
        """A worker could not play a lease, but lives.

        Raises:
            LostTooOftenError: the same games failed again and again.
        """
        if lease.number in self._lent:
            self._return(lease, why)

    def _return(self, lease: Lease, why: str) -> None:
        del self._lent[lease.number]
        losses = lease.losses + 1
        if losses >= self._most_losses:
            last = lease.first + lease.count - 1
            raise LostTooOftenError(
                f"games {lease.first} to {last} were lost {losses} times, the last time: {why};"
                " what is stored stays, and the same command tries them again"
            )
        self._again.append(Lease(lease.number, lease.first, lease.count, losses))

    def _take_back_late(self, now: float) -> None:
        late = [lease for lease, _, since in self._lent.values() if now - since > self._seconds]
        for lease in late:
            del self._lent[lease.number]
            self._again.append(lease)

    def _number(self) -> int:
        self._next += 1
        return self._next
