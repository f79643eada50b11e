"""Partitions: the declared cut of a projection's rows, by a column's value or by time.

Buckets of time are half-open and follow each other without a gap, so every row with a time is in exactly one; rows
without one are a partition of their own. What a bucket's borders are depends on the column:

* an instant (`timestamptz`): borders are instants. A calendar day has 23 or 25 hours in the nights in which clocks
  change, and the hour that comes twice is two buckets;
* a wall time (`timestamp`): borders are wall times, and the hour that comes twice is one bucket;
* a date: borders are dates.

Nothing here reads a clock: the present moment comes as an argument.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from trueup.core.cut import Partition
from trueup.core.kinds import Kind
from trueup.core.projection import Projection
from trueup.core.row import Value, canonical, decode, encode, parse_value, present

#: Most partitions of one run: each costs a statement on both sides.
PARTITIONS_MAX = 10_000
#: Kinds that buckets of time can be cut in.
CUT_TIMES = frozenset({Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT})
#: How rows without a value are called.
NULL = "NULL"
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Holding:
    """Rows whose partition column has this value."""

    #: Canonical; None: it is NULL.
    value: Value

    @property
    def label(self) -> str:
        """As a person types it: a text that is empty or `NULL`, or begins with a quote, between quotes."""
        if self.value is None:
            return NULL
        told = str(self.value).lower() if isinstance(self.value, bool) else str(present(self.value))
        quoted = isinstance(self.value, str) and (told in ("", NULL) or told.startswith("'"))
        return f"'{told}'" if quoted else told

    @property
    def shown(self) -> Value:
        """As reports show it."""
        return present(self.value)


@dataclass(frozen=True, kw_only=True, slots=True)
class Between:
    """Rows whose partition column is in a bucket of time: `lower` <= column < `upper`."""

    lower: Value
    upper: Value
    #: As a person types it: `2013-11-03`, `2013-11`, `2013-11-03T01:00`.
    label: str

    @property
    def shown(self) -> Value:
        return self.label


#: The rows of one partition.
Slice = Holding | Between


@dataclass(frozen=True, kw_only=True, slots=True)
class Open:
    """A bucket that is not compared yet."""

    label: str
    #: When it can be.
    closes: datetime


def slice_to_json(part: Slice | None) -> dict[str, Any] | None:
    match part:
        case Holding():
            return {"is": encode(part.value)}
        case Between():
            return {"from": encode(part.lower), "to": encode(part.upper), "label": part.label}
    return None


def slice_from_json(data: dict[str, Any] | None) -> Slice | None:
    if data is None:
        return None
    if "is" in data:
        return Holding(value=decode(data["is"]))
    return Between(lower=decode(data["from"]), upper=decode(data["to"]), label=data["label"])


def slices_from_json(data: Sequence[dict[str, Any]]) -> tuple[Slice, ...]:
    return tuple(part for part in map(slice_from_json, data) if part is not None)


def kinds_as_cut(
    projection: Projection, names: Sequence[str], kinds: Sequence[Kind], cut: Kind | None
) -> tuple[Kind, ...]:
    """Kinds of columns; that of the partition column, where no database has a type for it, is what it is cut by."""
    spelt = (projection.partition.column, Kind.ANY)
    pairs = zip(names, kinds, strict=True)
    return tuple(cut if cut is not None and pair == spelt else pair[1] for pair in pairs)


def holding(kind: Kind, given: Value) -> tuple[Holding, ...]:
    """The partition of a value as a person types it, or as Python has it; ValueError if no row can hold it.

    Where no column says what kind it is, digits are looked for as they are typed and as a number. A text may stand
    between quotes, as labels have those that would mean something else without.
    """
    if given is None or given == NULL:
        return (Holding(value=None),)
    as_it_is = kind is Kind.ANY and not isinstance(given, str)
    if as_it_is or (isinstance(given, bool) and kind in (Kind.BOOLEAN, Kind.INTEGER)):
        return (Holding(value=canonical(kind, [given])[0]),)
    quoted = isinstance(given, str) and len(given) > 1 and given[0] == given[-1] == "'"
    text = str(given)[1:-1] if quoted else given if isinstance(given, str) else str(present(given))
    meant = text if quoted and kind is Kind.ANY else parse_value(kind, text)
    values = dict.fromkeys((text, meant) if kind is Kind.ANY else (meant,))
    return tuple(Holding(value=value) for value in values)


def typed_alike(one: Slice, other: Slice) -> bool:
    """Can the same digits, as a person types them, mean either of the two?"""
    if not (isinstance(one, Holding) and isinstance(other, Holding)):
        return False
    text, number = (one.value, other.value) if isinstance(one.value, str) else (other.value, one.value)
    return isinstance(text, str) and type(number) is int and parse_value(Kind.ANY, text) == number


def in_order(values: Sequence[Value]) -> list[Holding]:
    """One partition for each distinct value, in order; values of two types are apart, NULL is the last."""
    distinct = set(values) - {None}
    ordered = sorted(distinct, key=lambda value: (_type_apart(value), value))
    found = [Holding(value=value) for value in ordered]
    return [*found, Holding(value=None)] if None in values else found


def _type_apart(value: Value) -> str:
    """What values have in common that can be put in order; numbers of all types can."""
    return "" if isinstance(value, int | float | Decimal) else type(value).__name__


# --- buckets of time -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Bucket:
    """One bucket: its borders as a column of the kind holds them."""

    lower: Value
    upper: Value
    label: str
    #: The first moment that is no longer in it.
    end: datetime

    @property
    def slice(self) -> Between:
        return Between(lower=self.lower, upper=self.upper, label=self.label)


class Calendar:
    """Cuts the times of one column into buckets."""

    def __init__(self, declared: Partition, kind: Kind) -> None:
        assert declared.bucket is not None
        self.declared = declared
        self.kind = kind
        self.zone = ZoneInfo(declared.zone)
        self.hours = declared.bucket == "1h"

    def bucket_of(self, moment: Value) -> Bucket:
        """The bucket that a column's value is in. `moment`: a date, a wall time or an instant, as the kind is."""
        if self.kind is not Kind.INSTANT:
            return self._wall_bucket(moment)
        local = moment.astimezone(self.zone)
        first = self._first_day(local.date())
        while self._begins(first) > moment:  # clocks that went back over midnight
            first = self._first_day(first - timedelta(days=1))
        while self._begins(self._next_day(first)) <= moment:
            first = self._next_day(first)
        lower, upper = self._begins(first), self._begins(self._next_day(first))
        if not self.hours:
            return Bucket(lower=lower, upper=upper, label=self._day_label(first), end=upper)
        begin = lower
        while (end := min(self._hour_after(begin), upper)) <= moment:
            begin = end
        return Bucket(lower=begin, upper=end, label=self._hour_label(begin), end=end)

    def buckets(self, least: Value, greatest: Value) -> Iterator[Bucket]:
        """All buckets from that of `least` to that of `greatest`, each beginning where the one before ends."""
        bucket = self.bucket_of(least)
        while True:
            yield bucket
            if bucket.upper > greatest:
                return
            bucket = self.bucket_of(bucket.upper)

    def closes(self, bucket: Bucket) -> datetime:
        """From this moment on a bucket is compared."""
        return bucket.end + timedelta(seconds=self.declared.lateness)

    def here(self, now: datetime) -> Value:
        """The present moment as the column would hold it."""
        if self.kind is Kind.INSTANT:
            return now
        local = now.astimezone(self.zone).replace(tzinfo=None, fold=0)
        return local.date() if self.kind is Kind.DATE else local

    def reached(self, latest: Value, now: datetime) -> datetime:
        """How far time has gone by a source whose latest row is this one; None: it has no row, so time is ours.

        Of a wall time that comes twice the earlier one; of a day its beginning, for more of it may come.
        """
        if latest is None:
            return now
        moment: datetime = latest
        if self.kind is not Kind.INSTANT:
            wall = _midnight(latest) if self.kind is Kind.DATE else latest
            moment = min(wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        return min(moment, now)

    def still_open(self, now: datetime) -> list[Open]:
        """Buckets that have begun and are not compared yet."""
        early = now - timedelta(seconds=self.declared.lateness)
        begun = list(self.buckets(self.here(early), self.here(now)))
        return [Open(label=b.label, closes=self.closes(b)) for b in begun if self.closes(b) > now]

    def due(self, least: Value, greatest: Value, now: datetime) -> list[Bucket]:
        """Buckets with times between these two that are closed, and, where there is a window, ended within it.

        More than PARTITIONS_MAX + 1 are not handed out.
        """
        latest = self.here(now)
        found: list[Bucket] = []
        if self.declared.window is not None:
            least = max(least, self.bucket_of(self.here(self._window_begins(now))).lower)
        if least > greatest:
            return found
        for bucket in self.buckets(least, min(greatest, latest)):
            if self.closes(bucket) > now or len(found) > PARTITIONS_MAX:
                break
            if self.declared.window is None or bucket.end > self._window_begins(now):
                found.append(bucket)
        return found

    def _window_begins(self, now: datetime) -> datetime:
        return now - timedelta(seconds=self.declared.window or 0.0)

    def named(self, text: str) -> Bucket:
        """The bucket with this label.

        Raises ValueError, naming the buckets that could be meant.
        """
        example = "2013-11-03T01:00" if self.hours else "2013-11" if self.declared.bucket == "1mo" else "2013-11-03"
        try:
            moment = datetime.fromisoformat(f"{text}-01" if len(text) == 7 else text)
        except ValueError:
            raise ValueError(f"{text!r} is no bucket of time; write it like {example!r}") from None
        if (len(text) == 7 and len(example) > 7) or (len(text) == 10 and self.hours):
            # Its first bucket begins there too, and would be taken for all of it.
            raise ValueError(f"{text!r} is more than one bucket; name each of them, like {example!r}")
        moments: list[Value] = [moment]
        if self.kind is Kind.DATE:
            moments = [moment.date()]
        elif self.kind is Kind.INSTANT and moment.tzinfo is None:
            # A wall time that comes twice may begin two buckets; a day's name stands for its first moment.
            folds = [moment.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
            moments = folds if self.hours else [self._begins(self._first_day(moment.date()))]
        elif self.kind is Kind.TIMESTAMP:
            moments = [moment.replace(tzinfo=None)]
        found = list(dict.fromkeys(self.bucket_of(at) for at in moments))
        if len(found) == 1 and self._means(found[0], text, moment):
            return found[0]
        names = " or ".join(repr(bucket.label) for bucket in found)
        raise ValueError(f"{text!r} is not the name of a bucket; {names} begins there or holds it")

    def _means(self, bucket: Bucket, text: str, moment: datetime) -> bool:
        """Is this the bucket's name, or the moment at which it begins?"""
        if text == bucket.label:
            return True
        if self.kind is Kind.INSTANT:
            begins = bucket.lower if moment.tzinfo else _wall(bucket.lower, self.zone)
        else:
            begins = _midnight(bucket.lower) if self.kind is Kind.DATE else bucket.lower
        return bool(begins == moment)

    # --- borders -----------------------------------------------------------------------------------------------------

    def _wall_bucket(self, wall: Value) -> Bucket:
        """The bucket of a wall time or of a date."""
        if self.hours:
            lower = wall.replace(minute=0, second=0, microsecond=0)
            upper = lower + _HOUR
            return Bucket(lower=lower, upper=upper, label=f"{lower:%Y-%m-%dT%H:%M}", end=self._last(upper))
        dated = self.kind is Kind.DATE
        first = self._first_day(wall if dated else wall.date())
        after = self._next_day(first)
        end = self._last(_midnight(after))
        if dated:
            return Bucket(lower=first, upper=after, label=self._day_label(first), end=end)
        return Bucket(lower=_midnight(first), upper=_midnight(after), label=self._day_label(first), end=end)

    def _first_day(self, day: date) -> date:
        """The day on which the bucket of a day begins; weeks begin on Monday."""
        if self.declared.bucket == "1w":
            return day - timedelta(days=day.weekday())
        return day.replace(day=1) if self.declared.bucket == "1mo" else day

    def _next_day(self, first: date) -> date:
        """The first day of the bucket after the one that begins on `first`."""
        if self.declared.bucket == "1mo":
            return (first + timedelta(days=31)).replace(day=1)
        return first + timedelta(days=7 if self.declared.bucket == "1w" else 1)

    def _begins(self, day: date) -> datetime:
        """The first instant at which clocks of the zone have reached this day."""
        wall = _midnight(day)
        first, second = (wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))
        if first <= second:  # it comes once, or twice: the first of them
            return first
        # Clocks jump over midnight: the jump lies between the two, and it is where the day begins.
        low, high = second, first
        while high - low > timedelta(seconds=1):
            middle = low + timedelta(seconds=(high - low) // timedelta(seconds=2))
            low, high = (low, middle) if _wall(middle, self.zone) >= wall else (middle, high)
        return low if _wall(low, self.zone) >= wall else high

    def _hour_after(self, begin: datetime) -> datetime:
        """The next instant at which clocks show a full hour, an hour later at most."""
        local = _wall(begin, self.zone)
        return begin + _HOUR - timedelta(minutes=local.minute, seconds=local.second)

    def _last(self, wall: datetime) -> datetime:
        """The instant from which on no clock of the zone shows a time before `wall`."""
        return max(wall.replace(tzinfo=self.zone, fold=fold).astimezone(UTC) for fold in (0, 1))

    def _day_label(self, first: date) -> str:
        return f"{first:%Y-%m}" if self.declared.bucket == "1mo" else first.isoformat()

    def _hour_label(self, begin: datetime) -> str:
        """A wall time, with its distance from UTC only where the wall time comes twice."""
        local = begin.astimezone(self.zone)
        twice = local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()
        return local.isoformat(timespec="minutes") if twice else f"{local:%Y-%m-%dT%H:%M}"


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall time


def _wall(instant: datetime, zone: ZoneInfo) -> datetime:
    return instant.astimezone(zone).replace(tzinfo=None)
