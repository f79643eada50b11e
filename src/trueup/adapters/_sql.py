"""What SQL adapters share: engine, sessions, reading in batches, comparing inside the database, repair units.

A concrete adapter gives types, dialect functions, session settings and the translation of its driver's errors.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from trueup.adapters import DIFFERENCES_MAX, Capabilities, FoundTable, Look, OneStatement, Packer, Stream
from trueup.adapters import _markers as markers
from trueup.adapters._built import Built
from trueup.adapters._copies import Sandboxing
from trueup.adapters._dialect import Expression
from trueup.adapters._hashing import Hashed, given
from trueup.adapters._relations import Relations, user_query
from trueup.adapters._repairing import Repairing
from trueup.adapters._results import RowStream, any_type, look_of, message, translating
from trueup.adapters._row_hash import Way
from trueup.adapters._unequal import by_meaning, unequal
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.digest import Digests, Hashing, Prints, RowHash
from trueup.core.partition import Slice
from trueup.core.plan import Everything, Part, Range
from trueup.core.projection import Database, Side
from trueup.core.row import Key, Kind, Value, canonical
from trueup.core.rules import Rule
from trueup.errors import ConfigError, DesignProblem, TrueupError
from trueup.urls import parsed

if TYPE_CHECKING:
    from trueup.core.quiet import Happened

#: Kinds of keys of which a text is only one spelling.
SPELT = frozenset({Kind.UUID, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT})


class SqlAdapter(Repairing):
    """Base of the SQL adapters."""

    capabilities: Capabilities

    def __init__(self, name: str, database: Database) -> None:
        self.name = name
        self.database = database
        try:
            parsed(database.url.get_secret_value())
        except ValueError as wrong:
            raise ConfigError(f"databases.{name}.url: {wrong}") from None
        self.engine = self._create_engine(database)
        self.reached = False  # once it was, an attempt to connect that fails may pass
        #: Whether the marker tables may be used; settled when the first fence is raised.
        self.markers = database.markers
        self.relations: Relations = self.relations_type(self)
        self.built = Built()
        self.hashed = Hashed(self.relations, self.ways(), self.built)

    # --- what a concrete adapter gives ---------------------------------------------------------------------------

    #: See `Dialect`.
    collation: str
    full_join = True
    skips = False
    array_of: Callable[[Sequence[Value]], str] | None = None
    #: Columns that it compares inside, at most: a statement about many more is longer or deeper than it takes.
    columns_inside = 250
    #: How it renders sides and segments, and how it reads rows.
    relations_type: type[Relations] = Relations
    stream_type: type[RowStream] = RowStream

    @property
    def packer(self) -> Packer | None:
        """Who deals with many rows at once."""
        from trueup.adapters._lots import RowPacker

        return RowPacker(self)

    @property
    def one_statement(self) -> OneStatement | None:
        """Who asks of many segments by one statement."""
        return None

    @property
    def sandbox(self) -> Sandboxing | None:
        """Who makes copies of rows to try a backfill on."""
        return None

    @abstractmethod
    def _create_engine(self, database: Database) -> sa.Engine: ...

    @abstractmethod
    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        """SQLAlchemy's type for a column, so that values are bound as what they are."""

    @abstractmethod
    def spell(self, column: Column, value: Value) -> Value:
        """A canonical value as this driver wants it."""

    def can_hold(self, column: Column, value: Value) -> bool:
        """False if no row of this column can have this value, and asking for it would be an error."""
        return column.kind is not Kind.BOOLEAN or value in (0, 1)

    def read_as(self, column: Column, expression: Expression) -> Expression:  # noqa: ARG002 - the default
        """`expression` in the form in which the column's values are compared."""
        return expression

    def among(self, part: Expression, type_: sa.types.TypeEngine[Any], values: list[Value]) -> Expression:
        """`part` is one of `values`, which are spelt for the driver."""
        return part.in_([sa.bindparam(None, value, type_=type_) for value in values])

    @abstractmethod
    def token_of(self, side: BoundSide) -> Expression:
        """The row version of a target row, as text; '' where there is none."""

    @abstractmethod
    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        """NULL-safe "is not the same value"."""

    def by_meaning(self, source: Column, target: Column) -> bool:
        """Does `differ` give the answer that Python gives on the values?"""
        return by_meaning(source, target)

    def beyond(
        self,
        rule: Rule,  # noqa: ARG002 - the default
        source: Column,  # noqa: ARG002
        target: Column,  # noqa: ARG002
        a: Expression,  # noqa: ARG002
        b: Expression,  # noqa: ARG002
    ) -> Expression | None:
        """Two values, neither NULL, are further apart than `rule` tolerates.

        None where this database cannot say so exactly: the rows are then read, and compared here.
        """
        return None

    def inside(self, binding: Binding) -> bool:
        """Can this database compare every column exactly by itself, in one statement?"""
        nothing: Expression = sa.null()
        sides = list(zip(binding.source.values, binding.target.values, strict=True))
        told = all(self.by_meaning(source, target) for source, target in sides) and all(
            rule.tolerance is None or self.beyond(rule, source, target, nothing, nothing) is not None
            for rule, (source, target) in zip(binding.rules, sides, strict=False)
        )
        return told and len(sides) <= self.columns_inside

    @abstractmethod
    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:
        """`statement`, locking its rows against writers; rows that are locked are passed over unless `wait`."""

    @abstractmethod
    def translate(self, error: SQLAlchemyError) -> TrueupError:
        """The one place where the driver's errors become ours."""

    def answered(
        self,
        connection: sa.Connection,
        statement: sa.Executable,
        given: Mapping[str, Value] | None = None,
        *,
        where_to_look: bool = False,  # noqa: ARG002
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        """All rows of the answer to a statement; `given` are the values of its slots. Every answer that is believed, as
        it is or by what is not in it, comes from here, from a stream, or from digests, which may be cut off.

        Raises BrokenRead if the database says besides that it did not read to the end, and DataProblem if it made a
        value of one that is none: unless the values only tell `where_to_look`, and are asked for again there. Most say
        so by an error of the statement itself.
        """
        return connection.execute(statement, given).fetchall()

    # --- sessions ------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection in a read-only transaction."""
        with self._session(self.reading_options) as connection:
            yield connection

    def reading_once(self) -> AbstractContextManager[sa.Connection]:
        """A connection for one statement that reads, or for several that need not see the same moment."""
        return self.reading()

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A connection in a transaction that commits at the end, or rolls back if anything goes wrong."""
        with self._session(self.writing_options) as connection:
            self.begin_writing(connection)
            yield connection
            connection.commit()

    #: SQLAlchemy execution options of the two kinds of transaction.
    reading_options: Mapping[str, Any] = MappingProxyType({})
    writing_options: Mapping[str, Any] = MappingProxyType({})

    @contextmanager
    def _session(self, options: Mapping[str, Any]) -> Iterator[sa.Connection]:
        with translating(self), self.engine.connect().execution_options(**options) as connection:
            self.reached = True
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    def schemas(self, inspector: sa.Inspector) -> list[str]:
        """Schemas whose tables are listed."""
        return [name for name in inspector.get_schema_names() if name not in ("information_schema", "pg_catalog")]

    def tables(self) -> list[FoundTable]:
        with self.reading() as connection:
            inspector = sa.inspect(connection)
            found = []
            for schema in self.schemas(inspector):
                for name in inspector.get_table_names(schema):
                    key = inspector.get_pk_constraint(name, schema)["constrained_columns"]
                    with any_type():
                        columns = tuple(column["name"] for column in inspector.get_columns(name, schema))
                    full = name if schema == inspector.default_schema_name else f"{schema}.{name}"
                    if name not in markers.MARKER_TABLES.tables:
                        found.append(FoundTable(name=full, columns=columns, key=tuple(key)))
        return sorted(found, key=lambda table: table.name)

    # --- reading -------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        with self.reading() as connection:
            if side.table is not None:
                return self.describe_table(connection, side.table)
            columns = self.query_columns(connection, side.query or "")
        return Shape(columns=columns, dialect=self.capabilities.dialect)

    @abstractmethod
    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        """Columns and unique indexes of a table. Raises ConfigError if it is not there."""

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        """Columns of a query; by default the database tells their names, and no types."""
        names = [item[0] for item in self.describe_query(connection, query)]
        return {name: Column(name=name, kind=Kind.ANY, type_name="") for name in names}

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        ordered = isinstance(segment, Everything | Range)
        statement = partial(self.relations.rows, side, segment, tokens=tokens, order=ordered)
        return self.stream_type(self, binding, side, statement, tokens=tokens)

    def differences(self, binding: Binding, segment: Part) -> Look | None:
        if not self.inside(binding):
            return None
        with self.reading_once() as connection:
            repeated = self.repeated(connection, binding, segment)
            rows = [] if repeated else self.compared(connection, binding, segment)
        return look_of(binding, rows) if rows else None

    def repeated(self, connection: sa.Connection, binding: Binding, segment: Part) -> bool:
        """Does some key of `segment` occur more than once? What is compared next would pair its rows wrongly."""
        sides = [side for side in (binding.source, binding.target) if not side.unique]
        return any(self.answered(connection, self.relations.repeats(side, segment)) for side in sides)

    def compared(self, connection: sa.Connection, binding: Binding, segment: Part) -> Sequence[sa.Row[Any]]:
        """The figures of a comparison, then the rows that differ; nothing if some key occurs more than once."""
        return self.answered(connection, *self.comparison_of_any(binding, segment))

    def comparison(self, binding: Binding, segment: Part) -> sa.CompoundSelect[Any]:
        """The statement that compares `segment` inside the database."""
        return self.relations.differences(binding, segment, partial(unequal, self, binding), DIFFERENCES_MAX)

    def comparison_of_any(self, binding: Binding, segment: Part) -> tuple[sa.CompoundSelect[Any], dict[str, Value]]:
        """The same with slots for the ends of `segment`, built once, and what goes into them."""
        slotted, ends = self.relations.slotted((binding.source, binding.target), segment)
        if not ends:
            return self.comparison(binding, segment), {}
        return self.built.once(binding, slotted, lambda: self.comparison(binding, slotted)), ends

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:
        odd = self.relations.misspelt_cut(binding, side)
        if odd is None:
            return
        with self.reading() as connection:
            found = self.answered(connection, odd)
        if found:
            raise DesignProblem(
                f"projections.{binding.projection.name}.partition.column: {side.cut and side.cut.name!r} in "
                f"databases.{self.name} holds {found[0][0]!r}, which is not how it spells a {binding.cut_kind} "
                f"elsewhere, so no partition would have it: bring the column to one spelling"
            )

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        by_time = binding.projection.partition.by == "time"
        with self.reading() as connection:
            if not by_time:
                values = self.answered(connection, self.relations.cut_values(side), where_to_look=True)
                return [value for (value,) in values]
            extent = self.relations.cut_extent(side)
            ((least, greatest, nulls),) = self.answered(connection, extent, where_to_look=True)
            return [value for value in (least, greatest) if value is not None] + [None] * bool(nulls)

    def misspelt(self, column: Column, kind: Kind, part: Expression, *, time: bool) -> Expression | None:  # noqa: ARG002
        """Holds for a value that is not spelt as a partition's border or value would be; `time`: it has to be one.

        None where the database holds values and not their spellings.
        """
        return None

    def greatest(self, side: BoundSide) -> Value:
        _, columns = self.relations.columns(side)
        with self.reading() as connection:
            ((found,),) = self.answered(connection, sa.select(sa.func.max(columns[0])))
        return found

    def tally(self, side: BoundSide, part: Range, wanted: Sequence[tuple[Column, Slice]]) -> list[int] | None:
        with self.reading_once() as connection:
            (counted,) = self.answered(connection, self.relations.tally(side, part, wanted))
        return [*counted]

    def happened(self, binding: Binding, keys: Sequence[Key]) -> Happened:
        from trueup.adapters._events import happened

        with self.reading() as connection:
            return happened(partial(self.answered, connection), self.relations, binding, keys)

    def only_spells(self, column: Column, kind: Kind) -> bool:
        """Does a key column hold spellings of `kind`, of which a look-up finds one?"""
        return column.kind is Kind.TEXT and kind in SPELT

    def check_keys(self, binding: Binding, side: BoundSide, rows: Sequence[Sequence[Value]]) -> None:
        """Raise DesignProblem if a key that was read could not be looked up by its canonical value. Most can be."""
        spelled = len(side.key) + side.looked_up
        for at, (column, kind) in enumerate(zip(side.columns[:spelled], binding.kinds[:spelled], strict=True)):
            values = [row[at] for row in rows] if self.only_spells(column, kind) else []
            for value, meant in zip(values, canonical(kind, values), strict=True):
                if value is not None and self.spell(column, meant) != value:
                    raise DesignProblem(
                        f"projections.{binding.projection.name}: key column {column.name!r} in databases.{self.name} "
                        f"holds {value!r}, which is not how it spells a {kind} elsewhere. Look-ups would miss it: "
                        f"bring the column to one spelling, or compare it as text"
                    )

    def describe_query(self, connection: sa.Connection, query: str) -> Sequence[Any]:
        """The driver's description of a query's columns; no row is read.

        Raises ConfigError if the database refuses the query.
        """
        asked = user_query(query, self.capabilities.dialect).columns().subquery("q")
        probe: sa.Select[Any] = sa.select(sa.literal_column("*")).select_from(asked).limit(0)
        try:
            result = connection.execute(probe)
        except SQLAlchemyError as error:
            raise ConfigError(f"databases.{self.name}: the query is refused: {message(error)}") from error
        assert result.cursor is not None
        return self.described(result.cursor)

    def described(self, cursor: Any) -> Sequence[Any]:
        """The driver's description of the columns of a cursor's result."""
        return list(cursor.description)

    def explain(self, connection: sa.Connection, prefix: str, statement: sa.Executable) -> Sequence[sa.Row[Any]]:
        """The database's plan of `statement`."""
        compiled = statement.compile(dialect=self.engine.dialect)  # type: ignore[attr-defined]
        return connection.exec_driver_sql(f"{prefix} {compiled.string}", given(compiled)).fetchall()

    # --- hashing rows --------------------------------------------------------------------------------------------

    def ways(self) -> Sequence[Way]:
        """Ways to hash rows inside this database, the cheapest first."""
        return ()

    def hashes(self) -> list[RowHash]:
        if not self.hashed.ways:
            return []
        with self.reading() as connection:
            return self.hashed.offers(connection)

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        with self.reading() as connection:
            return self.hashed.digests(connection, side, part, hashing)

    def prints(self, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        with self.reading_once() as connection:
            return self.hashed.prints(partial(self.answered, connection), side, part, hashing)

    def row_hash(self, side: BoundSide, hashing: Hashing) -> Column:
        return self.hashed.column(self.engine.dialect, side, hashing)

    def connections(self) -> int:
        return self.database.readers
