"""Reading a growing number in order, though transactions commit out of order: 7 may be there before 6 is.

A number that is passed over is waited for, for as long as a transaction may be open; then it belongs to one that was
rolled back. What is given up early is said, and never in silence.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

#: Most spans of passed-over numbers that are waited for at a time.
GAPS_MAX = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """Numbers that were passed over, both ends included."""

    low: int
    high: int
    #: When that was noticed, seconds of a clock that never goes back.
    since: float


@dataclass(kw_only=True, slots=True)
class Reading:
    """How far somebody has read."""

    #: Everything up to here was seen, or is waited for.
    top: int
    #: What is waited for, ascending.
    gaps: list[Gap] = field(default_factory=list)

    @property
    def settled(self) -> int:
        """Everything up to here was seen or given up: where a reader that knows nothing else has to begin."""
        return self.gaps[0].low - 1 if self.gaps else self.top

    def came(self, numbers: Iterable[int], now: float) -> None:
        """These were seen, in any order."""
        for number in sorted(numbers):
            if number > self.top:
                if number > self.top + 1:
                    self.gaps.append(Gap(low=self.top + 1, high=number - 1, since=now))
                self.top = number
            else:
                self._fill(number)

    def _fill(self, number: int) -> None:
        for at, gap in enumerate(self.gaps):
            if gap.low <= number <= gap.high:
                parts = ((gap.low, number - 1), (number + 1, gap.high))
                self.gaps[at : at + 1] = [Gap(low=a, high=b, since=gap.since) for a, b in parts if a <= b]
                return

    def give_up(self, now: float, late_s: float) -> bool:
        """Stop waiting for what is overdue. True if there were too many to wait for, and some were given up early."""
        self.gaps = [gap for gap in self.gaps if now - gap.since < late_s]
        early = len(self.gaps) > GAPS_MAX
        self.gaps = self.gaps[-GAPS_MAX:]
        return early
