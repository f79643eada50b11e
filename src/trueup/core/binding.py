"""Declaration + what the databases say of their columns -> a binding, or an error that names the place and the remedy.

All of it happens before the first row is read.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from trueup.core import query
from trueup.core.agreeing import kind_of, kind_of_cut
from trueup.core.allowances import allowed
from trueup.core.hints import near
from trueup.core.kinds import Kind, Value, canonical
from trueup.core.partition import kinds_as_cut
from trueup.core.projection import Projection, Side, absent_value
from trueup.core.row import Key, Values, named_parts, possible
from trueup.core.rules import Rule
from trueup.core.shape import Column, Shape
from trueup.errors import ConfigError

__all__ = [
    "Binding",
    "BoundSide",
    "Column",
    "Shape",
    "bind",
    "check_query",
    "near",
    "not_writable",
    "one_sided",
]


@dataclass(frozen=True, kw_only=True, slots=True)
class BoundSide:
    """One side with its columns resolved."""

    side: Side
    shape: Shape
    #: Key columns in the projection's order.
    key: tuple[Column, ...]
    #: Compared columns in the projection's order.
    values: tuple[Column, ...]
    #: The key is known to be unique.
    unique: bool
    #: Column that says which partition a row is in; None: rows are cut by key.
    cut: Column | None = None
    #: Column that says that a row is deleted, and only kept; such rows count as not there.
    tombstone: Column | None = None
    #: Increments that are in these rows and not yet in the target; they are taken off before anything is compared.
    queued: Queued | None = None
    #: SQL that holds for the rows that are read; empty: all of them.
    only: str = ""
    #: Only rows in which this column is this value or more; None: all of them.
    since: tuple[Column, Value] | None = None
    #: So many of `values` are parts of a key, by which rows of this side are looked up.
    looked_up: int = 0

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.key, *self.values)

    def key_of(self, row: Sequence[Value]) -> Key:
        """A key as the database hands it out, part by part, in its canonical spelling."""
        return tuple(canonical(column.kind, [part])[0] for column, part in zip(self.key, row, strict=True))

    @property
    def null_keys(self) -> bool:
        """May there be rows with a NULL in the key?"""
        return any(column.nullable for column in self.key)


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """An outbox: what it holds for a key is not yet in the target."""

    #: Key and deltas, any number of rows a key.
    side: BoundSide
    #: What a key without a source row means. A row that is this, and has events queued, need not be there.
    absent: Values


@dataclass(frozen=True, kw_only=True, slots=True)
class Binding:
    """A projection whose columns, kinds and policies are settled."""

    projection: Projection
    #: Names of the compared columns, as the projection calls them.
    columns: tuple[str, ...]
    #: Kind in which each key part is compared.
    key_kinds: tuple[Kind, ...]
    #: Kind in which each compared column is compared.
    value_kinds: tuple[Kind, ...]
    source: BoundSide
    target: BoundSide
    #: What a key without a source row means, canonical; None: the row should not exist.
    absent: Values | None
    #: What counts as a difference, for each compared column; empty where nothing but equality does.
    rules: tuple[Rule, ...] = ()
    #: Kind in which partitions are told apart; None: rows are cut by key.
    cut_kind: Kind | None = None
    #: Which compared column is the version that the source issues.
    version: int | None = None
    #: When the source's events happened: key and time; see `core.writer_columns`.
    events: BoundSide | None = None

    @property
    def movable(self) -> bool:
        """Can a row be in one partition of the source and in another of the target?"""
        return self.cut_kind is not None and self.projection.partition.column not in self.projection.key

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return (*self.key_kinds, *self.value_kinds)

    @property
    def one_database(self) -> bool:
        return self.projection.one_database

    @property
    def written(self) -> tuple[int, ...]:
        """Which values of the target a repair writes: the compared columns, and the flag of a tombstone behind them."""
        flag = range(len(self.columns), len(self.target.values))
        return (*(at for at, name in enumerate(self.columns) if not self.projection.leaves(name)), *flag)

    @property
    def hidden(self) -> tuple[bool, ...]:
        """One flag for each compared column: is it sensitive?"""
        return tuple(name in self.projection.sensitive for name in self.columns)

    def first(self, most: int) -> Binding:
        """The same with no more than so many compared columns."""
        source, target = (replace(side, values=side.values[:most]) for side in (self.source, self.target))
        return replace(
            self,
            columns=self.columns[:most],
            value_kinds=self.value_kinds[:most],
            source=source,
            target=target,
            absent=self.absent and self.absent[:most],
            rules=self.rules[:most],
        )

    def named_key(self, key: Key) -> dict[str, Value]:
        return named_parts(self.projection.key, key)

    def named_values(self, values: Values | None) -> dict[str, object] | None:
        return None if values is None else dict(zip(self.columns, values, strict=True))


def bind(projection: Projection, source: Shape, target: Shape, *, writing: bool) -> Binding:
    """Settle columns and kinds. `writing`: also demand what a repair needs of the target.

    Raises ConfigError.
    """
    place = f"projections.{projection.name}"
    columns = projection.columns or _shared(projection, source, target)
    if projection.version and projection.version not in columns:
        columns = (*columns, projection.version)
    bound_source = _side(projection, "source", source, columns)
    bound_target = _side(projection, "target", target, columns)
    if not columns and (problem := _nothing_compared(projection, bound_source, bound_target)):
        raise ConfigError(f"{place}: {problem}")
    key_kinds = tuple(
        kind_of(place, name, a, b, projection.one_database, key=True)
        for name, a, b in zip(projection.key, bound_source.key, bound_target.key, strict=True)
    )
    value_kinds = tuple(
        kind_of(place, name, a, b, projection.one_database, key=False)
        for name, a, b in zip(columns, bound_source.values, bound_target.values, strict=True)
    )
    bound_source, bound_target = _beside(bound_source, bound_target), _beside(bound_target, bound_source)
    _hidden(projection, {*columns, *source.columns, *target.columns}, place)
    cut_kind = kind_of_cut(projection, bound_source.cut, bound_target.cut)
    key_kinds = kinds_as_cut(projection, projection.key, key_kinds, cut_kind)
    value_kinds = kinds_as_cut(projection, columns, value_kinds, cut_kind)
    for kind, handler in projection.handlers.items():
        if problem := handler.problem(projection.key, columns):
            raise ConfigError(f"{place}.on_{kind}: {problem}")
    problem = not_writable(projection, bound_target) if writing else ""
    if problem:
        raise ConfigError(problem)
    return Binding(
        projection=projection,
        columns=columns,
        key_kinds=key_kinds,
        value_kinds=value_kinds,
        source=bound_source,
        target=bound_target,
        absent=_absent(projection, value_kinds, bound_target.values, columns, place),
        rules=allowed(projection, columns, bound_source.values, bound_target.values, value_kinds),
        cut_kind=cut_kind,
    )


def check_query(place: str, side: Side, dialect: str) -> None:
    """A side that is a query is one SELECT that only reads; `place`: where it is declared.

    Raises ConfigError.
    """
    found = query.problem(side.query, dialect) if side.query is not None else ""
    if found:
        raise ConfigError(f"{place}.query: {found}")


def _shared(projection: Projection, source: Shape, target: Shape) -> tuple[str, ...]:
    """Every column both sides have, besides the key, under the projection's names."""

    left, right = _logical(projection.source, source), _logical(projection.target, target)
    listed = left if target.unlisted else right if source.unlisted else [name for name in left if name in right]
    if source.unlisted and target.unlisted:
        raise ConfigError(
            f"projections.{projection.name}.columns: neither side says which columns it has; name those to compare"
        )
    beside = {*projection.key, projection.tombstone.column if projection.tombstone else ""}
    return tuple(name for name in listed if name not in beside)


def _logical(side: Side, shape: Shape) -> dict[str, None]:
    """A side's columns under the projection's names."""
    names = {physical: name for name, physical in side.columns.items()}
    return dict.fromkeys(names.get(column, column) for column in shape.columns)


def one_sided(binding: Binding) -> dict[str, list[str]]:
    """Columns that only one side has, by side and under the projection's names, so that nothing compares them. None
    where a side does not say which it has.
    """
    return _alone(binding.source, binding.target)


def _alone(bound_source: BoundSide, bound_target: BoundSide) -> dict[str, list[str]]:
    sides = (bound_source, bound_target)
    if any(bound.shape.unlisted for bound in sides):
        return {}
    source, target = (_logical(bound.side, bound.shape) for bound in sides)
    alone = {"source": [c for c in source if c not in target], "target": [c for c in target if c not in source]}
    return {side: names for side, names in alone.items() if names}


def _beside(side: BoundSide, other: BoundSide) -> BoundSide:
    """`side` with its columns read as they have to be beside those of the other."""
    pairs = zip(side.values, other.values, strict=True)
    wholes = (Kind.INTEGER, Kind.BOOLEAN)
    values = (replace(c, exact=True) if c.kind is Kind.FLOAT and o.kind in wholes else c for c, o in pairs)
    return replace(side, values=tuple(values))


def _nothing_compared(projection: Projection, source: BoundSide, target: BoundSide) -> str:
    """Why a pair without a compared column is taken for a mistake (other capitals, a blank in a header); empty if it is
    not: a side that has nothing but the key, and what is declared for another purpose, has nothing to compare.
    """
    marks = (projection.changes.source, projection.changes.target) if projection.changes else ()
    purposes = {mark.column for mark in marks if mark is not None and mark.table is None}
    purposes |= {projection.partition.column, projection.tombstone.column if projection.tombstone else ""}
    alone = {side: [c for c in names if c not in purposes] for side, names in _alone(source, target).items()}
    if sum(map(bool, alone.values())) < len(("source", "target")):
        return ""
    told = "; ".join(f"{', '.join(names)} only in the {side}" for side, names in alone.items())
    return (
        f"nothing but the key is on both sides, so nothing would be compared: {told}. Say what belongs together with "
        f"`columns` of a side; to compare keys alone, give queries that select them"
    )


def _side(projection: Projection, name: str, shape: Shape, columns: tuple[str, ...]) -> BoundSide:
    side: Side = getattr(projection, name)
    place = f"projections.{projection.name}"
    what = f"{side.origin} {side.place!r}" if side.query is None else "query"
    cut = projection.partition.column
    tomb = projection.tombstone.column if projection.tombstone else ""
    named = tuple(filter(None, (*projection.key, *columns, cut, tomb)))
    for logical in side.columns:
        if logical not in named:
            raise ConfigError(
                f"{place}.{name}.columns: {logical!r} is neither in `key` nor in `columns`; {near(logical, named)}"
            )

    def resolve(logical: str, where: str) -> Column:
        physical = side.physical(logical)
        column = shape.column(physical)
        if column is None:
            raise ConfigError(
                f"{place}.{where}: the {name} {what} in database {side.database!r} has no column {physical!r}; "
                f"{near(physical, shape.columns)}"
            )
        return column

    key = tuple(resolve(part, "key") for part in projection.key)
    values = tuple(resolve(column, "columns") for column in columns)
    if shape.values_max is not None and len(values) > shape.values_max:
        raise ConfigError(
            f"{place}.columns: the {name} {what} in database {side.database!r} holds {shape.values_max} value a row, "
            f"and {', '.join(columns)} are compared: name one of them in `columns`"
        )
    key_set = frozenset(column.name for column in key)
    unique = any(index <= key_set for index in shape.unique)
    if not unique and side.query is not None:
        unique = query.groups_by(side.query, shape.dialect, tuple(column.name for column in key))
    bound_cut = resolve(cut, "partition.column") if cut else None
    return BoundSide(side=side, shape=shape, key=key, values=values, unique=unique, cut=bound_cut)


def _hidden(projection: Projection, known: Collection[str], place: str) -> None:
    for name in projection.sensitive:
        if name in projection.key:
            raise ConfigError(f"{place}.sensitive: {name!r} is in the key, which names the rows; hash it in the query")
        if name == projection.partition.column:
            raise ConfigError(f"{place}.sensitive: {name!r} names the partitions; hash it in the query")
        if name not in known:
            raise ConfigError(f"{place}.sensitive: there is no column {name!r} to hide; {near(name, known)}")


def _absent(
    projection: Projection,
    kinds: tuple[Kind, ...],
    target: tuple[Column, ...],
    columns: tuple[str, ...],
    place: str,
) -> Values | None:
    given = projection.absent
    if given is None:
        return None
    for name in given:
        if name not in columns:
            raise ConfigError(f"{place}.absent: {name!r} is not a compared column; {near(name, columns)}")
    lacking = [name for name in columns if name not in given]
    if lacking:
        raise ConfigError(f"{place}.absent: give a value for every compared column; missing: {', '.join(lacking)}")
    named = list(zip(columns, kinds, strict=True))
    values = [given[name] if kind is Kind.FLOAT else absent_value(given[name]) for name, kind in named]
    values = [canonical(kind, [value])[0] for kind, value in zip(kinds, values, strict=True)]
    for name, kind, column, value in zip(columns, kinds, target, values, strict=True):
        if not possible(kind, column.kind, value):
            raise ConfigError(
                f"{place}.absent.{name}: {given[name]!r} cannot be in the target's column {column.name!r}, which holds "
                f"{column.type_name or kind} and is compared as {kind}; write a value that it can hold"
            )
    return tuple(values)


def not_writable(projection: Projection, target: BoundSide) -> str:
    """Why the target, as declared, cannot be repaired, and the remedy; empty if it can."""
    place = f"projections.{projection.name}"
    if not projection.written:
        return ""
    what = f"{target.side.origin} {target.side.place!r} in database {target.side.database!r}"
    names = frozenset(column.name for column in target.key)
    if target.side.query is not None or not target.shape.table:
        return f"{place}.target: only a table can be repaired; `trueup check` works on what is declared here"
    if target.shape.obstacle:
        return f"{place}.target: {what}: {target.shape.obstacle}"
    if projection.writers is None:
        return (
            f"{place}.writers: say how the application writes the target before Trueup writes to it; one of "
            f"same_transaction, mutex, outbox, versioned, absolute, dual_write, increments"
        )
    if names not in target.shape.unique and target.side.table is None:
        told = " or ".join(", ".join(sorted(index)) for index in target.shape.unique)
        return f"{place}.key: {what} tells its rows apart by {told}; `key` has to be exactly that to repair one of them"
    if names not in target.shape.unique:
        assert target.side.table is not None
        key = tuple(column.name for column in target.key)
        index = query.Index(table=target.side.table, key=key, unique=True).statement(target.shape.dialect)
        return (
            f"{place}.target: {what} has no unique index on exactly its key ({', '.join(key)}), so a repair could "
            f"change more rows than one. Create it: {index}, columns NOT NULL"
        )
    if projection.extra_policy == "delete" and projection.tombstone is None and target.shape.dependents:
        return (
            f"{place}.on_extra: deleting a row of {what} would also delete or change rows of "
            f'{", ".join(target.shape.dependents)}, which refer to it. Set on_extra = "report", or keep deleted rows '
            f"(`tombstone`)"
        )
    left = {target.side.physical(name) for name in projection.columns or () if projection.leaves(name)}
    for column in target.values:
        if (column.generated or column.numbered) and column.name not in left:
            return f"{place}.columns: {column.name!r} of {what} is generated; it cannot be written"
    own = [column.name for column in target.key if column.generated or column.numbered]
    if projection.on_missing == "insert" and own:
        return (
            f"{place}.on_missing: a row cannot be inserted into {what}: {', '.join(own)} of its key is generated, and "
            f'no key of the source can be given. Make it GENERATED BY DEFAULT, or set on_missing = "report"'
        )
    given = {column.name for column in target.columns}
    if projection.tombstone is not None:  # a repair writes it too
        given.add(target.side.physical(projection.tombstone.column))
    lacking = [c.name for c in target.shape.columns.values() if c.required and c.name not in given]
    if projection.on_missing == "insert" and lacking:
        return (
            f"{place}.on_missing: a row cannot be inserted into {what}: {', '.join(lacking)} must be given and is "
            f'not in `columns`. Add it to `columns`, give it a default, or set on_missing = "report"'
        )
    return ""
