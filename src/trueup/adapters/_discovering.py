"""Looking for derived columns in a SQL database: what its catalog says, and ideas tried on its rows.

Nothing is written: everything happens in read-only transactions under the adapter's statement timeout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from trueup.adapters import _markers as markers
from trueup.adapters._dialect import Expression
from trueup.adapters._discoverer import Sample
from trueup.adapters._results import any_type
from trueup.adapters._trying import Trying
from trueup.core.discover.conditions import VALUES_MAX
from trueup.core.discover.facts import ColumnFacts, Declared, KeptQuery, Schema, Sort, TableFacts
from trueup.core.discover.ideas import Idea
from trueup.core.discover.invariants import Invariant
from trueup.core.discover.judge import Figures
from trueup.errors import DesignProblem

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Rows that a column's values are looked for in.
LOOKED_AT = 5_000
#: Ranges of keys that a sample is made of.
RANGES = 8

_SORTS: tuple[tuple[type[Any] | tuple[type[Any], ...], Sort], ...] = (
    (sa.Boolean, Sort.BOOLEAN),
    (sa.Integer, Sort.INTEGER),
    (sa.Float, Sort.FLOAT),
    (sa.Numeric, Sort.DECIMAL),
    (sa.DateTime, Sort.MOMENT),
    (sa.Date, Sort.DATE),
    ((sa.Uuid,), Sort.UUID),
    (sa.String, Sort.TEXT),
)


class SqlDiscoverer:
    """Looks into one database; what only this product knows, a subclass says."""

    def __init__(self, adapter: SqlAdapter) -> None:
        self.adapter = adapter

    #: What the dialect has to be told so that it lists all unique indexes.
    index_options: Mapping[str, Any] = MappingProxyType({})

    # --- what a concrete one gives -------------------------------------------------------------------------------

    def rows(self, connection: sa.Connection) -> Mapping[str, int]:  # noqa: ARG002 - the default
        """Table -> about how many rows it has, without counting; tables by the names that `schema` gives them."""
        return {}

    def kept_queries(self, connection: sa.Connection) -> list[KeptQuery]:  # noqa: ARG002 - the default
        """Materialised views."""
        return []

    def sort_of(self, type_: sa.types.TypeEngine[Any]) -> Sort:
        """What a reflected type holds."""
        return next((sort for types, sort in _SORTS if isinstance(type_, types)), Sort.OTHER)

    def exactly(self, expression: Expression) -> Expression:
        """A text as it is compared: by its code points."""
        return sa.collate(expression, self.adapter.collation)

    # --- the schema ----------------------------------------------------------------------------------------------

    def schema(self) -> Schema:
        with self.adapter.reading() as connection:
            inspector = sa.inspect(connection)
            default = inspector.default_schema_name
            found: dict[str, TableFacts] = {}
            for schema in self.adapter.schemas(inspector):
                within = None if schema == default else schema
                for table in self._tables(inspector, within):
                    found[table.name] = table
            rows = self.rows(connection)
            kept = self.kept_queries(connection)
        tables = {name: replace(table, rows=rows.get(name)) for name, table in found.items()}
        return Schema(tables=dict(sorted(tables.items())), kept=tuple(kept))

    def _tables(self, inspector: sa.Inspector, schema: str | None) -> list[TableFacts]:
        """All tables of one schema, by few questions to the catalog."""
        keys = inspector.get_multi_pk_constraint(schema)
        foreign = inspector.get_multi_foreign_keys(schema)
        indexes = inspector.get_multi_indexes(schema, **self.index_options)
        constraints = inspector.get_multi_unique_constraints(schema)
        found = []
        with any_type():
            described = inspector.get_multi_columns(schema)
        for place, columns in described.items():
            if place[1] in markers.MARKER_TABLES.tables:
                continue
            key = tuple(keys[place]["constrained_columns"]) if keys.get(place) else ()
            unique = {frozenset(key)} if key else set()
            unique |= {frozenset(held["column_names"]) for held in constraints.get(place) or ()}
            first = {key[0]} if key else set()
            for index in indexes.get(place) or ():
                named = [name for name in index["column_names"] if name is not None]
                if named:
                    first.add(named[0])
                if index["unique"] and len(named) == len(index["column_names"]) and not _partial(index):
                    unique.add(frozenset(named))
            found.append(
                TableFacts(
                    name=_name(*place),
                    columns={column["name"]: self._column(column) for column in columns},
                    key=key,
                    unique=tuple(sorted(unique, key=sorted)),
                    references=tuple(_declared(schema, held) for held in foreign.get(place) or ()),
                    indexed=frozenset(first),
                )
            )
        return found

    def _column(self, column: Any) -> ColumnFacts:
        return ColumnFacts(
            name=column["name"],
            sort=self.sort_of(column["type"]),
            nullable=column["nullable"],
            generated=bool(column.get("computed")),
        )

    # --- a few values --------------------------------------------------------------------------------------------

    def values(self, asked: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], tuple[object, ...]]:
        found = {}
        for table, name in asked:
            column: sa.ColumnClause[Any] = sa.column(name)
            some = sa.select(column).select_from(_table(table)).limit(LOOKED_AT).subquery("s")
            distinct = sa.select(some.c[name]).where(some.c[name].is_not(None)).distinct().limit(2 * VALUES_MAX + 1)
            with self.adapter.reading() as connection:
                held = connection.execute(distinct).scalars().all()
            if len(held) <= 2 * VALUES_MAX and all(isinstance(value, int | str) for value in held):
                found[(table, name)] = tuple(sorted(held, key=lambda value: (str(type(value)), value)))
        return found

    def numbered(self, schema: Schema) -> Mapping[str, Mapping[object, str]]:
        table = schema.tables.get("django_content_type")
        if table is None or not {"id", "app_label", "model"} <= table.columns.keys():
            return {}
        columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in ("id", "app_label", "model")]
        with self.adapter.reading() as connection:
            rows = connection.execute(sa.select(*columns).select_from(_table(table.name))).all()
        return {table.name: {row[0]: f"{row[1]}_{row[2]}" for row in rows}}

    # --- a part of a table ---------------------------------------------------------------------------------------

    def sample(self, schema: Schema, table: str, column: str, rows: int) -> Sample | None:
        there = schema.tables[table].rows
        if there is not None and there <= rows:
            return None
        key: sa.ColumnClause[Any] = sa.column(column)
        origin = _table(table)
        with self.adapter.reading() as connection:
            past = sa.select(key).select_from(origin).where(key.is_not(None)).order_by(key).offset(rows).limit(1)
            border = connection.execute(past).scalar()
            if border is None:
                return None
            least, greatest = connection.execute(
                sa.select(sa.func.min(key), sa.func.max(key)).select_from(origin)
            ).one()
        numbers = schema.column(table, column).sort is Sort.INTEGER
        if there is None or not numbers or not isinstance(least, int) or not isinstance(greatest, int):
            return Sample(ranges=((least, border),), words=f"a sample: the first {rows:,} rows by {column}")
        width = max((greatest - least) * rows // (there * RANGES), 1)
        step = (greatest - least) // RANGES
        ranges = tuple((least + at * step, least + at * step + width) for at in range(RANGES))
        return Sample(ranges=ranges, words=f"a sample: {RANGES} ranges of {column}, about {rows:,} of {there:,} rows")

    # --- ideas and rules on the rows -----------------------------------------------------------------------------

    def figures(self, schema: Schema, ideas: Sequence[Idea], sample: Sample | None) -> list[Figures]:
        trying = Trying(schema, self.exactly)
        with self.adapter.reading() as connection:
            once = connection.execution_options(compiled_cache=None)  # no statement comes twice
            row = once.execute(trying.statement(ideas, sample)).one()
        return trying.read(ideas, row)

    def broken(self, schema: Schema, invariant: Invariant) -> tuple[int, int]:
        statement = Trying(schema, self.exactly).broken(invariant)
        with self.adapter.reading() as connection:
            rows, wrong = connection.execute(statement).one()
        return int(rows), int(wrong or 0)

    def kept(self, view: KeptQuery) -> Figures:  # noqa: ARG002 - the default
        raise DesignProblem(f"databases.{self.adapter.name}: it keeps no materialised views that could be compared")

    def source(self, schema: Schema, idea: Idea) -> str:
        statement = Trying(schema, self.exactly).source(idea)
        compiled = statement.compile(dialect=self.adapter.engine.dialect, compile_kwargs={"literal_binds": True})
        return str(compiled)


def _name(schema: str | None, table: str) -> str:
    return f"{schema}.{table}" if schema else table


def _table(name: str) -> sa.TableClause:
    schema, _, bare = name.rpartition(".")
    return sa.table(bare, schema=schema or None)


def _declared(schema: str | None, held: Any) -> Declared:
    return Declared(
        columns=tuple(held["constrained_columns"]),
        table=_name(held["referred_schema"] or schema, held["referred_table"]),
        to=tuple(held["referred_columns"]),
    )


def _partial(index: Any) -> bool:
    return any(key.endswith("_where") and value is not None for key, value in index.get("dialect_options", {}).items())
