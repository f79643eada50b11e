"""Ideas as statements: all that are about one path in one pass over its rows.

SELECT count(*), <wrong, telling, least, greatest, distance of each idea>
FROM target LEFT JOIN (SELECT by, <what each idea expects> FROM child GROUP BY by) ON target.on = by
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.adapters._discoverer import Sample
from trueup.core.discover.facts import Schema, Sort
from trueup.core.discover.ideas import WITHIN, ZERO, Idea, Kind
from trueup.core.discover.invariants import Invariant, Rule
from trueup.core.discover.judge import VARIETY, Figures
from trueup.core.discover.links import Path, Predicate

#: Sums of binary fractions agree to this share.
NEARLY = 1e-6

#: A number without a sign cannot be less than 0 in MySQL, not even on the way.
WIDE = sa.Numeric(38, 6)
#: Figures of each idea.
FIGURES = 5

_SORT_TYPES: dict[Sort, sa.types.TypeEngine[Any]] = {
    Sort.BOOLEAN: sa.Boolean(create_constraint=False),
    Sort.INTEGER: sa.BigInteger(),
}


class Trying:
    """Builds statements about the tables of a schema."""

    def __init__(self, schema: Schema, exactly: Callable[[Expression], Expression]) -> None:
        self.schema = schema
        self.exactly = exactly

    def table(self, name: str, alias: str) -> Any:
        schema, _, bare = name.rpartition(".")
        columns = [
            sa.column(column.name, _SORT_TYPES.get(column.sort, sa.types.NullType()))
            for column in self.schema.tables[name].columns.values()
        ]
        return sa.table(bare, *columns, schema=schema or None).alias(alias)

    # --- figures -------------------------------------------------------------------------------------------------

    def statement(self, ideas: Sequence[Idea], sample: Sample | None) -> sa.Select[Any]:
        target = self.table(ideas[0].table, "t")
        path = ideas[0].path
        origin: sa.FromClause = target
        expected: list[Expression]
        if path is None:
            expected = [self._within(idea, target) for idea in ideas]
        elif ideas[0].kind is Kind.COPY:
            parent = self.table(path.child, "c")
            origin = target.join(parent, _equal([target.c[n] for n in path.on], [parent.c[n] for n in path.by]))
            expected = [parent.c[idea.measure[0]] for idea in ideas]
        else:
            rows = self._rows(path, ideas, sample)
            keys = [rows.c[f"k{at}"] for at in range(len(path.on))]
            origin = target.outerjoin(rows, _equal([target.c[name] for name in path.on], keys))
            expected = [self._or_else(idea, rows.c[f"e{at}"], target) for at, idea in enumerate(ideas)]
        figures: list[Expression] = [sa.func.count()]
        for idea, value in zip(ideas, expected, strict=True):
            figures += self._figures(idea, target.c[idea.column], value)
        statement = sa.select(*(figure.label(f"f{at}") for at, figure in enumerate(figures))).select_from(origin)
        column = path.on[0] if path else (self.schema.tables[ideas[0].table].key or (None,))[0]
        return statement if sample is None or column is None else statement.where(_in(target.c[column], sample))

    def read(self, ideas: Sequence[Idea], row: Sequence[Any]) -> list[Figures]:
        found = []
        for at in range(len(ideas)):
            wrong, telling, least, greatest, off = row[1 + FIGURES * at : 1 + FIGURES * (at + 1)]
            found.append(
                Figures(
                    rows=int(row[0]),
                    wrong=int(wrong or 0),
                    telling=int(telling or 0),
                    varied=least != greatest,
                    off=float(off or 0),
                    many=_many(greatest),
                )
            )
        return found

    def _figures(self, idea: Idea, observed: Expression, expected: Expression) -> list[Expression]:
        seen: Expression
        if idea.kind in ZERO:
            seen = sa.func.coalesce(observed, _zero(idea, self.schema))
            told = sa.or_(seen != _zero(idea, self.schema), expected != _zero(idea, self.schema))
        elif idea.kind in WITHIN:
            seen, told = observed, sa.and_(observed.is_not(None), expected.is_not(None), observed != 0)
        else:
            seen, told = observed, expected.is_not(None)
            if idea.kind is Kind.COPY:  # what is not there is copied, too
                told = sa.or_(told, observed.is_not(None))
            if self._is_boolean(idea):  # mostly false, they agree by chance
                told = sa.or_(observed == sa.true(), expected == sa.true())
        numbers = idea.kind in (Kind.COUNT, Kind.DISTINCT, Kind.SUM) and not self._is_boolean(idea)
        wrong = self._differ(idea, seen, expected)
        shown = sa.cast(expected, sa.Integer) if idea.kind is Kind.EXISTS else expected
        if self._is_boolean(idea):
            shown = sa.case((expected, 1), else_=0)
        return [
            sa.func.sum(sa.case((sa.and_(told, wrong), 1), else_=0)),
            sa.func.sum(sa.case((told, 1), else_=0)),
            sa.func.min(sa.case((told, shown), else_=None)),
            sa.func.max(sa.case((told, shown), else_=None)),
            sa.func.sum(sa.func.abs(sa.cast(seen, WIDE) - expected) if numbers else sa.case((wrong, 1), else_=0)),
        ]

    def _is_boolean(self, idea: Idea) -> bool:
        return self.schema.column(idea.table, idea.column).sort is Sort.BOOLEAN

    def _differ(self, idea: Idea, seen: Expression, expected: Expression) -> Expression:
        column = self.schema.column(idea.table, idea.column)
        if column.sort is Sort.TEXT:
            return self.exactly(seen).is_distinct_from(self.exactly(expected))
        if column.sort in (Sort.FLOAT, Sort.DECIMAL) or idea.kind is Kind.AVERAGE:
            apart = sa.func.abs(seen - expected) > NEARLY * (sa.func.abs(expected) + 1)
            rough = idea.kind is Kind.AVERAGE and column.sort is Sort.DECIMAL
            near = sa.func.abs(seen - expected) > 0.006 if rough else apart
            return sa.or_(near, seen.is_(None) != expected.is_(None))
        if column.sort is Sort.DATE and idea.kind in (Kind.LAST, Kind.FIRST):
            return seen.is_distinct_from(sa.func.date(expected))
        return seen.is_distinct_from(expected)

    # --- what is expected ----------------------------------------------------------------------------------------

    def _rows(self, path: Path, ideas: Sequence[Idea], sample: Sample | None) -> Any:
        """The child's rows by key, with what each idea makes of them."""
        origin, keys, tables = self._joined(path)
        made = [self._made(idea, tables).label(f"e{at}") for at, idea in enumerate(ideas)]
        statement = (
            sa.select(*(key.label(f"k{at}") for at, key in enumerate(keys)), *made)
            .select_from(origin)
            .where(*self._fixed(path, keys, tables))
            .group_by(*keys)
        )
        if sample is not None and not path.daily:
            statement = statement.where(_in(keys[0], sample))
        return statement.subquery("r")

    def _joined(self, path: Path) -> tuple[Any, list[Expression], dict[bool, Any]]:
        child = self.table(path.child, "c")
        if not path.middle:
            keys: list[Expression] = [child.c[name] for name in path.by]
            if path.daily:
                keys[0] = sa.func.date(keys[0])
            return child, keys, {False: child}
        middle = self.table(path.middle, "m")
        origin = child.join(middle, _equal([child.c[a] for a, _ in path.link], [middle.c[b] for _, b in path.link]))
        return origin, [middle.c[name] for name in path.by], {False: child, True: middle}

    def _fixed(self, path: Path, keys: Sequence[Expression], tables: dict[bool, Any]) -> list[Expression]:
        return [*(self._holds(p, tables) for p in path.where), *(key.is_not(None) for key in keys)]

    def _made(self, idea: Idea, tables: dict[bool, Any]) -> Expression:
        """An aggregate over the rows that the idea's conditions hold for."""
        measure = [tables[False].c[name] for name in idea.measure]
        value: Expression = reduce(lambda a, b: a * b, measure) if measure else sa.literal_column("1")
        if idea.filters:
            value = sa.case((sa.and_(*(self._holds(p, tables) for p in idea.filters)), value), else_=None)
        match idea.kind:
            case Kind.COUNT:
                return sa.func.count(value) - idea.offset if idea.offset else sa.func.count(value)
            case Kind.DISTINCT:
                return sa.func.count(value.distinct())
            case Kind.EXISTS:
                return sa.func.count(value) > 0
            case Kind.SUM:
                return sa.func.sum(value)
            case Kind.AVERAGE:
                return sa.func.avg(value)
            case Kind.LAST:
                return sa.func.max(value)
        return sa.func.min(value)

    def _or_else(self, idea: Idea, value: Expression, target: Any) -> Expression:
        """With what is left where there are no rows: 0 of numbers, nothing that could be judged of moments."""
        if idea.kind in ZERO:
            value = sa.func.coalesce(value, _zero(idea, self.schema))
        return value + target.c[idea.plus] if idea.plus else value

    def _within(self, idea: Idea, target: Any) -> Expression:
        parts = [target.c[name] for name in idea.measure]
        if idea.kind is Kind.PRODUCT:
            return reduce(lambda a, b: a * b, parts)
        return reduce(lambda a, b: a + b, [-part if part.name in idea.less else part for part in parts])

    def _holds(self, predicate: Predicate, tables: dict[bool, Any]) -> Expression:
        table = tables[predicate.middle]
        column: Expression = table.c[predicate.column]
        if self.schema.column(table.element.fullname, predicate.column).sort is Sort.OTHER:
            column = sa.cast(column, sa.Text)  # an enum is compared by its label
        match predicate.test:
            case "null":
                return column.is_(None)
            case "not null":
                return column.is_not(None)
            case "true":
                return column == sa.true()
            case "false":
                return column == sa.false()
            case "is":
                return column == sa.literal(predicate.value)
        return column != sa.literal(predicate.value)

    # --- rules ---------------------------------------------------------------------------------------------------

    def broken(self, invariant: Invariant) -> sa.Select[Any]:
        table = self.table(invariant.table, "t")
        columns = [table.c[name] for name in invariant.columns]
        there = sa.and_(*(column.is_not(None) for column in columns))
        match invariant.rule:
            case Rule.NEGATIVE:
                bad = columns[0] < 0
            case Rule.ORDER:
                bad = columns[1] < columns[0]
            case Rule.ORPHANS:
                assert invariant.reference is not None
                parent = self.table(invariant.reference.to, "p")
                found = _equal(columns, [parent.c[name] for name in invariant.reference.to_columns])
                bad = ~sa.exists().where(found)
                if self.schema.column(invariant.table, invariant.columns[0]).sort is Sort.INTEGER:
                    there = sa.and_(there, columns[0] != 0)  # 0 means nobody where there is no foreign key
        figures: list[Expression] = [sa.func.count(), sa.func.sum(sa.case((bad, 1), else_=0))]
        statement = sa.select(*figures).select_from(table).where(there)
        if invariant.reference is not None:
            statement = statement.where(*(self._holds(p, {False: table}) for p in invariant.reference.where))
        return statement

    # --- the source of a projection ------------------------------------------------------------------------------

    def source(self, idea: Idea) -> sa.Select[Any]:
        """The target's key and what the column should hold."""
        path = idea.path
        if path is None or not idea.groups:
            return self._beside(idea)
        origin, keys, tables = self._joined(path)
        conditions = [self._holds(p, tables) for p in idea.filters]
        bare = self._made(replace(idea, filters=()), tables)
        return (
            sa.select(*(key.label(name) for key, name in zip(keys, path.on, strict=True)), bare.label(idea.column))
            .select_from(origin)
            .where(*self._fixed(path, keys, tables), *conditions)
            .group_by(*keys)
        )

    def _beside(self, idea: Idea) -> sa.Select[Any]:
        """For columns that have a meaning without rows: a row for each row of the target."""
        target = self.table(idea.table, "t")
        key = [target.c[name] for name in self.schema.tables[idea.table].key]
        path = idea.path
        if path is None:
            return sa.select(*key, self._within(idea, target).label(idea.column))
        if idea.kind is Kind.COPY:
            parent = self.table(path.child, "c")
            held = _equal([target.c[n] for n in path.on], [parent.c[n] for n in path.by])
            value = parent.c[idea.measure[0]].label(idea.column)
            return sa.select(*key, value).select_from(target.join(parent, held))
        rows = self._rows(path, [idea], None)
        keys = [rows.c[f"k{at}"] for at in range(len(path.on))]
        value = self._or_else(idea, rows.c.e0, target)
        if idea.kind not in ZERO:
            value = sa.func.coalesce(value, target.c[idea.column])  # where there are no rows, it is not judged
        if self.schema.column(idea.table, idea.column).sort is Sort.DATE:
            value = sa.func.date(value)
        origin = target.outerjoin(rows, _equal([target.c[name] for name in path.on], keys))
        return sa.select(*key, value.label(idea.column)).select_from(origin)


def _many(value: object) -> bool:
    try:
        return float(value) >= VARIETY  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return True  # not a number: a moment or a text


def _zero(idea: Idea, schema: Schema) -> Expression:
    boolean = idea.kind is Kind.EXISTS or schema.column(idea.table, idea.column).sort is Sort.BOOLEAN
    return sa.false() if boolean else sa.literal_column("0")


def _equal(one: Sequence[Expression], other: Sequence[Expression]) -> Expression:
    return sa.and_(*(a == b for a, b in zip(one, other, strict=True)))


def _in(column: Expression, sample: Sample) -> Expression:
    return sa.or_(*(column.between(lower, upper) for lower, upper in sample.ranges))
