"""Many differences at once in PostgreSQL: it compares a segment, writes down all that differs as JSON, in lots, and is
given their columns back as arrays to carry them out. No row becomes an object on the way.

    begin -> hold the fence -> leave the marker -> lock, check the version, write, read back: one statement -> commit

The rows were seen with their source in one snapshot, by versions that change with every change of the source (see
`_by_row_version.BySnapshot`): a locked row that still has its version may be given its expected values. What is locked
by others is passed over, as everywhere, and left to a unit of its own.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from trueup.adapters import Look, LotUnit
from trueup.adapters._dialect import Expression
from trueup.adapters._lots import RowPacker
from trueup.adapters._results import counts_of
from trueup.adapters._steps import Fenced
from trueup.adapters._unequal import unequal
from trueup.core import lot as lots
from trueup.core.binding import Binding, Column
from trueup.core.compare import DriftKind
from trueup.core.decide import Action
from trueup.core.kinds import Kind
from trueup.core.lot import Lot, LotOutcome
from trueup.core.plan import Part, Segment
from trueup.errors import DataProblem

if TYPE_CHECKING:
    from trueup.adapters._postgresql_inside import Inside
    from trueup.adapters._sql import SqlAdapter

#: Types whose values JSON and a cast give back exactly, the limits of a column's own type left aside.
_TYPES = ("smallint", "integer", "bigint", "numeric", "boolean", "text", "character varying", "uuid", "real", "double")
#: Kinds that JSON holds as they are; of others it holds the text.
_PLAIN = (Kind.INTEGER, Kind.BOOLEAN, Kind.TEXT)
_TEXTS = sa.ARRAY(sa.Text())


class PostgresqlPacker(RowPacker):
    """Compares and repairs by lots in one database."""

    def __init__(self, adapter: SqlAdapter, inside: Inside) -> None:
        super().__init__(adapter)
        self.relations = adapter.relations
        self._inside = inside

    def takes(self, binding: Binding) -> bool:
        """Nothing has to be known of a row by itself, and its values travel exactly."""
        source, target = binding.source, binding.target
        plain = not (binding.rules or target.shape.triggers or source.queued or target.queued or target.tombstone)
        plain = plain and binding.version is None and binding.cut_kind is None
        plain = plain and not binding.projection.target.expiring
        names = {target.values[at].name for at in binding.written}
        swaps = any(unique <= names for unique in target.shape.unique)
        sides = list(zip(source.columns, target.columns, strict=True))
        return plain and not swaps and all(_exact(*pair) for pair in sides) and self.adapter.inside(binding)

    # --- comparing -----------------------------------------------------------------------------------------------

    def compared(self, binding: Binding, segment: Segment) -> Look | None:
        return self._inside.compared(binding, segment, partial(self._joined, binding))

    def _joined(self, binding: Binding, segment: Part) -> Look | None:
        """Figures first, then a row for each lot."""
        with self.adapter.reading() as connection:
            rows = self.adapter.answered(connection, self._comparison(binding, segment))
        if not rows:  # some key occurs more than once
            return None
        found = [
            lots.lot_of(
                DriftKind(row.kind),
                row.size,
                row.columns,
                key_kinds=binding.key_kinds,
                value_kinds=binding.value_kinds,
                absent=binding.absent,
            )
            for row in rows[1:]
        ]
        return Look(counts=counts_of(binding, rows[0].figures), suspects=[], lots=found)

    def _comparison(self, binding: Binding, segment: Part) -> sa.CompoundSelect[Any]:
        compared = self.relations.compared(binding, segment, partial(unequal, self.adapter, binding))
        joined = compared.joined
        keys = [joined.c[f"k{at}"] for at in range(len(binding.key_kinds))]
        kind = sa.case((compared.missing, "missing"), (compared.extra, "extra"), else_="different")
        place = sa.func.row_number().over(partition_by=kind, order_by=keys) - 1
        numbered = (
            sa.select(*joined.c, kind.label("kind"), (place // lots.LOT_ROWS).label("lot"))
            .where(compared.differing)
            .subquery("n")
        )
        order = [numbered.c.kind, numbered.c.lot, *(numbered.c[key.name] for key in keys)]
        sorted_ = sa.select(numbered).order_by(*order).subquery("d")
        columns = self._columns(binding, sorted_)
        found = sa.select(
            sa.null().label("figures"), sorted_.c.kind, sa.func.count().label("size"), columns.label("columns")
        ).group_by(sorted_.c.kind, sorted_.c.lot)
        nothing = [sa.null().label(name) for name in ("kind", "size", "columns")]
        return sa.union_all(compared.totals(*nothing), found)

    def _columns(self, binding: Binding, rows: sa.FromClause) -> Expression:
        """The columns of a lot: a JSON object as text."""

        def array(name: str, columns: Sequence[Column]) -> Expression:
            parts: Expression = sa.literal("[")
            for at, column in enumerate(columns):
                value = rows.c[f"{name}{at}"]
                spelt = value if column.kind in _PLAIN else sa.cast(value, sa.Text)
                parts = parts + (", " if at else "") + sa.cast(sa.func.json_agg(spelt), sa.Text)
            return parts + "]"

        expected = sa.literal('"expected": ') + array("s", binding.source.values)
        observed = sa.literal('"observed": ') + array("t", binding.target.values)
        observed += sa.literal(', "token": ') + sa.cast(sa.func.json_agg(rows.c.token), sa.Text)
        values = sa.case(
            (rows.c.kind == "missing", expected),
            (rows.c.kind == "extra", observed),
            else_=expected + ", " + observed,
        )
        return sa.literal('{"key": ') + array("k", binding.target.key) + ", " + values + "}"

    # --- writing -------------------------------------------------------------------------------------------------

    def carry_out(self, binding: Binding, unit: LotUnit) -> LotOutcome:
        """One transaction; all rows in one statement."""
        if not self.takes(binding):
            return super().carry_out(binding, unit)
        with self.adapter.writing() as connection:
            steps = Fenced(connection, unit)
            steps.hold_fence()
            steps.leave_marker()
            outcome = self._write(connection, binding, unit)
            steps.sign(outcome.to_json())
        return outcome

    def _write(self, connection: sa.Connection, binding: Binding, unit: LotUnit) -> LotOutcome:
        statement = _Statement(self.adapter, binding, unit.lot, unit.action).built()
        if unit.action is not Action.INSERT:  # row by row through the index: a lot is a small part of its table
            for name in ("enable_hashjoin", "enable_mergejoin"):
                connection.execute(sa.select(sa.func.set_config(name, "off", True)))
        done = connection.execute(statement).one()
        if done.lost:
            raise DataProblem(
                f"{unit.fence}: the target did not keep {done.lost:,} of {unit.lot.count:,} values as they were "
                f"written; nothing was changed. Is a column too narrow for the value?"
            )
        written = set(done.some or ())
        rows = unit.lot.rows() if done.size < unit.lot.count else ()
        return LotOutcome(
            token=done.token or "", left=tuple(row.key for at, row in enumerate(rows) if at not in written)
        )


class _Statement:
    """The one statement that carries out a lot: `given` -> `held` -> `written` -> what became of it."""

    def __init__(self, adapter: SqlAdapter, binding: Binding, lot: Lot, action: Action) -> None:
        self.adapter = adapter
        self.binding = binding
        self.lot = lot
        self.action = action
        self.table = adapter.relations.table(binding.target)
        self.given = self._given()

    def built(self) -> sa.Select[Any]:
        match self.action:
            case Action.INSERT:
                written = self._inserted()
            case Action.UPDATE:
                written = self._updated(self._held())
            case _:
                written = self._deleted(self._held())
        # Which they were has to be told only where it was not all of them.
        some = sa.case((sa.func.count() < self.lot.count, sa.func.json_agg(written.c.n)))
        return sa.select(
            sa.func.count(sa.case((~written.c.kept, 1))).label("lost"),
            sa.func.max(written.c.token).label("token"),
            some.label("some"),
            sa.func.count().label("size"),
        )

    def _given(self) -> sa.CTE:
        """The lot's rows, as texts: an array for each column."""
        told = json.loads(self.lot.content)
        columns = {f"key{at}": column for at, column in enumerate(told["key"])}
        if self.lot.kind is not DriftKind.MISSING:
            columns["token"] = told["token"]
        if self.lot.kind is not DriftKind.EXTRA:
            expected = told["expected"] if "written" in told else [told["expected"][at] for at in self.binding.written]
            columns |= {f"expected{at}": column for at, column in zip(self.binding.written, expected, strict=True)}
        arrays = [sa.cast(sa.literal(_array(column), sa.Text()), _TEXTS) for column in columns.values()]
        rows = sa.func.unnest(*arrays).table_valued(*columns, with_ordinality="place", name="given").render_derived()
        chosen = [(rows.c.place - 1).label("n"), *(rows.c[name] for name in columns)]
        return sa.select(*chosen).cte("trueup_given").prefix_with("MATERIALIZED")

    def _same_key(self, rows: sa.FromClause, table: sa.FromClause) -> Expression:
        """Exactly the same key: plainly, so that the index serves, and in binary order, which knows A from a."""
        ordered, type_of = self.adapter.relations.ordered, self.adapter.type_of
        same = []
        for at, column in enumerate(self.binding.target.key):
            part, wanted = table.c[column.name], sa.cast(rows.c[f"key{at}"], type_of(column))
            same += [part == wanted] + ([ordered(column, part) == wanted] if column.kind is Kind.TEXT else [])
        return sa.and_(*same)

    def _held(self) -> sa.CTE:
        """Those that nobody else holds, locked, with their version as it is then."""
        table = self.table.alias("held_rows")
        version = sa.cast(sa.literal_column("held_rows.xmin"), sa.Text).label("version")
        place: Expression = sa.literal_column("held_rows.ctid").label("place")
        both = table.join(self.given, self._same_key(self.given, table))
        rows = sa.select(self.given, version, place).select_from(both)
        return self._locked(rows, table).cte("trueup_held").prefix_with("MATERIALIZED")

    def _locked(self, rows: sa.Select[Any], table: sa.FromClause) -> sa.Select[Any]:
        return rows.with_for_update(key_share=True, skip_locked=True, of=table)

    def _row(self, held: sa.CTE) -> Expression:
        """The row that is held: by its key, and by its place, which it keeps while it is locked, to be found sooner."""
        place: Expression = sa.literal_column("ctid")
        return sa.and_(place == held.c.place, self._same_key(held, self.table))

    def _unmoved(self, held: sa.CTE) -> Expression:
        """The row is the one that was seen."""
        return held.c.version == held.c.token

    def _wanted(self, rows: sa.FromClause) -> list[Expression]:
        """What each column is to hold, in the form in which the source has it."""
        target, written = self.binding.target.values, self.binding.written
        source = [(at, self.binding.source.values[at]) for at in written]
        if self.lot.kind is DriftKind.EXTRA:
            absent = self.binding.absent or ()
            return [self.adapter.relations.bound(column, value) for column, value in zip(target, absent, strict=True)]
        return [sa.cast(rows.c[f"expected{at}"], self.adapter.type_of(column)) for at, column in source]

    def _kept(self, wanted: Sequence[Expression], table: sa.FromClause | sa.CTE) -> Expression:
        """The row holds what it was to hold."""
        target = self.binding.target.values
        pairs = zip(self.binding.written, wanted, strict=True)
        lost = [unequal(self.adapter, self.binding, at, a, table.c[target[at].name]) for at, a in pairs]
        return sa.not_(sa.or_(sa.false(), *lost)).label("kept")

    def _updated(self, held: sa.CTE) -> sa.CTE:
        wanted = self._wanted(held)
        target = self.binding.target.values
        values = {target[at].name: value for at, value in zip(self.binding.written, wanted, strict=True)}
        return (
            sa.update(self.table)
            .values(values)
            .where(self._row(held), self._unmoved(held))
            .returning(held.c.n, sa.cast(_XMIN, sa.Text).label("token"), self._kept(wanted, self.table))
            .cte("trueup_written")
        )

    def _deleted(self, held: sa.CTE) -> sa.CTE:
        return (
            sa.delete(self.table)
            .where(self._row(held), self._unmoved(held))
            .returning(held.c.n, sa.literal("").label("token"), sa.true().label("kept"))
            .cte("trueup_written")
        )

    def _inserted(self) -> sa.CTE:
        """A row that is there by now is somebody else's, and stays as it is."""
        target = self.binding.target
        keys = [sa.cast(self.given.c[f"key{at}"], self.adapter.type_of(c)) for at, c in enumerate(target.key)]
        rows = sa.select(*keys, *self._wanted(self.given))
        made = (
            postgresql.insert(self.table)
            .from_select([column.name for column in target.columns], rows)
            .on_conflict_do_nothing()
            .returning(*(self.table.c[c.name] for c in target.columns), sa.cast(_XMIN, sa.Text).label("trueup_token"))
            .cte("trueup_made")
        )
        kept = self._kept(self._wanted(self.given), made)
        joined = made.join(self.given, self._same_key(self.given, made))
        return (
            sa.select(self.given.c.n, made.c.trueup_token.label("token"), kept)
            .select_from(joined)
            .cte("trueup_written")
        )


_XMIN: Expression = sa.literal_column("xmin")


def _array(column: Sequence[str | int | bool | None]) -> str:
    """A column of JSON as PostgreSQL writes an array: it quotes texts alike, but knows no names of characters."""
    told = json.dumps(column, ensure_ascii=False, separators=(",", ":"))[1:-1]
    if "\\" in told:
        told = ",".join(map(_element, column))
    return "{" + told + "}"


def _element(value: str | int | bool | None) -> str:
    return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"' if type(value) is str else json.dumps(value)


def _exact(source: Column, target: Column) -> bool:
    """Both columns are of types whose values travel exactly, and what the one holds is assigned to the other as is."""
    kinds = {source.kind, target.kind}
    return (
        all(column.type_name.startswith(_TYPES) for column in (source, target))
        and not (source.kind is Kind.ARRAY or target.kind is Kind.ARRAY)
        and (len(kinds) == 1 or kinds == {Kind.INTEGER, Kind.DECIMAL})
    )
