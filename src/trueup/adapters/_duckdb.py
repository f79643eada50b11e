"""What DuckDB's database files and plain files have in common: comparing, reading, errors."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from functools import cache
from types import MappingProxyType
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from trueup.adapters import Capabilities
from trueup.adapters import _duckdb_values as held
from trueup.adapters._dialect import Expression, Named, Verbatim
from trueup.adapters._duckdb_dialect import NAME, DriverConnection, TimeLimit
from trueup.adapters._duckdb_examiner import DuckdbExaminer
from trueup.adapters._relations import Relations
from trueup.adapters._results import message
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import BoundSide, Column
from trueup.core.guarantee import Writing
from trueup.core.plan import Part
from trueup.core.row import Key, Kind, Value
from trueup.core.side import FILES
from trueup.core.values import as_single, plain
from trueup.errors import (
    Busy,
    ConnectionFailed,
    DataProblem,
    DesignProblem,
    Interrupted,
    StatementTimeout,
    Transient,
    TrueupError,
)

#: Memory that DuckDB may use for our reading, where the URL does not say; what does not fit is spilled to disk.
MEMORY = "512MB"


class DuckdbRelations(Relations):
    """Relations as DuckDB wants them."""

    def beyond(self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool) -> Expression:
        """Spelt out: of two comparisons of rows the optimizer makes a BETWEEN, which its executor refuses. The bound on
        the first part alone lets whole row groups be passed over.
        """
        choices = self._part_by_part(columns, parts, key, above=above)
        border = self.border(columns[0], key[0])
        first = parts[0] >= border if above else parts[0] <= border
        return sa.and_(first, sa.or_(*choices)) if len(parts) > 1 else choices[0]

    def _is_one_of(self, columns: Sequence[Column], parts: Sequence[Expression], keys: Sequence[Key]) -> Expression:
        """A text is looked up as the moment or UUID that it spells: DuckDB does so by itself, but in a comparison of
        rows, where it spells the value; and of a text that spells none it makes an error.
        """
        found = defaultdict(list)
        for key in keys:
            found[tuple(map(held.spelled_type, columns, key))].append(key)
        choices = []
        for types, some in found.items():
            read = [held.read_as(*each) for each in zip(columns, parts, types, strict=True)]
            choices.append(super()._is_one_of([column for column, _ in read], [part for _, part in read], some))
        return sa.or_(sa.false(), *choices)

    def same(self, column: Column, part: Expression, value: Value) -> Expression:
        return super().same(*held.read_as(column, part, held.spelled_type(column, value)), value)

    def _side(self, side: BoundSide, segment: Part) -> tuple[list[Expression], list[Expression], list[Expression]]:
        """A key that is found on one side only is handed out as that of the other would be: as it is read, or not."""
        keys, values, within = super()._side(side, segment)
        return [held.plain_moment(column, key) for column, key in zip(side.key, keys, strict=True)], values, within


class DuckdbReader(SqlAdapter):
    """Reads through DuckDB; where from, a subclass says."""

    capabilities = Capabilities(
        dialect="duckdb", writing=Writing(row_locks=False, row_version=False, single_writer=True), embedded=True
    )
    collation = "C"
    examiner_type = DuckdbExaminer
    relations_type = DuckdbRelations
    reading_options: Mapping[str, Any] = MappingProxyType({"trueup_begin": "BEGIN TRANSACTION READ ONLY"})
    writing_options: Mapping[str, Any] = MappingProxyType({"trueup_begin": "BEGIN TRANSACTION"})
    #: How long opening waits for a process that has the file, seconds.
    patience_s = 10.0
    #: Settings of DuckDB that the URL gives.
    settings: Mapping[str, str] = MappingProxyType({})

    def _engine(self, connect: Any) -> sa.Engine:
        """An engine whose connections are closed after use: an open one keeps other processes out."""

        def open_() -> DriverConnection:
            driver = connect()
            driver.execute("SET TimeZone = 'UTC'")
            return DriverConnection(driver, statement_timeout_s=self.database.statement_timeout)

        engine = sa.create_engine(f"{NAME}://", creator=open_, poolclass=NullPool)
        sa.event.listen(engine, "begin", _on_begin)
        return engine

    def configuration(self) -> dict[str, Any]:
        """DuckDB's settings for a database that only we read."""
        return {
            "memory_limit": MEMORY,
            "autoinstall_known_extensions": "false",
            "temp_directory": self.settings.get("temp_directory") or _spill().name,
            **self.settings,
        }

    # --- types ---------------------------------------------------------------------------------------------------

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        if column.kind in (Kind.OPAQUE, Kind.INCOMPARABLE):
            return Verbatim(column.type_name)
        if column.type_name == "FLOAT":
            return held.Whole("FLOAT") if column.exact else held.Real("FLOAT")
        if column.kind is Kind.INTERVAL:
            return held.Span("INTERVAL")
        if column.kind is Kind.ARRAY:
            return Named(column.type_name)
        if column.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT):
            return held.Moment(column.type_name)
        return held.TYPES[column.kind]

    def can_hold(self, column: Column, value: Value) -> bool:
        if not super().can_hold(column, value):
            return False
        if isinstance(value, int) and column.type_name in held.INTEGERS:
            least, greatest = held.INTEGERS[column.type_name]
            return bool(least <= value <= greatest)
        if column.type_name == held.NS and isinstance(value, date):
            return value.year in held.NS_YEARS
        if isinstance(value, int | float | Decimal) and column.kind is Kind.TEXT:
            return False  # a text is no number, whatever it spells
        return not isinstance(value, str) or column.kind in held.AS_TEXT

    def spell(self, column: Column, value: Value) -> Value:
        if isinstance(value, Decimal) and value.is_finite() and len(f"{value:f}") > held.DECIMAL_DIGITS:
            return f"{value:f}"
        if isinstance(value, int) and not held.HUGEINT[0] <= value <= held.HUGEINT[1]:
            return str(value)
        if column.kind is Kind.INTERVAL and isinstance(value, str):
            return held.span(value)
        if column.type_name == "FLOAT":
            return as_single(value)
        return held.listed(value) if isinstance(value, tuple) else plain(value)

    def read_as(self, column: Column, expression: Expression) -> Expression:
        if column.type_name.startswith("ENUM("):
            return sa.cast(expression, sa.Text)  # its own order is that of its declaration
        return expression

    def only_spells(self, column: Column, kind: Kind) -> bool:  # noqa: ARG002 - it reads a text as what it is asked for
        return False

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal("")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        kinds = {source.kind, target.kind}
        if kinds == {Kind.TEXT}:
            return sa.collate(sa.cast(a, sa.Text), self.collation).is_distinct_from(
                sa.collate(sa.cast(b, sa.Text), self.collation)
            )
        if kinds & {Kind.OPAQUE, Kind.INTERVAL}:  # a month equals thirty days, and is not the same
            return sa.cast(a, sa.Text).is_distinct_from(sa.cast(b, sa.Text))
        if source.type_name == target.type_name:
            return a.is_distinct_from(b)
        if kinds <= held.NUMBERS:
            return held.numbers_differ(source, target, a, b)
        return held.plain_moment(source, a).is_distinct_from(held.plain_moment(target, b))

    def by_meaning(self, source: Column, target: Column) -> bool:
        kinds = {source.kind, target.kind}
        if kinds == {Kind.ARRAY}:
            return source.type_name == target.type_name
        return kinds == {Kind.INTERVAL} or super().by_meaning(source, target)

    # --- shape ---------------------------------------------------------------------------------------------------

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        """Columns of a query; no row is read."""
        return {name: held.column_of(name, str(type_)) for name, type_, *_ in self.describe_query(connection, query)}

    # --- one writer ----------------------------------------------------------------------------------------------

    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:  # noqa: ARG002
        return statement  # nobody else can write: see `single_writer`

    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:
        return sa.insert(table).values(row).prefix_with("OR IGNORE")

    def begin_writing(self, connection: sa.Connection) -> None:
        """Opening the file for writing has shut everybody else out."""

    def begin_fencing(self, connection: sa.Connection) -> None:
        """Opening the file for writing has waited for every other unit."""

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        original = error.orig if isinstance(error, DBAPIError) else None
        words = f"{self.where}: {message(error).removeprefix('Invalid Input Error: ')}"
        if isinstance(original, TimeLimit):
            limit = "" if self.name == FILES else f"; the limit is databases.{self.name}.statement_timeout"
            return StatementTimeout(
                f"{self.where}: a statement took longer than {self.database.statement_timeout:g} s{limit}"
            )
        if isinstance(original, duckdb.InterruptException):
            return Interrupted(f"{self.where}: cut off in the middle of a statement; run again to go on")
        if isinstance(original, duckdb.IOException):
            return _input_output(words)
        if isinstance(original, duckdb.ConnectionException):
            return Busy(f"{self.where}: this process has the file open in another way (read-only, or other settings)")
        if isinstance(original, duckdb.TransactionException | duckdb.SerializationException):
            return DesignProblem(words) if "read-only" in words else Busy(words)
        if isinstance(original, duckdb.OutOfMemoryException):
            return DesignProblem(f"{words}; allow more with ?memory_limit=2GB at the end of the URL")
        refused = (duckdb.IntegrityError, duckdb.DataError, duckdb.InvalidInputException)
        return DataProblem(words) if isinstance(original, refused) else DesignProblem(words)

    @property
    def where(self) -> str:
        """The database in messages."""
        return f"databases.{self.name}"


@cache
def _spill() -> tempfile.TemporaryDirectory[str]:
    """Where rows go that do not fit into memory: a folder that nobody else can read or foresee, gone with the process.

    One for all adapters, since DuckDB opens a file twice in one process only with the same settings.
    """
    return tempfile.TemporaryDirectory(prefix="trueup-duckdb-")


def _input_output(words: str) -> TrueupError:
    if "Could not set lock" in words:
        return Busy(f"{words}. DuckDB lets one process write a file, or several read it")
    if "No space left" in words or "out of disk" in words.lower():
        return Transient(words)
    if any(part in words for part in ("does not exist", "not a valid DuckDB", "Cannot open", "Permission denied")):
        return ConnectionFailed(words)
    return DesignProblem(words)


def _on_begin(connection: sa.Connection) -> None:
    driver: Any = connection.connection.dbapi_connection
    driver.begin(connection.get_execution_options().get("trueup_begin", "BEGIN TRANSACTION READ ONLY"))
