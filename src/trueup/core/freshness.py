"""How old a projection's data are at their oldest: since when no run has verified some part of it completely.

A part is what a run compares at a time: a partition, a key range, or all rows. What a run takes as unchanged counts
from when it was last really read. Where buckets of time have periods by age, the part that has used most of its period
counts, and not the one that was read longest ago.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from trueup.core.again import Verified, due
from trueup.core.cut import Partition, Period, period_of
from trueup.core.partition import Between
from trueup.core.plan import Segment, describe, partition_of

#: In continuous mode a part is not read again before so much of the objective is over: what is small does not spin.
READ_AGAIN = 0.1
#: A bucket's turn comes when so much of its period is over: a run that comes once in a period then reads it each time.
DUE = 0.9
#: A bucket is late after so many periods: it has missed one.
LATE = 2.0
#: The objective of continuous mode where none is declared, seconds.
FRESH_S = 86400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Freshness:
    """How it stands with one projection."""

    #: The objective, seconds; None: none is declared.
    fresh: float | None = None
    #: How often that part is to be read by its age, seconds; None: nothing is declared by age.
    every: float | None = None
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
        """Age as a multiple of the period or objective; 1 of what was never verified: it is neither early nor late."""
        age = self.age_s(now)
        return 1.0 if age is None else age / (self.every or self.fresh or FRESH_S)

    def due(self, now: datetime) -> bool:
        """Is there something for continuous mode to read?"""
        return self.ratio(now) >= (DUE if self.every else READ_AGAIN)


def freshness(
    verified: Sequence[Verified],
    *,
    listed: datetime | None,
    partition: Partition,
    fresh: float | None,
    now: datetime,
) -> Freshness:
    """`verified`: all known parts, empty if no run was complete; `listed`: when it was last looked which there are."""
    parts = looked_at(verified, partition, now)
    if partition.verify:
        return _by_age(parts, listed, partition, now)
    if not parts:
        return Freshness(fresh=fresh, since=listed)
    oldest = min(parts, key=lambda one: one.looked_at)
    # A key range holds whatever keys appear in it. A partition that appears is known only once somebody looks.
    cut = partition_of(oldest.span) is not None
    if cut and listed is not None and listed < oldest.looked_at:
        return Freshness(fresh=fresh, since=listed, parts=len(parts))
    return Freshness(fresh=fresh, since=oldest.looked_at, oldest=describe(oldest.span), parts=len(parts))


def _by_age(parts: Sequence[Verified], listed: datetime | None, partition: Partition, now: datetime) -> Freshness:
    """A bucket that nobody knows of is a young one, and was there since it was last looked which there are."""
    youngest = partition.verify[0]
    found = [Freshness(every=youngest.every, since=listed, parts=len(parts))]
    for period, one in _periods(parts, partition, now):
        found.append(
            Freshness(every=period.every, since=one.looked_at, oldest=describe(one.span), parts=len(parts)),
        )
    worst = max(found, key=lambda one: one.ratio(now) if one.since else 0.0)
    assert worst.every is not None
    return Freshness(
        fresh=LATE * worst.every, every=worst.every, since=worst.since, oldest=worst.oldest, parts=len(parts)
    )


def due_by_age(verified: Sequence[Verified], partition: Partition, now: datetime) -> list[Segment]:
    """Buckets whose turn it is by their age, those that have used most of their period first.

    After a run that reads them none has been unread for as long as its period; buckets of one period take turns, and
    are not read all at once.
    """
    classes: dict[Period, list[Verified]] = {}
    used: dict[Segment, float] = {}
    for period, one in _periods(looked_at(verified, partition, now), partition, now):
        classes.setdefault(period, []).append(one)
        used[one.span] = (now - one.looked_at).total_seconds() / period.every
    found = [span for period, some in classes.items() for span in due(some, now, period.every * DUE)]
    return sorted(found, key=lambda span: -used[span])


def _periods(parts: Sequence[Verified], partition: Partition, now: datetime) -> list[tuple[Period, Verified]]:
    """Each with the period that holds for it; what is in no bucket is taken for young."""
    at = reached(parts, partition, now)
    return [(period_of(partition.verify, _age_s(partition, one.span, at)), one) for one in parts]


def most_overdue(standing: Mapping[str, Freshness], now: datetime) -> list[str]:
    """Projections that have something to be read in turn, by how near to their objective or beyond it they are."""
    ratios = {name: fresh.ratio(now) for name, fresh in standing.items() if fresh.due(now)}
    return sorted(ratios, key=lambda name: (-ratios[name], name))


def looked_at(verified: Sequence[Verified], partition: Partition, now: datetime) -> list[Verified]:
    """Those that are still looked at: buckets of time leave the `window` that is declared."""
    if partition.window is None:
        return list(verified)
    at = reached(verified, partition, now)
    return [one for one in verified if _age_s(partition, one.span, at) < partition.window]


def reached(verified: Sequence[Verified], partition: Partition, now: datetime) -> datetime:
    """What time it is by the declared watermark; by the source's own it is when its latest closed bucket closed."""
    parts = [partition_of(one.span) for one in verified] if partition.watermark == "source" else []
    ends = [_moment(part.upper, partition.zone) for part in parts if isinstance(part, Between)]
    return min(max(ends) + timedelta(seconds=partition.lateness), now) if ends else now


def _age_s(partition: Partition, span: Segment, now: datetime) -> float:
    """How long ago a bucket ended, seconds; 0 of what is in none."""
    part = partition_of(span)
    return (now - _moment(part.upper, partition.zone)).total_seconds() if isinstance(part, Between) else 0.0


def _moment(border: date, zone: str) -> datetime:
    """A border of a bucket as an instant: the column may hold dates, wall times or instants."""
    at = border if isinstance(border, datetime) else datetime(border.year, border.month, border.day)  # noqa: DTZ001
    return at if at.tzinfo else at.replace(tzinfo=ZoneInfo(zone))
