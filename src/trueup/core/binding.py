"""Declaration + what the databases say of their columns -> a binding, or an error that names the place and the remedy.

All of it happens before the first row is read.
"""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from trueup.core import query
from trueup.core.kinds import KEY_KINDS, TIMES, Kind, canonical, elements_meet, meeting
from trueup.core.partition import CUT_TIMES, kinds_as_cut
from trueup.core.projection import Projection, Side, absent_value
from trueup.core.row import Key, Values
from trueup.core.rules import Nulls, Rule, Tolerance
from trueup.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column as its database describes it."""

    name: str
    kind: Kind
    #: The database's own name of the type.
    type_name: str
    nullable: bool = True
    #: NOT NULL without a default: an INSERT must give it.
    required: bool = False
    #: Computed by the database: cannot be written.
    generated: bool = False
    #: A value it holds, where the database has no type for what the column spells; shows the spelling.
    sample: str = ""
    #: Kind of an array's elements.
    element: Kind | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shape:
    """What one side looks like, before any row of it is read."""

    columns: Mapping[str, Column]
    #: Column sets that are unique and NOT NULL or a primary key.
    unique: tuple[frozenset[str], ...] = ()
    #: False for a view or a query: nothing can be written to it.
    table: bool = False
    #: The database's name for its SQL, as SQLGlot knows it.
    dialect: str = ""
    #: Why rows of this table cannot be repaired safely, and the remedy; empty if they can.
    obstacle: str = ""


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

    @property
    def columns(self) -> tuple[Column, ...]:
        return (*self.key, *self.values)

    @property
    def null_keys(self) -> bool:
        """May there be rows with a NULL in the key?"""
        return any(column.nullable for column in self.key)


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
    def hidden(self) -> tuple[bool, ...]:
        """One flag for each compared column: is it sensitive?"""
        return tuple(name in self.projection.sensitive for name in self.columns)

    def named_key(self, key: Key) -> dict[str, object]:
        return dict(zip(self.projection.key, key, strict=True))

    def named_values(self, values: Values | None) -> dict[str, object] | None:
        return None if values is None else dict(zip(self.columns, values, strict=True))


def bind(projection: Projection, source: Shape, target: Shape, *, writing: bool) -> Binding:
    """Settle columns and kinds. `writing`: also demand what a repair needs of the target.

    Raises ConfigError.
    """
    place = f"projections.{projection.name}"
    columns = projection.columns or _shared(projection, source, target)
    bound_source = _side(projection, "source", source, columns)
    bound_target = _side(projection, "target", target, columns)
    key_kinds = tuple(
        _kind(place, name, a, b, projection.one_database, key=True)
        for name, a, b in zip(projection.key, bound_source.key, bound_target.key, strict=True)
    )
    value_kinds = tuple(
        _kind(place, name, a, b, projection.one_database, key=False)
        for name, a, b in zip(columns, bound_source.values, bound_target.values, strict=True)
    )
    _hidden(projection, {*columns, *source.columns, *target.columns}, place)
    cut_kind = _cut_kind(projection, bound_source.cut, bound_target.cut)
    key_kinds = kinds_as_cut(projection, projection.key, key_kinds, cut_kind)
    value_kinds = kinds_as_cut(projection, columns, value_kinds, cut_kind)
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
        absent=_absent(projection, columns, value_kinds, place),
        rules=_rules(projection, columns, value_kinds, place),
        cut_kind=cut_kind,
    )


def check_query(projection: Projection, role: str, dialect: str) -> None:
    """A side that is a query is one SELECT that only reads.

    Raises ConfigError.
    """
    side: Side = getattr(projection, role)
    found = query.problem(side.query, dialect) if side.query is not None else ""
    if found:
        raise ConfigError(f"projections.{projection.name}.{role}.query: {found}")


def fitting_index(side: BoundSide) -> str:
    """The statement that makes the index to read `side` by key range; empty if there is one, or it is not clear."""
    names = [column.name for column in side.key]
    if side.side.query is not None:
        return query.index_for(side.side.query, side.shape.dialect, tuple(names))
    if side.side.table is None or frozenset(names) in side.shape.unique:
        return ""
    return query.index_statement(side.side.table, names, [], side.shape.dialect)


def near(name: str, known: Collection[str]) -> str:
    """A hint at the nearest known name, or the list of them."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(known)) or 'none'}"


def _shared(projection: Projection, source: Shape, target: Shape) -> tuple[str, ...]:
    """Every column both sides have, besides the key, under the projection's names."""

    def logical(side: Side, shape: Shape) -> dict[str, None]:
        names = {physical: name for name, physical in side.columns.items()}
        return dict.fromkeys(names.get(column, column) for column in shape.columns)

    right = logical(projection.target, target)
    return tuple(name for name in logical(projection.source, source) if name in right and name not in projection.key)


def _side(projection: Projection, name: str, shape: Shape, columns: tuple[str, ...]) -> BoundSide:
    side: Side = getattr(projection, name)
    place = f"projections.{projection.name}"
    what = f"{side.origin} {side.table or side.file or ''!r}" if side.query is None else "query"
    cut = projection.partition.column
    named = (*projection.key, *columns, cut) if cut else (*projection.key, *columns)
    for logical in side.columns:
        if logical not in named:
            raise ConfigError(
                f"{place}.{name}.columns: {logical!r} is neither in `key` nor in `columns`; {near(logical, named)}"
            )

    def resolve(logical: str, where: str) -> Column:
        physical = side.physical(logical)
        column = shape.columns.get(physical)
        if column is None:
            raise ConfigError(
                f"{place}.{where}: the {name} {what} in database {side.database!r} has no column {physical!r}; "
                f"{near(physical, shape.columns)}"
            )
        return column

    key = tuple(resolve(part, "key") for part in projection.key)
    values = tuple(resolve(column, "columns") for column in columns)
    key_set = frozenset(column.name for column in key)
    unique = any(index <= key_set for index in shape.unique)
    if not unique and side.query is not None:
        unique = query.groups_by(side.query, shape.dialect, tuple(column.name for column in key))
    bound_cut = resolve(cut, "partition.column") if cut else None
    return BoundSide(side=side, shape=shape, key=key, values=values, unique=unique, cut=bound_cut)


def _kind(place: str, name: str, source: Column, target: Column, one_database: bool, *, key: bool) -> Kind:
    kind = _meeting(source, target, one_database, key=key)
    pair = f"{source.type_name or source.kind} in the source, {target.type_name or target.kind} in the target"
    if kind is None:
        raise ConfigError(
            f"{place}: column {name!r} cannot be compared exactly: {pair}. {_why_not({source.kind, target.kind})}"
            f"Cast it in the source query to the target's type or to text, or leave it out of `columns`"
        )
    if key and kind not in KEY_KINDS:
        raise ConfigError(
            f"{place}.key: column {name!r} ({pair}) cannot be a key: it has no order that is the same everywhere. "
            f"Keys are integer, text, uuid, date, timestamp; cast it in the source query"
        )
    return kind


def _cut_kind(projection: Projection, source: Column | None, target: Column | None) -> Kind | None:
    """The kind in which partitions are told apart."""
    if source is None or target is None:
        return None
    declared, place = projection.partition, f"projections.{projection.name}.partition.column: {source.name!r}"
    pair = f"({source.type_name or source.kind} in the source, {target.type_name or target.kind} in the target)"
    kind = _meeting(source, target, projection.one_database, key=True)
    if declared.by == "column":
        if kind is None or kind not in KEY_KINDS | {Kind.BOOLEAN}:
            raise ConfigError(
                f"{place} {pair} cannot tell partitions apart: its values have no one spelling. Take a column of "
                f"integers, text, UUIDs, booleans, dates or timestamps, or cast it in the query"
            )
        return kind
    times = {_cut_time(column) for column in (source, target)} - {Kind.ANY}
    kind = times.pop() if len(times) == 1 else None
    if kind not in CUT_TIMES:
        raise ConfigError(
            f"{place} {pair} cannot be cut by time: it has to be a date, a timestamp or a timestamp with time zone, "
            f"the same on both sides. Cast it in the query"
        )
    if kind is Kind.DATE and declared.bucket == "1h":
        raise ConfigError(f'{place} {pair} holds days, which have no hours: use bucket = "1d", "1w" or "1mo"')
    return kind


def _cut_time(column: Column) -> Kind:
    """What a column holds, to be cut by time: where the database only has spellings, what they are read as."""
    if column.kind not in (Kind.ANY, Kind.TEXT):
        return column.kind
    declared = column.type_name.upper()
    spelt = column.sample
    if not spelt and "TIME" not in declared and declared != "DATE":
        return column.kind
    if len(spelt) == 10 or (not spelt and declared == "DATE"):
        return Kind.DATE
    meant = canonical(Kind.TIMESTAMP, [spelt])[0] if spelt else None
    if isinstance(meant, str):
        return column.kind
    return Kind.INSTANT if meant is not None and meant.tzinfo else Kind.TIMESTAMP


def _meeting(source: Column, target: Column, one_database: bool, *, key: bool) -> Kind | None:
    """The kind in which two columns are compared here; None if they are not."""
    kinds = {source.kind, target.kind}
    if kinds == {Kind.OPAQUE}:
        return Kind.OPAQUE if one_database and source.type_name == target.type_name else None
    if kinds == {Kind.ARRAY}:
        return Kind.ARRAY if elements_meet(source.element, target.element) else None
    kind = meeting(source.kind, target.kind)
    if key and kinds == {Kind.UUID, Kind.BYTES}:
        return None  # a look-up would need the bytes
    if one_database and kinds > {Kind.TEXT} and kind in (Kind.UUID, *TIMES):
        return None  # the database would compare spellings, and two spellings may mean the same
    return kind


def _why_not(kinds: set[Kind]) -> str:
    """What a pair lacks, where that is not plain from its names."""
    if kinds in ({Kind.TIMESTAMP, Kind.INSTANT}, {Kind.DATE, Kind.INSTANT}):
        return "One has a time zone, the other does not say in which it is. "
    if Kind.BOOLEAN in kinds and Kind.TEXT in kinds:
        return "Which words mean true is not known. "
    if Kind.TEXT in kinds and kinds & {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT}:
        return "'5', '05' and '5.0' are three texts and one number. "
    return ""


def _rules(projection: Projection, columns: tuple[str, ...], kinds: tuple[Kind, ...], place: str) -> tuple[Rule, ...]:
    """What a team allows beyond equality; empty where that is nothing."""
    for key, declared in (("tolerance", projection.tolerance), ("nulls", projection.nulls)):
        for name in declared:
            if name not in columns:
                raise ConfigError(f"{place}.{key}: {name!r} is not a compared column; {near(name, columns)}")
    rules = tuple(_rule(projection, name, kind, place) for name, kind in zip(columns, kinds, strict=True))
    return () if all(rule.exact for rule in rules) else rules


def _rule(projection: Projection, name: str, kind: Kind, place: str) -> Rule:
    text = projection.tolerance.get(name)
    tolerance = None if text is None else Tolerance.parse(text)
    unfit = tolerance.unfit(kind) if tolerance else ""
    if unfit:
        raise ConfigError(f"{place}.tolerance: column {name!r} cannot have {text!r}: {unfit}")
    rule = Rule(kind=kind, nulls=projection.nulls.get(name, Nulls.EXACT), tolerance=tolerance)
    if rule.nulls is Nulls.ZERO and rule.zero is None:
        raise ConfigError(
            f'{place}.nulls: column {name!r} cannot have "zero": kind {kind} has neither a zero nor an empty value; '
            f'use "exact" or "unknown", or coalesce() in the query'
        )
    return rule


def _hidden(projection: Projection, known: Collection[str], place: str) -> None:
    for name in projection.sensitive:
        if name in projection.key:
            raise ConfigError(f"{place}.sensitive: {name!r} is in the key, which names the rows; hash it in the query")
        if name == projection.partition.column:
            raise ConfigError(f"{place}.sensitive: {name!r} names the partitions; hash it in the query")
        if name not in known:
            raise ConfigError(f"{place}.sensitive: there is no column {name!r} to hide; {near(name, known)}")


def _absent(projection: Projection, columns: tuple[str, ...], kinds: tuple[Kind, ...], place: str) -> Values | None:
    given = projection.absent
    if given is None:
        return None
    for name in given:
        if name not in columns:
            raise ConfigError(f"{place}.absent: {name!r} is not a compared column; {near(name, columns)}")
    lacking = [name for name in columns if name not in given]
    if lacking:
        raise ConfigError(f"{place}.absent: give a value for every compared column; missing: {', '.join(lacking)}")
    return tuple(canonical(kind, [absent_value(given[name])])[0] for name, kind in zip(columns, kinds, strict=True))


def not_writable(projection: Projection, target: BoundSide) -> str:
    """Why the target, as declared, cannot be repaired, and the remedy; empty if it can."""
    place = f"projections.{projection.name}"
    what = f"table {target.side.table!r} in database {target.side.database!r}"
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
    if names not in target.shape.unique:
        columns = ", ".join(column.name for column in target.key)
        return (
            f"{place}.target: {what} has no unique index on exactly its key ({columns}), so a repair could change "
            f"more rows than one. Create it: CREATE UNIQUE INDEX ON {target.side.table} ({columns}), columns NOT NULL"
        )
    for column in target.values:
        if column.generated:
            return f"{place}.columns: {column.name!r} of {what} is generated; it cannot be written"
    given = {column.name for column in target.columns}
    lacking = [c.name for c in target.shape.columns.values() if c.required and c.name not in given]
    if projection.on_missing == "insert" and lacking:
        return (
            f"{place}.on_missing: a row cannot be inserted into {what}: {', '.join(lacking)} must be given and is "
            f'not in `columns`. Add it to `columns`, give it a default, or set on_missing = "report"'
        )
    return ""
