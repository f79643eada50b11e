"""What DuckDB's database files and plain files have in common: types, comparing, reading, errors.

The driver hands out some values that are not quite what the database holds: an infinite date as the year 9999, a
nanosecond timestamp cut to microseconds, a 32-bit float as the 64-bit float next to it. Such types are read by an
expression that keeps the value, or fails.
"""

from __future__ import annotations

import tempfile
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
from trueup.adapters._dialect import Expression, Named, Verbatim
from trueup.adapters._duckdb_dialect import NAME, DriverConnection, TimeLimit
from trueup.adapters._duckdb_examiner import DuckdbExaminer
from trueup.adapters._relations import Relations
from trueup.adapters._results import message
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import BoundSide, Column
from trueup.core.guarantee import Writing
from trueup.core.row import Key, Kind, Value
from trueup.core.values import plain
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
#: Digits of its widest decimal; the driver makes a float of a longer one.
DECIMAL_DIGITS = 38

_KINDS = {
    "BOOLEAN": Kind.BOOLEAN,
    "FLOAT": Kind.FLOAT,
    "DOUBLE": Kind.FLOAT,
    "VARCHAR": Kind.TEXT,
    "BLOB": Kind.BYTES,
    "UUID": Kind.UUID,
    "JSON": Kind.JSON,
    "DATE": Kind.DATE,
    "TIME": Kind.TIME,
    "TIMESTAMP": Kind.TIMESTAMP,
    "TIMESTAMP_S": Kind.TIMESTAMP,
    "TIMESTAMP_MS": Kind.TIMESTAMP,
    "TIMESTAMP_NS": Kind.TIMESTAMP,
    "TIMESTAMP WITH TIME ZONE": Kind.INSTANT,
    '"NULL"': Kind.ANY,
}
_BITS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64, "HUGEINT": 128}
#: Integer types, and the least and greatest value of each.
_INTEGERS = {name: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for name, bits in _BITS.items()}
_INTEGERS |= {f"U{name}": (0, 2**bits - 1) for name, bits in _BITS.items()}
_HUGEINT = _INTEGERS["HUGEINT"]
_NS = "TIMESTAMP_NS"
#: Years that a nanosecond timestamp can have in full.
_NS_YEARS = range(1678, 2262)


class _Moment(Named):
    """A date or timestamp: the driver makes the year 9999 of infinity, and needs a package for time zones."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        plain: sa.ColumnElement[Any] = column
        if self.name == "TIMESTAMP WITH TIME ZONE":
            plain = sa.func.timezone("UTC", column)
        if self.name == _NS:
            plain = _only(sa.func.epoch_ns(column) % 1000 == 0, sa.cast(column, sa.DateTime), "has nanoseconds")
        return _only(~sa.func.isinf(column), plain, "is infinite")


class _Real(Named):
    """A 32-bit float, by its shortest spelling: 0.1 and not 0.10000000149011612."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return _real(column)


def _real(expression: Expression) -> Expression:
    return sa.cast(sa.cast(expression, sa.Text), sa.Double)


def _only(holds: Expression, value: Expression, otherwise: str) -> Expression:
    """`value` where `holds` is not false, else an error: better no answer than one with digits cut."""
    problem = f"a {otherwise.partition(' ')[2]} date or timestamp"
    return sa.case((holds.is_(False), sa.func.error(problem)), else_=value)


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
            return _Real("FLOAT")
        if column.kind in (Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT):
            return _Moment(column.type_name)
        return _TYPES[column.kind]

    def can_hold(self, column: Column, value: Value) -> bool:
        if isinstance(value, int) and column.type_name in _INTEGERS:
            least, greatest = _INTEGERS[column.type_name]
            return bool(least <= value <= greatest)
        if column.type_name == _NS and isinstance(value, date):
            return value.year in _NS_YEARS
        return not isinstance(value, str) or column.kind in (Kind.TEXT, Kind.ANY, Kind.OPAQUE)

    def spell(self, column: Column, value: Value) -> Value:  # noqa: ARG002 - the value's own type says it
        if isinstance(value, Decimal) and value.is_finite() and len(f"{value:f}") > DECIMAL_DIGITS:
            return f"{value:f}"
        if isinstance(value, int) and not _HUGEINT[0] <= value <= _HUGEINT[1]:
            return str(value)
        return plain(value)

    def read_as(self, column: Column, expression: Expression) -> Expression:
        if column.type_name.startswith("ENUM("):
            return sa.cast(expression, sa.Text)  # its own order is that of its declaration
        return expression

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal("")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        kinds = {source.kind, target.kind}
        if kinds == {Kind.TEXT}:
            return sa.collate(sa.cast(a, sa.Text), self.collation).is_distinct_from(
                sa.collate(sa.cast(b, sa.Text), self.collation)
            )
        if Kind.OPAQUE in kinds:  # an interval of a month equals one of thirty days, and they are not the same
            return sa.cast(a, sa.Text).is_distinct_from(sa.cast(b, sa.Text))
        if source.type_name == target.type_name:
            return a.is_distinct_from(b)
        if kinds <= _NUMBERS:
            return _numbers_differ(source, target, a, b)
        return self._plain(source, a).is_distinct_from(self._plain(target, b))

    def _plain(self, column: Column, expression: Expression) -> Expression:
        """A moment as the driver hands it out; DuckDB rounds nanoseconds where it compares them with less."""
        return _Moment(column.type_name).column_expression(expression) if column.type_name == _NS else expression

    # --- shape ---------------------------------------------------------------------------------------------------

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        """Columns of a query; no row is read."""
        return {name: column_of(name, str(type_)) for name, type_, *_ in self.describe_query(connection, query)}

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
        words = f"{self.where}: {message(error)}"
        if isinstance(original, TimeLimit):
            return StatementTimeout(f"{self.where}: a statement took longer than {self.database.statement_timeout:g} s")
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


_NUMBERS = {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN}
_TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.ANY: sa.types.NullType(),
    Kind.BOOLEAN: sa.Boolean(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.DECIMAL: sa.Numeric(),
    Kind.FLOAT: sa.Double(),
    Kind.TEXT: sa.Text(),
    Kind.UUID: sa.Uuid(),
    Kind.TIME: sa.Time(),
    Kind.JSON: sa.Text(),
}


def column_of(
    name: str, type_name: str, *, nullable: bool = True, required: bool = False, generated: bool = False
) -> Column:
    """A column by DuckDB's name of its type."""
    kind = _KINDS.get(type_name, Kind.OPAQUE)
    if type_name in _INTEGERS:
        kind = Kind.INTEGER
    if type_name.startswith("DECIMAL("):
        kind = Kind.DECIMAL
    if type_name.startswith("ENUM("):
        kind = Kind.TEXT
    return Column(name=name, kind=kind, type_name=type_name, nullable=nullable, required=required, generated=generated)


def _numbers_differ(source: Column, target: Column, a: Expression, b: Expression) -> Expression:
    """Numbers of two types, compared without making one of them a float, where 2**53 equals 2**53 + 1."""
    if source.kind is Kind.FLOAT and target.kind is Kind.FLOAT:
        return _real(a).is_distinct_from(_real(b))
    if target.kind is Kind.FLOAT:
        source, target, a, b = target, source, b, a
    if source.kind is not Kind.FLOAT:
        return _digits(source, a).is_distinct_from(_digits(target, b))
    # A float is the number that its shortest spelling says: as an exact number it is b, and b read as a float is it.
    exact: Expression = sa.cast(b, sa.Integer) if target.kind is Kind.BOOLEAN else b
    type_name = "INTEGER" if target.kind is Kind.BOOLEAN else target.type_name
    spelt = sa.cast(a, sa.Text)
    same = (sa.try_cast(spelt, Named(type_name)) == exact) & (sa.cast(sa.cast(exact, sa.Text), sa.Double) == _real(a))
    return ~sa.func.coalesce(same, a.is_(None) & b.is_(None))


def _digits(column: Column, expression: Expression) -> Expression:
    """An exact number as text, one text for each number."""
    if column.kind is Kind.BOOLEAN:
        expression = sa.cast(expression, sa.Integer)
    text = sa.cast(expression, sa.Text)
    whole = column.kind is not Kind.DECIMAL or column.type_name.endswith(",0)")  # its zeros are all of its digits
    return text if whole else sa.func.rtrim(sa.func.rtrim(text, "0"), ".")


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
