"""What has to be read again after a run that read everything: what may have changed, and a rolling share of the rest.

A run that reads everything leaves a *mark* for each side whose changes are declared: the greatest value of a column
that grows with each change. The next run reads the keys of rows at or above the mark, less an overlap for transactions
that were open then and committed late. What no mark announces (a delete, a write that forgets the column) is found by
the rolling share: segments are verified anew in turn, each within the time that the projection sets.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.kinds import meeting
from trueup.core.partition import Slice
from trueup.core.plan import Range, Segment, covered_by, partition_of
from trueup.core.projection import ChangeMark, Changes, Side
from trueup.core.row import Key, Kind, Value, present
from trueup.errors import ConfigError

#: Keys that are looked at one by one at most; beyond it everything is read.
CHANGED_MAX = 200_000
#: By so much the clocks of the zone that is furthest ahead differ from UTC.
ZONE_AHEAD = timedelta(hours=14)
#: Kinds of a column that can grow with each change.
_GROWING = frozenset({Kind.INTEGER, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT})


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """A segment of a run that read everything, and when it was last compared."""

    span: Segment
    looked_at: datetime


def due(verified: Sequence[Verified], now: datetime, within_s: float) -> list[Segment]:
    """Segments whose turn it is, the longest unread first: as few as leave the ages of the rest spread evenly.

    Of n segments, the oldest first, number i may be unread for (n - i) / n of `within_s` seconds, counted from 0. So
    after a run none is unread for longer than that, a run has to read all of them only if they are overdue, and one
    that follows at once has nothing to read. Nothing but moments decides, so any gap between runs is recovered from.
    """
    longest_first = [segment.span for segment in sorted(verified, key=lambda segment: segment.looked_at)]
    if within_s <= 0:
        return longest_first
    many = len(verified)
    ages = sorted((now - segment.looked_at for segment in verified), reverse=True)
    turns, needed = many, 0
    for at in reversed(range(many)):
        # So many before this one have to be read for it to be as young as its place then demands.
        needed = max(needed, int(ages[at] * many / timedelta(seconds=within_s)) - many + at + 1)
        if needed > at:
            break
        turns = at
    return longest_first[:turns]


def longest_unread(verified: Sequence[Verified], many: int | None) -> list[Segment]:
    """The parts that nobody has read for longest, the oldest first; `many` of them, or all."""
    return [one.span for one in sorted(verified, key=lambda one: one.looked_at)[:many]]


def renew(known: dict[Segment, datetime], read: Mapping[Segment, datetime]) -> None:
    """Note when a later run read parts, be they cut smaller there. A new partition is known from then on."""
    other: dict[Slice | None, list[Segment]] = {}
    for span, at in read.items():
        if span in known:
            known[span] = max(known[span], at)
        else:
            other.setdefault(partition_of(span), []).append(span)
    if not other:
        return
    parts: dict[Slice | None, list[Segment]] = {}
    for span in known:
        parts.setdefault(partition_of(span), []).append(span)
    for part, spans in other.items():
        if part not in parts:
            known.update({span: read[span] for span in spans})
            continue
        pieces = [span for span in read if partition_of(span) == part]
        for span in parts[part]:
            together = () if span in read else covered_by(span, pieces)
            if together:
                known[span] = max(known[span], min(read[pieces[number]] for number in together))


def since(mark: Value, overlap_s: float | None) -> Value:
    """Where reading begins again; None: at the beginning. For a column of integers the overlap counts in its own units.

    A moment so early that there is none before it has no rows before it either.
    """
    try:
        if isinstance(mark, datetime):
            return mark - timedelta(seconds=Changes.OVERLAP_S if overlap_s is None else overlap_s)
        if isinstance(mark, date):
            return mark - timedelta(days=1 if overlap_s is None else -(-overlap_s // 86400))
    except OverflowError:
        return None
    return mark - math.ceil(Changes.OVERLAP_COUNT if overlap_s is None else overlap_s)


def marked_side(binding: Binding, role: str, mark: ChangeMark) -> Side:
    """Where the changes of one side are read: its own rows, or another table that names the keys."""
    own = binding.source.side if role == "source" else binding.target.side
    if mark.table is None:
        return own
    return Side(database=own.database, table=mark.table, columns=mark.columns)


def bind_marks(binding: Binding, role: str, mark: ChangeMark, shape: Shape) -> tuple[Binding, BoundSide]:
    """A side read by its mark: the mark is the key that orders it, and the projection's key is what is read.

    Raises ConfigError.
    """
    side = marked_side(binding, role, mark)
    place = f"projections.{binding.projection.name}.changes.{role}"
    what = f"table {side.table!r}" if side.table else "query"
    found = []
    for name in (mark.column, *map(side.physical, binding.projection.key)):
        if name not in shape.columns:
            raise ConfigError(f"{place}: the {what} has no column {name!r}; {near(name, shape.columns)}")
        found.append(shape.columns[name])
    growing, *key = found
    if growing.kind not in _GROWING:
        raise ConfigError(
            f"{place}.column: {mark.column!r} ({growing.type_name or growing.kind}) cannot grow with each change in an "
            f"order that is known; it has to be an integer, a date or a timestamp"
        )
    if mark.table is not None:  # the side's own key was settled when it was bound
        _settle_keys(binding, key, f"{place}.columns", mark.table)
    looked_up = len(key) if mark.table is None else 0  # in another table they may be spelt as they like
    bound = BoundSide(side=side, shape=shape, key=(growing,), values=tuple(key), unique=False, looked_up=looked_up)
    names = binding.projection.key
    return replace(binding, columns=names, key_kinds=(growing.kind,), value_kinds=binding.key_kinds), bound


def _settle_keys(binding: Binding, key: Sequence[Column], place: str, table: str) -> None:
    """Raise ConfigError for a key column that is not exactly read as the projection's key: it would name no row."""
    for name, kind, column in zip(binding.projection.key, binding.key_kinds, key, strict=True):
        if kind is not Kind.ANY and meeting(column.kind, kind) is not kind:
            raise ConfigError(
                f"{place}: column {column.name!r} of table {table!r} ({column.type_name or column.kind}) cannot name "
                f"rows by the key {name!r} ({kind}): its values would find none. Declare a view that casts it to the "
                f"key's type, or change the column"
            )


def not_of_kind(kind: Kind, value: Value) -> bool:
    """Is this, in its canonical spelling, none of the values of a kind that has a type of its own? NULL is of all."""
    match kind:
        case Kind.INTEGER:
            fits = isinstance(value, int)
        case Kind.DATE:
            fits = isinstance(value, date) and not isinstance(value, datetime)
        case Kind.TIMESTAMP | Kind.INSTANT:
            fits = isinstance(value, datetime)
        case Kind.UUID:
            fits = isinstance(value, UUID)
        case _:
            fits = True
    return value is not None and not fits


def names_rows(kinds: Sequence[Kind], key: Key) -> bool:
    """Can rows have this key, which was read before? Other columns may be declared by now, or have other types."""
    return len(key) == len(kinds) and not any(map(not_of_kind, kinds, key))


def other_keys(kinds: Sequence[Kind], keys: Iterable[Key]) -> str:
    """Why what is known of these keys is of no use: no row can have one of them by now; empty if it can be of use."""
    other = next((key for key in keys if not names_rows(kinds, key)), None)
    return "" if other is None else f"keys are of another type than {present(other)}, which was read before"


def ends_of(spans: Iterable[Segment]) -> Iterator[Key]:
    """The keys between which segments lie."""
    for span in spans:
        if isinstance(span, Range):
            yield from (end for end in (span.lower, span.upper) if end is not None)


def gone_back(before: Mapping[str, Value], now: Mapping[str, Value]) -> str:
    """Why the marks cannot be trusted: a side is empty now, or ends before where it ended; empty if they can."""
    for role, mark in before.items():
        found = now.get(role)
        try:
            if mark is not None and (found is None or found < mark):
                return f"the {role}'s mark went back from {mark} to {found}"
        except TypeError:  # the column has another type than it had
            return f"the {role}'s mark was {mark} and is {found}, which have no order"
    return ""


def believed(mark: Value, now: datetime) -> Value:
    """A mark up to the present moment, which is read from at the next time.

    A row that a wrong clock has dated ahead would hide until then whatever is changed by a right one. It is read each
    time instead. Where no zone is known the present is that of the zone that is furthest ahead.
    """
    if isinstance(mark, datetime) and mark.tzinfo:
        return min(mark, now)
    furthest = now.astimezone(UTC).replace(tzinfo=None) + ZONE_AHEAD
    if isinstance(mark, datetime):
        return min(mark, furthest)
    return min(mark, furthest.date()) if isinstance(mark, date) else mark
