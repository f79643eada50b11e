"""Rows cut by a column's value or by time: which partitions there are, and what differs in one of them.

A row can be in one partition of the source and in another of the target: the column says so on both sides. Compared
partition by partition it is missing here and extra there. So what one partition shows on one side only is looked at
again by its key alone, in whatever partition it is, and is then what it is without partitions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import TypeVar

from trueup.adapters import Reader
from trueup.core.binding import Binding, BoundSide
from trueup.core.compare import Counts, DriftKind, Suspect
from trueup.core.partition import (
    NULL,
    PARTITIONS_MAX,
    Calendar,
    Holding,
    Open,
    Slice,
    holding,
    in_order,
    typed_alike,
)
from trueup.core.plan import Everything, NullKeys, Range, Segment
from trueup.core.row import Key, Value, canonical
from trueup.errors import ConfigError, DataProblem, UsageError
from trueup.side_by_side import Covered, Pair, both

#: What there is of these keys, in whatever partition the rows are.
ByKey = Callable[[Sequence[Key]], Iterable[Covered]]

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True, slots=True)
class Cut:
    """The partitions of a run."""

    slices: list[Slice]
    #: Buckets of time that are not compared yet.
    open: list[Open]
    #: Are these all partitions that hold rows? By time there may be rows later than every closed bucket.
    all: bool

    def segments(self, binding: Binding) -> list[Segment]:
        """One for each partition; where rows are read in key order, those with a NULL in the key are apart."""
        if binding.one_database:
            return [Everything(partition=part) for part in self.slices]
        nulls = binding.source.null_keys or binding.target.null_keys
        found: list[Segment] = []
        for part in self.slices:
            found.append(Range(partition=part))
            found += [NullKeys(partition=part)] if nulls else []
        return found

    def words(self, binding: Binding) -> str:
        """Which they are, for the strategy."""
        declared = binding.projection.partition
        how = f"{len(self.slices):,} partitions by {declared.column}"
        if declared.by == "time":
            how = f"{len(self.slices):,} partitions of {declared.bucket} by {declared.column} ({declared.zone})"
        if self.open:
            how += f"; {', '.join(part.label for part in self.open[:3])}"
            how += f"{' and more are' if len(self.open) > 3 else ' is' if len(self.open) == 1 else ' are'} still open"
        return how


def cut(pair: Pair, asked: Sequence[Slice] | None, now: datetime) -> Cut:
    """The partitions that were asked for, or all that there are and that are closed."""
    binding = pair.binding
    declared, kind = binding.projection.partition, binding.cut_kind
    assert kind is not None
    calendar = Calendar(declared, kind) if declared.by == "time" else None
    _on_both(pair, lambda reader, side: reader.check_partitions(binding, side))
    if asked is not None:
        return Cut(slices=list(asked), open=[], all=False)
    held = [canonical(kind, side) for side in _held(pair)]
    values = [value for side in held for value in side]
    if calendar is None:
        slices: list[Slice] = [*in_order(values)]
        if len(slices) > PARTITIONS_MAX:
            raise ConfigError(
                f"projections.{pair.name}.partition: {declared.column!r} has more than {PARTITIONS_MAX:,} values, and "
                f"each would cost a statement on both sides. Take a coarser column, ask for some with --partition, or "
                f'leave `partition` out: by = "key" cuts as the databases serve it best'
            )
        return Cut(slices=slices, open=[], all=True)
    if odd := [value for value in values if not isinstance(value, date | None)]:
        raise DataProblem(
            f"projections.{pair.name}.partition: {declared.column!r} holds {odd[0]!r}, which no calendar has and "
            f"so no bucket: mend the row, or read the column with a query that says what it means"
        )
    if declared.watermark == "source":
        now = calendar.reached(max((value for value in held[0] if value is not None), default=None), now)
    return Cut(slices=_due(pair, calendar, values, now), open=calendar.still_open(now), all=False)


def _held(pair: Pair) -> tuple[list[Value], list[Value]]:
    """What the partition column holds on both sides: its values, or of times the least and the greatest."""
    return _on_both(pair, lambda reader, side: reader.partitions(pair.binding, side))


def _on_both(pair: Pair, do: Callable[[Reader, BoundSide], Answer]) -> tuple[Answer, Answer]:
    """`do` on the source and on the target, at the same time where they are two databases."""
    binding = pair.binding

    def source() -> Answer:
        return do(pair.source, binding.source)

    def target() -> Answer:
        return do(pair.target, binding.target)

    return (source(), target()) if binding.one_database else both(source, target)


def _due(pair: Pair, calendar: Calendar, values: Sequence[Value], now: datetime) -> list[Slice]:
    declared = pair.binding.projection.partition
    times = [value for value in values if value is not None]
    nulls: list[Slice] = [Holding(value=None)] if None in values else []
    if not times:
        return nulls
    least, greatest = min(times), max(times)
    try:
        found = calendar.due(least, greatest, now)
    except OverflowError:
        raise ConfigError(
            f"projections.{pair.name}.partition: {declared.column!r} holds {least}, a time that zone {declared.zone} "
            f"has no calendar for. Give a `window`, so that only recent buckets are looked at, or mend the row"
        ) from None
    if len(found) > PARTITIONS_MAX:
        raise ConfigError(
            f"projections.{pair.name}.partition: {declared.column!r} reaches from {least} to {greatest}: more than "
            f"{PARTITIONS_MAX:,} buckets of {declared.bucket}. Take a longer bucket, or give a `window`"
        )
    return [*(bucket.slice for bucket in found), *nulls]


def named(binding: Binding, asked: Sequence[Value], now: datetime) -> tuple[Slice, ...]:
    """The partitions that a person or a program names.

    Raises UsageError.
    """
    name, declared, kind = binding.projection.name, binding.projection.partition, binding.cut_kind
    if kind is None:
        raise UsageError(
            f"{name}: its rows are not cut into partitions; declare one in projections.{name}, "
            f'partition = {{ by = "column", column = "…" }}'
        )
    calendar = Calendar(declared, kind) if declared.by == "time" else None
    found: list[Slice] = []
    for value in asked:
        try:
            found += [_named_bucket(calendar, value, now)] if calendar else holding(kind, value)
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{name}: --partition: {error}") from None
    return tuple(dict.fromkeys(found))


def _named_bucket(calendar: Calendar, value: Value, now: datetime) -> Slice:
    if value is None or value == NULL:
        return Holding(value=None)
    bucket = calendar.named(value if isinstance(value, str) else value.isoformat())
    closes = calendar.closes(bucket)
    if closes > now:
        raise ValueError(
            f"{bucket.label} is still open: rows may arrive until {closes.astimezone(calendar.zone).isoformat(' ')}, "
            f"and nothing is compared before"
        )
    return bucket.slice


def unknown(binding: Binding, part: Slice, there: Collection[Slice]) -> str:
    """What to say of a partition that was asked for and has no row on either side; empty where that may well be.

    `there`: those that have rows. One of them can be what was meant by the same digits.
    """
    if any(typed_alike(part, other) for other in there):
        return ""
    if isinstance(part, Holding) and binding.projection.partition.by == "column":
        return f"no row of either side is in partition {part.label!r} of {binding.projection.partition.column!r}"
    return ""


def exactly(pair: Pair, piece: Covered, by_key: ByKey) -> Covered:
    """A complete piece of a partition with its differences as they are by key, in whatever partition the rows are."""
    binding = pair.binding
    unique = binding.source.unique and binding.target.unique
    unsure = [suspect for suspect in piece.suspects if not (unique and _sure(suspect))]
    if not unsure:
        return piece
    sure = [suspect for suspect in piece.suspects if unique and _sure(suspect)]
    here = [suspect.key for suspect in unsure if suspect.kind is DriftKind.MISSING]
    others = [suspect.key for suspect in unsure if suspect.kind is not DriftKind.MISSING]
    looked = [*by_key(here)]
    seen = {suspect.key: suspect for found in [*looked, *by_key(others)] for suspect in found.suspects}
    counts = Counts()
    for some in [piece.counts, *(Counts(not_compared=found.counts.not_compared) for found in looked)]:
        counts += some  # a NULL that says nothing is one of the partition that the source has the row in
    retell(counts, unsure, [*seen.values()], binding)
    return replace(piece, counts=counts, suspects=[*sure, *seen.values()])


def retell(counts: Counts, was: Sequence[Suspect], now: Sequence[Suspect], binding: Binding) -> None:
    """Count these differences in place of those."""
    before, after = Counts(), Counts()
    before.tally(list(was), binding.columns, binding.rules)
    after.tally(list(now), binding.columns, binding.rules)
    for name in ("missing", "extra", "different"):
        setattr(counts, name, getattr(counts, name) - getattr(before, name) + getattr(after, name))
    by_column = counts.different_by_column
    for column in {*before.different_by_column, *after.different_by_column}:
        change = after.different_by_column.get(column, 0) - before.different_by_column.get(column, 0)
        by_column[column] = by_column.get(column, 0) + change
        if not by_column[column]:
            del by_column[column]


def _sure(suspect: Suspect) -> bool:
    """Both rows are in the partition, and no other row has their key."""
    return suspect.kind is DriftKind.DIFFERENT and None not in suspect.key
