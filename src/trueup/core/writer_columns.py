"""What the declared writers need besides the compared columns, checked before the first row is read: a version, a
tombstone, an outbox, the times of events; and what a repair needs of the target.
"""

from __future__ import annotations

import zoneinfo
from dataclasses import replace

from trueup.core.binding import Binding, BoundSide, Column, Queued, Shape, near
from trueup.core.kinds import Kind
from trueup.core.projection import Projection, Side
from trueup.core.writers import Events, Pending
from trueup.errors import ConfigError

#: Kinds that add up exactly. Sums of floats depend on their order.
ADDITIVE = frozenset({Kind.INTEGER, Kind.DECIMAL})
#: Kinds whose values tell older from newer without a clock.
ISSUED = frozenset({Kind.INTEGER, Kind.DECIMAL})
#: Kinds of a flag; a database without types may call it anything.
_FLAGS = frozenset({Kind.BOOLEAN, Kind.INTEGER, Kind.ANY})


def equip(binding: Binding, *, pending: Shape | None = None, events: Shape | None = None) -> Binding:
    """The binding with what its writers need. `pending`, `events`: what these look like, where they are declared.

    Raises ConfigError.
    """
    projection = binding.projection
    place = f"projections.{projection.name}"
    if projection.on_different == "delta":
        _additive(binding, f'{place}.on_different: "delta"')
    if projection.version:
        binding = replace(binding, version=_version(binding, place))
    if projection.tombstone is not None:
        binding = with_tombstones(binding, projection.tombstone.column, place)
    if projection.pending is not None and pending is not None:
        binding = _with_queue(binding, projection.pending, pending, place)
    if projection.events is not None and events is not None:
        binding = replace(binding, events=_events(binding, projection.events, events, place))
    return binding


def pending_side(projection: Projection) -> Side | None:
    """Where the outbox is read."""
    declared = projection.pending
    if declared is None:
        return None
    at = projection.source.database
    return Side(database=at, table=declared.table, query=declared.query, columns=declared.columns)


def events_side(projection: Projection) -> Side | None:
    """Where the times of events are read."""
    declared = projection.events
    if declared is None:
        return None
    return Side(database=projection.source.database, table=declared.table, columns=declared.columns)


def _version(binding: Binding, place: str) -> int:
    name = binding.projection.version
    if name in binding.projection.key:
        raise ConfigError(f"{place}.version: {name!r} is in the key; it has to change with every change of the row")
    at = binding.columns.index(name)
    if binding.value_kinds[at] not in ISSUED:
        raise ConfigError(
            f"{place}.version: {name!r} is of kind {binding.value_kinds[at]}. A version is a number that the source "
            f"raises under the row's lock: two changes can have the same time, and clocks differ"
        )
    return at


def with_tombstones(binding: Binding, name: str, place: str) -> Binding:
    """The binding with the column that marks deleted rows, where a side has it. Raises ConfigError."""
    where = f"{place}.tombstone.column"
    if name in (*binding.projection.key, *binding.columns):
        raise ConfigError(f"{where}: {name!r} is compared; leave it out of `key` and `columns`")
    source, target = (_flag(side, name, where) for side in (binding.source, binding.target))
    if target is None:
        known = near(binding.target.side.physical(name), binding.target.shape.columns)
        raise ConfigError(f"{where}: the target has no column {name!r}; {known}")
    return replace(
        binding,
        source=replace(binding.source, tombstone=source),
        target=replace(binding.target, tombstone=target),
    )


def _flag(side: BoundSide, name: str, where: str) -> Column | None:
    column = side.shape.columns.get(side.side.physical(name))
    if column is not None and column.kind not in _FLAGS:
        raise ConfigError(f"{where}: {name!r} ({column.type_name}) has to be a boolean, or an integer that is 0 or 1")
    return column


def _additive(binding: Binding, what: str) -> None:
    for name, kind in zip(binding.columns, binding.value_kinds, strict=True):
        if kind not in ADDITIVE:
            raise ConfigError(
                f"{what} is for numbers that add up exactly; column {name!r} is of kind {kind}. Name in `columns` only "
                f"integers and decimals"
            )


def _with_queue(binding: Binding, declared: Pending, shape: Shape, place: str) -> Binding:
    where = f"{place}.pending"
    _additive(binding, where)
    if not binding.source.unique:
        raise ConfigError(
            f"{where}: the source may have several rows for a key, and what is pending would be taken off once: give "
            f"it a unique key, or GROUP BY the key"
        )
    cut = binding.projection.partition.column
    if cut and cut not in binding.projection.key:
        raise ConfigError(f"{where}: partitions have to be cut by a column of the key; {cut!r} is none")
    side = pending_side(binding.projection)
    assert side is not None
    assert binding.absent is not None
    names = (*binding.projection.key, *binding.columns)
    _known(names, declared.columns, where)
    columns = tuple(_resolved(name, side, shape, where) for name in names)
    width = len(binding.key_kinds)
    for name, column in zip(binding.columns, columns[width:], strict=True):
        if column.kind not in ADDITIVE | {Kind.ANY}:
            raise ConfigError(f"{where}: {name!r} ({column.type_name}) is no number that adds up exactly")
    queue = BoundSide(side=side, shape=shape, key=columns[:width], values=columns[width:], unique=False)
    return replace(binding, source=replace(binding.source, queued=Queued(side=queue, absent=binding.absent)))


def _events(binding: Binding, declared: Events, shape: Shape, place: str) -> BoundSide:
    where = f"{place}.events"
    side = events_side(binding.projection)
    assert side is not None
    _known(binding.projection.key, declared.columns, where)
    key = tuple(_resolved(name, side, shape, where) for name in binding.projection.key)
    time = _resolved(declared.column, side, shape, f"{where}.column")
    if time.kind not in (Kind.INSTANT, Kind.TIMESTAMP, Kind.ANY, Kind.TEXT):
        raise ConfigError(f"{where}.column: {declared.column!r} ({time.type_name}) is no time")
    if time.kind is not Kind.INSTANT and not declared.zone:
        raise ConfigError(
            f'{where}.column: {declared.column!r} ({time.type_name}) has no time zone: say which it is in, zone = "UTC"'
        )
    if declared.zone and declared.zone not in zoneinfo.available_timezones():
        hint = near(declared.zone, ("UTC", "Europe/Berlin", "America/New_York"))
        raise ConfigError(f"{where}.zone: there is no time zone {declared.zone!r}; {hint}")
    return BoundSide(side=side, shape=shape, key=key, values=(time,), unique=False)


def _known(names: tuple[str, ...], given: dict[str, str], where: str) -> None:
    for name in given:
        if name not in names:
            raise ConfigError(f"{where}.columns: {name!r} is not one of the projection's; {near(name, names)}")


def _resolved(name: str, side: Side, shape: Shape, where: str) -> Column:
    physical = side.physical(name)
    if physical not in shape.columns:
        raise ConfigError(f"{where}: there is no column {physical!r}; {near(physical, shape.columns)}")
    return shape.columns[physical]
