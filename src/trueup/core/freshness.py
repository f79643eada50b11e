"""How old a projection's data are at their oldest: since when no run has verified some part of it completely.

A part is what a run compares at a time: a partition, a key range, or all rows. What a run takes as unchanged counts
from when it was last really read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from trueup.core.again import Verified
from trueup.core.partition import Between
from trueup.core.plan import Segment, describe, partition_of
from trueup.core.projection import Partition

#: In continuous mode a part is not read again before so much of the objective is over: what is small does not spin.
READ_AGAIN = 0.1
#: The objective of continuous mode where none is declared, seconds.
FRESH_S = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """How it stands with one projection."""

    #: The objective, seconds; None: none is declared.
    fresh: float | None = None
    #: Since when the oldest part has not been verified; None: there was no complete run yet.
    since: datetime | None = None
    #: Which part that is, in words; empty: which parts there are has not been looked up since.
    oldest: str = ""
    #: Parts that are verified one by one.
    parts: int = 0

    def age_s(self, now: datetime) -> float | None:
        """Age of the oldest data that is not reconciled, seconds; None: it never was."""
        return None if self.since is None else max((now - self.since).total_seconds(), 0.0)

    def late_s(self, now: datetime) -> float | None:
        """By how much the objective is missed, seconds; None: none is declared, or it was never verified."""
        age = self.age_s(now)
        return None if age is None or self.fresh is None else max(age - self.fresh, 0.0)

    def ratio(self, now: datetime) -> float:
        """Age as a multiple of the objective; 1 of what was never verified: it is neither early nor late."""
        age = self.age_s(now)
        return 1.0 if age is None else age / (self.fresh or FRESH_S)


def freshness(
    verified: Sequence[Verified],
    *,
    listed: datetime | None,
    partition: Partition,
    fresh: float | None,
    now: datetime,
) -> Freshness:
    """`verified`: all known parts, empty if no run was complete; `listed`: when it was last looked which there are."""
    parts = [one for one in verified if within(partition, one.span, now)]
    if not parts:
        return Freshness(fresh=fresh, since=listed)
    oldest = min(parts, key=lambda one: one.looked_at)
    # A key range holds whatever keys appear in it. A partition that appears is known only once somebody looks.
    cut = partition_of(oldest.span) is not None
    if cut and listed is not None and listed < oldest.looked_at:
        return Freshness(fresh=fresh, since=listed, parts=len(parts))
    return Freshness(fresh=fresh, since=oldest.looked_at, oldest=describe(oldest.span), parts=len(parts))


def most_overdue(standing: Mapping[str, Freshness], now: datetime) -> list[str]:
    """Projections that have something to be read in turn, by how near to their objective or beyond it they are."""
    ratios = {name: fresh.ratio(now) for name, fresh in standing.items()}
    return sorted((name for name in ratios if ratios[name] >= READ_AGAIN), key=lambda name: (-ratios[name], name))


def within(declared: Partition, span: Segment, now: datetime) -> bool:
    """Is it one that is still looked at? Buckets of time leave the `window` that is declared."""
    part = partition_of(span)
    if declared.window is None or not isinstance(part, Between):
        return True
    return _moment(part.upper, declared.zone) > now - timedelta(seconds=declared.window)


def _moment(border: date, zone: str) -> datetime:
    """A border of a bucket as an instant: the column may hold dates, wall times or instants."""
    at = border if isinstance(border, datetime) else datetime(border.year, border.month, border.day)  # noqa: DTZ001
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))
