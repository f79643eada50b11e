"""How much Trueup slows the others: the paired estimate.

A probe reads something small from the database again and again (the canary). Each reading is tagged: was a statement of
ours in flight? The two kinds are compared where it hurts, in their tails. Readings with ours in flight are taken more
often than their share of the time, and weighed by it; so the estimate says what those who use the database feel, and
what they would feel at another share. Nothing of ours is in flight in the other kind, so it cannot be inflated by us.

A reading is as many round trips as a transaction of others makes, one right after the other. A single one is seldom
hit, and who has slept before it gets a core soon: what a transaction feels would not be in the tail of such readings.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt

#: Readings older than this say nothing of the present, seconds.
MEMORY_S = 120.0
#: The part of what others do that is called the tail: beyond the 95th percentile.
TAIL = 0.05
#: The tail of those of whom only the mean is known, as a multiple of it: that of an exponential distribution.
TAIL_OF_MEAN = 3.0
_LEAST_MS = 1e-6
#: Readings of a kind that are kept.
READINGS_MAX = 4000
#: Least readings of a kind for an estimate, and for a first one, on which only little may be built.
SURE, FIRST = 60, 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Impact:
    """What is known of our effect."""

    #: Share by which the tail is slowed at the present load; None: not known.
    slowed: float | None = None
    #: Share of the time that a statement of ours could be in flight within the budget, 0 to 1; None: not known.
    share: float | None = None
    #: The same, if more of our readings are slow than were seen, as chance may have it: what may be built upon.
    surely: float | None = None
    #: `share`, and one standard deviation more: a load beyond that is surely too much.
    possibly: float | None = None
    #: Readings behind it, of both kinds.
    on: int = 0
    off: int = 0
    #: Tail without us, milliseconds.
    base_ms: float | None = None

    @property
    def sure(self) -> bool:
        """Are there enough readings to act upon?"""
        return min(self.on, self.off) >= SURE

    def of_nobody(self) -> Impact:
        """The same readings, where there is nobody to be slowed."""
        return self if self.share is None else replace(self, slowed=0.0, share=1.0, surely=1.0, possibly=1.0)

    def at_least(self, slowed: float) -> Impact:
        """The same, where it is known from elsewhere that others are slowed by so much."""
        return replace(self, slowed=max(self.slowed or 0.0, slowed))


class Readings:
    """The latest of one kind, in the order of time and in that of how long they took: made seldom, looked at often."""

    def __init__(self) -> None:
        self._made: deque[tuple[float, float]] = deque()
        #: Milliseconds, the least first.
        self.ordered: list[float] = []

    def __len__(self) -> int:
        return len(self._made)

    def add(self, at: float, ms: float) -> None:
        """`at`: no earlier than those before. Where a clock went back, nothing is known of when they were made."""
        if self._made and at < self._made[-1][0]:
            self.forget()
        if len(self._made) == READINGS_MAX:
            self._forget_first()
        self._made.append((at, ms))
        insort(self.ordered, ms)

    def since(self, at: float) -> int:
        """How many were made since a moment."""
        return len(self._made) - bisect_left(self._made, (at,))

    def forget(self, before: float = inf) -> None:
        """Those that were made before a moment, or all."""
        while self._made and self._made[0][0] < before:
            self._forget_first()

    def _forget_first(self) -> None:
        _, ms = self._made.popleft()
        del self.ordered[bisect_left(self.ordered, ms)]


class Tails:
    """The latest readings of both kinds."""

    def __init__(self) -> None:
        self._on, self._off = Readings(), Readings()

    def add(self, at: float, ms: float, *, own: bool) -> None:
        """A reading that took `ms` milliseconds; `own`: a statement of ours was in flight meanwhile."""
        (self._on if own else self._off).add(at, ms)

    def forget(self) -> None:
        """What was read is of another time."""
        self._on.forget()
        self._off.forget()

    def forget_own(self) -> None:
        """What was read with us in flight is of another concurrency."""
        self._on.forget()

    def count(self, since: float) -> tuple[int, int]:
        """Readings of both kinds since a moment."""
        return self._on.since(since), self._off.since(since)

    def impact(
        self, now: float, *, busy: float, budget: float, mean_ms: float | None = None, spread: float = 1.0
    ) -> Impact:
        """The estimate. `busy`: share of the time that ours is in flight; `budget`: by how much the tail may be slowed;
        `mean_ms`: mean time of a transaction of others without us, where that is known. Where they take longer than a
        reading, a delay is judged by what it is to them. `spread`: on how many a delay falls, of those who stand in a
        queue that the canary does not stand in.
        """
        for readings in (self._on, self._off):
            readings.forget(now - MEMORY_S)
        on, off = self._on.ordered, self._off.ordered
        if len(on) < FIRST or len(off) < FIRST:
            return Impact(on=len(on), off=len(off))
        base = _quantile(off)
        scale = max(base, TAIL_OF_MEAN * (mean_ms or 0.0), _LEAST_MS)
        limit = base + budget * scale
        ours, others = _beyond(on, limit), _beyond(off, limit)
        share = _share(ours, others, spread)
        return Impact(
            slowed=(_of_mixture(on, off, busy * spread) - base) / scale,
            share=share,
            surely=_share(_at_most_beyond(on, limit), others, spread),
            possibly=min(share + _deviation(share, ours, others, spread, len(on), len(off)), 1.0),
            on=len(on),
            off=len(off),
            base_ms=base,
        )


def _beyond(ordered: Sequence[float], limit: float) -> float:
    """Share of the readings that took longer than `limit`."""
    return 1 - bisect_right(ordered, limit) / len(ordered)


def _at_most_beyond(ordered: Sequence[float], limit: float) -> float:
    """The same, and one more and a standard deviation of their number (Poisson) besides."""
    more = len(ordered) - bisect_right(ordered, limit) + 1
    return min((more + sqrt(more)) / len(ordered), 1.0)


def _quantile(ordered: Sequence[float]) -> float:
    return ordered[min(int(len(ordered) * (1 - TAIL)), len(ordered) - 1)]


def _share(ours: float, others: float, spread: float) -> float:
    """For which share of the time may ours be in flight, so that no more than the tail takes too long? `ours`,
    `others`: shares of the readings that do, with ours in flight and without.
    """
    more = (ours - others) * spread
    if others + more <= TAIL:
        return 1.0
    return min(max((TAIL - others) / more, 0.0), 1.0)


def _deviation(share: float, ours: float, others: float, spread: float, on: int, off: int) -> float:
    """Standard deviation of a `_share`, to the first order: `ours` and `others` are shares of so many readings."""
    if ours <= others:
        return 1.0
    of_others = (1 / spread - share) ** 2 * others * (1 - others) / off
    of_ours = share**2 * ours * (1 - ours) / on
    return sqrt(of_others + of_ours) / (ours - others)


def _of_mixture(on: Sequence[float], off: Sequence[float], hit: float) -> float:
    """The tail of all readings, if those with ours in flight were `hit` of them, or all."""
    busy = min(hit, 1.0)
    low, high = 0, len(on) + len(off) - 1
    every = sorted([*on, *off])
    while low < high:
        middle = (low + high) // 2
        if busy * _beyond(on, every[middle]) + (1 - busy) * _beyond(off, every[middle]) <= TAIL:
            high = middle
        else:
            low = middle + 1
    return every[low]
