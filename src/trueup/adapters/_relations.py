"""SQL shared by all SQL adapters: sides as relations, segments as predicates, and the comparison as one statement.

Built with SQLAlchemy Core, so identifiers go through the dialect's quoting and values are bound. A user's query is sent
as written, as a sub-select.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from trueup.adapters._besides import besides, computed
from trueup.adapters._borders import beyond
from trueup.adapters._comparison import Comparison, Differ, cheap_again, materialized
from trueup.adapters._dialect import Dialect, Expression
from trueup.adapters._queued import without_queued
from trueup.core.binding import Binding, BoundSide, Column
from trueup.core.partition import PARTITIONS_MAX, Between, Holding, Slice
from trueup.core.plan import Everything, KeyHashes, Keys, Leaves, NullKeys, Part, Range, Ranges
from trueup.core.query import bare
from trueup.core.row import Key, Kind, Value
from trueup.core.values import plain

#: The type in which values are compared with a column.
Form = Callable[[Column], sa.types.TypeEngine[Any]]
#: Kinds whose values every column of the kind spells alike, and what they are.
_SLOTTED = {Kind.INTEGER: int, Kind.TEXT: str}


@dataclass(frozen=True, slots=True)
class Slot:
    """Stands for a value that is given when the statement is executed, once for each of many rows."""

    name: str


class Relations:
    """Renders sides and segments for one database."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.type_of = dialect.type_of
        self.read_as = dialect.read_as

    def table(self, side: BoundSide) -> sa.TableClause:
        """The side's table with its key and compared columns."""
        assert side.side.table is not None
        schema, _, name = side.side.table.rpartition(".")
        columns = [sa.column(column.name, self.type_of(column)) for column in side.columns]
        return sa.table(name, *columns, schema=schema or None)

    def columns(self, side: BoundSide) -> tuple[sa.FromClause, list[Expression]]:
        """Where the side's rows come from, and its key and compared columns there."""
        if side.queued is not None:
            origin: sa.FromClause = without_queued(self, side, side.queued)
            return origin, list(origin.c)
        if side.side.table is not None:
            origin = self.table(side)
        else:
            declared = [sa.column(column.name, self.type_of(column)) for column in side.columns]
            origin = user_query(side.side.query or "", side.shape.dialect).columns(*declared).subquery("q")
        return origin, [computed(c.computed) if c.computed else origin.c[c.name] for c in side.columns]

    def ordered(self, column: Column, expression: Expression) -> Expression:
        """`expression` in binary order: text is pinned to it, other key kinds have no other."""
        read = self.read_as(column, expression)
        return sa.collate(read, self.dialect.collation) if column.kind in (Kind.TEXT, Kind.ANY) else read

    def sorted_by(self, column: Column, expression: Expression) -> Expression:
        """The same, in the order that all databases have in common, in which ranges are cut and read."""
        return self.ordered(column, expression)

    def bound(self, column: Column, value: Value) -> Expression:
        return self._parameter(column, value, self.type_of(column))

    def border(self, column: Column, value: Value) -> Expression:
        """A value to order by, which may come from the other side: one that the column cannot hold is no error."""
        if column.kind is Kind.DATE and isinstance(value, datetime):  # as a date it would lose its time of day
            return self._parameter(column, value, sa.DateTime())
        return self._parameter(column, value, self._wider(column))

    def _wider(self, column: Column) -> sa.types.TypeEngine[Any]:
        """The type of a column, without its limits."""
        wider: dict[Kind, sa.types.TypeEngine[Any]] = {Kind.INTEGER: sa.BigInteger(), Kind.TEXT: sa.Text()}
        return wider.get(column.kind) or self.type_of(column)

    def _parameter(self, column: Column, value: Value, type_: sa.types.TypeEngine[Any]) -> Expression:
        if isinstance(value, Slot):
            return sa.bindparam(value.name, type_=type_)
        if isinstance(value, sa.ColumnElement):  # the end of a range that stands in the statement itself
            return value
        return sa.bindparam(None, self.dialect.spell(column, plain(value)), type_=type_)

    def slotted(self, sides: Sequence[BoundSide], segment: Part) -> tuple[Part, dict[str, Value]]:
        """`segment` with slots for the ends of a range, and what goes into them.

        As it is, and nothing, where the statement depends on the ends, or where the sides spell them differently.
        """
        if not isinstance(segment, Range):
            return segment, {}
        values: dict[str, Value] = {}
        for name, key in (("lower", segment.lower), ("upper", segment.upper)):
            for at, value in enumerate(key or ()):
                columns = [side.key[at] for side in sides]
                if not all(_SLOTTED.get(c.kind) is type(value) and self.dialect.can_hold(c, value) for c in columns):
                    return segment, {}
                values[f"{name}{at}"] = self.dialect.spell(columns[0], value)
        lower, upper = (
            key and tuple(Slot(f"{name}{at}") for at in range(len(key)))
            for name, key in (("lower", segment.lower), ("upper", segment.upper))
        )
        return replace(segment, lower=lower, upper=upper), values

    def nth(self, side: BoundSide, span: Range, rows: int) -> sa.Select[Any]:
        """The key after the first `rows` rows of a range."""
        _, columns = self.columns(side)
        keys = columns[: len(side.key)]
        whole = [*self.within(side, keys, span), *(key.is_not(None) for key in keys)]
        return sa.select(*keys).where(*whole).order_by(*map(self.sorted_by, side.key, keys)).limit(1).offset(rows)

    def within(self, side: BoundSide, parts: Sequence[Expression], segment: Part) -> list[Expression]:
        """Predicates that hold exactly for the rows of `segment`."""
        if side.only or side.tombstone is not None or side.since is not None:
            plain_side = replace(side, only="", tombstone=None, since=None)
            return [*self.within(plain_side, parts, segment), *besides(self, side)]
        if isinstance(segment, Everything | NullKeys | Range) and segment.partition is not None:
            whole = self.within(side, parts, replace(segment, partition=None))
            return [*whole, self._of_partition(side, segment.partition)]
        match segment:
            case Leaves() | KeyHashes():
                chosen = self.dialect.hashed.chosen(side, parts, segment)
                return [*self.within(side, parts, segment.within), chosen]
            case Ranges():
                some = [self.within(side, parts, replace(span, partition=None)) for span in segment.ranges]
                return [*self.within(side, parts, segment.within), sa.or_(*(sa.and_(*bounds) for bounds in some))]
            case Everything():
                return []
            case NullKeys():
                return [sa.or_(*(part.is_(None) for part in parts))]
            case Keys():
                return [self._is_one_of(side.key, parts, segment.keys)]
            case Range():
                ordered = [self.sorted_by(column, part) for column, part in zip(side.key, parts, strict=True)]
                bounds = []
                if segment.lower is not None:
                    bounds.append(beyond(self, side.key, ordered, segment.lower, above=True))
                if segment.upper is not None:
                    bounds.append(beyond(self, side.key, ordered, segment.upper, above=False))
                return bounds + [
                    part.is_not(None) for part, column in zip(parts, side.key, strict=True) if column.nullable
                ]

    def cut(self, side: BoundSide) -> Expression:
        """The partition column; there is one origin in each sub-select that asks for it."""
        assert side.cut is not None
        return sa.column(side.cut.name, self.type_of(side.cut))

    def cut_values(self, side: BoundSide) -> sa.Select[Any]:
        """Each value of the partition column once, up to one more than a run may have."""
        assert side.cut is not None
        origin, _ = self.columns(side)
        # What pins text to its bytes also reads it; to read it once more would take the collation off again.
        distinct = self.ordered if side.cut.kind in (Kind.TEXT, Kind.ANY) else self.read_as
        part = distinct(side.cut, self.cut(side))
        return sa.select(part.label("c0")).select_from(origin).distinct().limit(PARTITIONS_MAX + 1)

    def cut_extent(self, side: BoundSide) -> sa.Select[Any]:
        """The least and the greatest time of the partition column, and how many rows have none."""
        assert side.cut is not None
        origin, _ = self.columns(side)
        part = self.cut(side)
        ends = [self.read_as(side.cut, end(part)) for end in (sa.func.min, sa.func.max)]
        return sa.select(*ends, sa.func.count() - sa.func.count(part)).select_from(origin)

    def tally(self, side: BoundSide, part: Range, wanted: Sequence[tuple[Column, Slice]]) -> sa.Select[Any]:
        """How many rows a range has, and how many of these are in each slice."""
        origin, columns = self.columns(side)
        within = self.within(side, columns[: len(side.key)], part)
        there = [self._of_partition(replace(side, cut=column), of) for column, of in wanted]
        counts: list[Expression] = [sa.func.count(sa.case((each, 1))) for each in there]
        labels = [count.label(f"c{at}") for at, count in enumerate([sa.func.count(), *counts])]
        return sa.select(*labels).select_from(origin).where(*within)

    def misspelt_cut(self, binding: Binding, side: BoundSide) -> sa.Select[Any] | None:
        """A value of the partition column that no partition would have, if this database holds spellings."""
        assert side.cut is not None
        assert binding.cut_kind is not None
        part = self.cut(side)
        odd = self.dialect.misspelt(side.cut, binding.cut_kind, part, time=binding.projection.partition.by == "time")
        if odd is None:
            return None
        origin, _ = self.columns(side)
        return sa.select(part).select_from(origin).where(part.is_not(None), odd).limit(1)

    def _of_partition(self, side: BoundSide, partition: Slice) -> Expression:
        """Holds for the rows of a partition."""
        assert side.cut is not None
        part = self.cut(side)
        match partition:
            case Holding(value=None):
                return part.is_(None)
            case Holding(value=value) if not self.dialect.can_hold(side.cut, value):
                return sa.false()
            case Holding(value=value):
                return self.same(side.cut, part, value)
            case Between():
                lower, upper = (self.border(side.cut, bound) for bound in (partition.lower, partition.upper))
                return sa.and_(part >= lower, part < upper)

    def beyond(self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool) -> Expression:
        """key >= bound (above) or key < bound, part by part; a row comparison, so that a composite index serves."""
        if len(parts) == 1:
            bound = self.border(columns[0], key[0])
            return parts[0] >= bound if above else parts[0] < bound
        left = sa.tuple_(*parts)
        right = sa.tuple_(*(self.border(column, value) for column, value in zip(columns, key, strict=True)))
        return left >= right if above else left < right

    def _part_by_part(
        self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool
    ) -> list[Expression]:
        """`beyond` without a comparison of rows: one of these holds. For databases that do not serve one well."""
        bounds = [self.border(column, value) for column, value in zip(columns, key, strict=True)]
        choices: list[Expression] = []
        for at, (part, bound) in enumerate(zip(parts, bounds, strict=True)):
            last = at == len(parts) - 1
            further = (part >= bound if last else part > bound) if above else part < bound
            choices.append(sa.and_(*(p == b for p, b in zip(parts[:at], bounds[:at], strict=True)), further))
        return choices

    def _is_one_of(self, columns: Sequence[Column], parts: Sequence[Expression], keys: Sequence[Key]) -> Expression:
        keys = [key for key in keys if all(map(self.dialect.can_hold, columns, key))]  # others are not there
        if not keys:
            return sa.false()
        whole = [key for key in keys if None not in key]
        choices: list[Expression] = []
        if whole:
            choices.append(
                sa.and_(*(self._among(form, columns, of, whole) for of, form in self._forms(columns, parts)))
            )
        for key in keys:
            if None in key:
                matches = zip(columns, parts, key, strict=True)
                choices.append(sa.and_(*(p.is_(None) if v is None else self.same(c, p, v) for c, p, v in matches)))
        return sa.or_(*choices)

    def _among(
        self, form: Form, columns: Sequence[Column], parts: Sequence[Expression], keys: Sequence[Key]
    ) -> Expression:
        """`parts` are one of `keys`."""
        if len(parts) == 1:
            values = [self.dialect.spell(columns[0], key[0]) for key in keys]
            return self.dialect.among(parts[0], form(columns[0]), values)

        def row(key: Key) -> Expression:
            return sa.tuple_(*(self._parameter(c, v, form(c)) for c, v in zip(columns, key, strict=True)))

        return sa.tuple_(*parts).in_([row(key) for key in keys])

    def _forms(self, columns: Sequence[Column], parts: Sequence[Expression]) -> list[tuple[Sequence[Expression], Form]]:
        """How to test key parts for values: plainly, so that any index serves, and exactly, since a collation may take
        A for a. Only the latter where asking plainly for a value that is none of the type's is an error (an enum).
        """
        exact = [self.exact(column, part) for column, part in zip(columns, parts, strict=True)]
        if all(a is b for a, b in zip(parts, exact, strict=True)):
            return [(parts, self.type_of)]
        listed = any(isinstance(self.type_of(c), sa.types.UserDefinedType) and c.kind is Kind.TEXT for c in columns)
        return [(exact, self._wider)] if listed else [(parts, self.type_of), (exact, self._wider)]

    def exact(self, column: Column, part: Expression) -> Expression:
        """A key part that equals no value but its own."""
        return self.ordered(column, part)

    def same(self, column: Column, part: Expression, value: Value) -> Expression:
        """Exactly this value."""
        forms = self._forms([column], [part])
        return sa.and_(*(tested == self._parameter(column, value, form(column)) for (tested,), form in forms))

    def rows(self, side: BoundSide, segment: Part, *, tokens: bool, order: bool) -> sa.Select[Any]:
        """SELECT key parts, values and, where asked, the token, of the rows of `segment`."""
        _, columns = self.columns(side)
        keys = columns[: len(side.key)]
        read = [self.read_as(column, part) for column, part in zip(side.columns, columns, strict=True)]
        chosen = [part.label(f"c{at}") for at, part in enumerate(read)]
        if tokens:
            chosen.append(self.dialect.token_of(side).label("token"))
        statement = sa.select(*chosen).where(*self.within(side, keys, segment))
        if order:
            statement = statement.order_by(*(self.sorted_by(c, k) for c, k in zip(side.key, keys, strict=True)))
        return statement

    def repeats(self, side: BoundSide, segment: Part) -> sa.Select[Any]:
        """One row if some key of `segment` occurs more than once."""
        origin, columns = self.columns(side)
        keys = columns[: len(side.key)]
        grouped = [self.ordered(column, key) for column, key in zip(side.key, keys, strict=True)]
        return (
            sa.select(sa.literal(1))
            .select_from(origin)
            .where(*self.within(side, keys, segment), *(key.is_not(None) for key in keys))
            .group_by(*grouped)
            .having(sa.func.count() > 1)
            .limit(1)
        )

    def differences(self, binding: Binding, segment: Part, differ: Differ, limit: int) -> sa.CompoundSelect[Any]:
        """Both sides joined inside the database: one row of totals, then the rows that differ.

        Columns: `here` flags, key parts (from either side), expected and observed values, token. The totals stand in
        a first row that has NULL in both flags.
        """
        return self.compared(binding, segment, differ).listed(limit)

    def compared(self, binding: Binding, segment: Part, differ: Differ) -> Comparison:
        """Both sides joined inside the database, and what differs there."""
        once = self.once(binding, segment)
        sides = self._joined(binding, segment, once) if self.dialect.full_join else self._grouped(binding, segment)
        absent = None
        if binding.absent is not None:
            pairs = zip(binding.target.values, binding.absent, strict=True)
            absent = [self.bound(column, value) for column, value in pairs]
        again = self.dialect.skips and not once and cheap_again(binding, segment)
        joined = sides.subquery("j") if again else self.kept(sides)
        return Comparison.of(binding, joined, differ, absent, once)

    def kept(self, sides: sa.Select[Any]) -> sa.CTE:
        """What was joined, and several things are taken from."""
        return materialized(sides)

    def _side(self, side: BoundSide, segment: Part) -> tuple[list[Expression], list[Expression], list[Expression]]:
        """Key parts, values and predicates of one side, as the comparison needs them."""
        _, columns = self.columns(side)
        keys, values = columns[: len(side.key)], columns[len(side.key) :]
        ordered = [self.ordered(column, key) for column, key in zip(side.key, keys, strict=True)]
        read = [self.read_as(column, value) for column, value in zip(side.values, values, strict=True)]
        return ordered, read, self.within(side, keys, segment)

    def once(self, binding: Binding, segment: Part) -> Sequence[Expression]:  # noqa: ARG002 - the default
        """Hold if no key occurs more than once, where the comparison has to say so itself."""
        return ()

    def _joined(self, binding: Binding, segment: Part, once: Sequence[Expression]) -> sa.Select[Any]:
        """Both sides, key by key, by a full join; nothing unless `once` holds."""
        sides = []
        for name, side in (("s", binding.source), ("t", binding.target)):
            keys, values, within = self._side(side, segment)
            chosen: list[Expression] = [key.label(f"k{at}") for at, key in enumerate(keys)]
            chosen += [value.label(f"v{at}") for at, value in enumerate(values)]
            chosen += [sa.literal(1).label("here"), self.dialect.token_of(side).label("token")]
            sides.append(sa.select(*(chosen if name == "t" else chosen[:-1])).where(*within, *once).subquery(name))
        source, target = sides
        width = range(len(binding.key_kinds))
        on = sa.and_(*(source.c[f"k{at}"] == target.c[f"k{at}"] for at in width))
        joined = sa.select(
            source.c.here.label("source_here"),
            target.c.here.label("target_here"),
            target.c.token.label("token"),
            *(sa.func.coalesce(source.c[f"k{at}"], target.c[f"k{at}"]).label(f"k{at}") for at in width),
            *(source.c[f"v{at}"].label(f"s{at}") for at in range(len(binding.columns))),
            *(target.c[f"v{at}"].label(f"t{at}") for at in range(len(binding.columns))),
        )
        return joined.select_from(source.join(target, on, full=True))

    def _grouped(self, binding: Binding, segment: Part) -> sa.Select[Any]:
        """The same by grouping, for a database whose full join of two sub-selects is a nested loop.

        Keys are unique on both sides here, so each group has at most one row of each, and max() takes the one there is.
        """
        nothing: Expression = sa.null()
        width = range(len(binding.columns))
        halves = []
        for side, source in ((binding.source, True), (binding.target, False)):
            keys, values, within = self._side(side, segment)
            chosen: list[Expression] = [sa.literal(1) if source else nothing, nothing if source else sa.literal(1)]
            chosen += [nothing if source else self.dialect.token_of(side), *keys]
            chosen += [*values, *(nothing for _ in width)] if source else [*(nothing for _ in width), *values]
            halves.append(sa.select(*(part.label(f"c{at}") for at, part in enumerate(chosen))).where(*within))
        both = sa.union_all(*halves).subquery("u")
        names = ["source_here", "target_here", "token"]
        columns: list[Expression] = list(both.c)
        keys = columns[3 : 3 + len(binding.key_kinds)]
        grouped = [self.ordered(column, key) for column, key in zip(binding.target.key, keys, strict=True)]
        heads: list[Expression] = [sa.func.sum(columns[0]), sa.func.sum(columns[1]), sa.func.max(columns[2])]
        tails = [sa.func.max(column) for column in columns[3 + len(keys) :]]
        names += [f"k{at}" for at in range(len(keys))] + [f"s{at}" for at in width] + [f"t{at}" for at in width]
        parts = zip(names, [*heads, *keys, *tails], strict=True)
        labelled: list[Expression] = [part.label(name) for name, part in parts]
        return sa.select(*labelled).group_by(*grouped)


def user_query(query: str, dialect: str) -> sa.TextClause:
    """A user's SELECT, sent as written: its colons are not bind parameters, and a last line comment ends before `)`."""
    return sa.text(bare(query, dialect).replace(":", "\\:") + "\n")
