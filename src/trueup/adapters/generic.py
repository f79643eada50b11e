"""Any other database that SQLAlchemy has a dialect for (Snowflake, BigQuery, Trino, Oracle, …): read-only.

Nothing is assumed that SQL and SQLAlchemy do not give: a side is read in key order, in one pass. Text has no order that
is known to be binary here, and no equality that is known to be exact, so text cannot be a key. The order that comes is
tested against the order that comparing needs, so a database that sorts in another way is a broken read and no drift.
Repairing needs locks, versions and a marker table whose behaviour was shown under live writes: none of it was shown
here, so a target is only reported.

Nor is a driver believed that hands out less than there is: an instant without its zone, or a moment of a column that
has nanoseconds, which Python's types cut to microseconds. Such columns are refused, and the reason says what to write.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, time, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

from trueup.adapters import Capabilities, Look, Stream, Survey, known, scheme_of
from trueup.adapters._dialect import Expression
from trueup.adapters._read_only import NO_WRITING, ReadOnly
from trueup.adapters._results import RowStream, message
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.plan import Part
from trueup.core.projection import Database
from trueup.core.row import TIMES, Kind, Value
from trueup.errors import ConfigError, ConnectionFailed, DataProblem, DesignProblem, Transient, TrueupError

#: SQLAlchemy's type -> kind; the first that fits. What is not listed has no exact rule.
_KINDS: tuple[tuple[type[sa.types.TypeEngine[Any]], Kind], ...] = (
    (sa.Boolean, Kind.BOOLEAN),
    (sa.Integer, Kind.INTEGER),
    (sa.Float, Kind.FLOAT),
    (sa.Numeric, Kind.DECIMAL),
    (sa.Uuid, Kind.UUID),
    (sa.Enum, Kind.TEXT),
    (sa.String, Kind.TEXT),
    (sa.LargeBinary, Kind.BYTES),
    (sa.DateTime, Kind.TIMESTAMP),
    (sa.Date, Kind.DATE),
    (sa.Time, Kind.TIME),
)
#: Digits of a second that Python's times have.
_MICROSECONDS = 6
#: In the name of a type: its values are instants, whatever SQLAlchemy's flag says (`DATETIMEOFFSET`, `TIMESTAMP_TZ`).
_ZONED = re.compile(r"OFFSET|(?<!N)TZ|WITH (?:LOCAL )?TIME ZONE", re.IGNORECASE)
_MIDNIGHT = time()
#: Place of the number of digits in a driver's description of a column.
_SCALE = 5
#: SQLAlchemy's name of a dialect -> SQLGlot's, where they differ.
_SQLGLOT = {
    "mssql": "tsql",
    "awsathena": "athena",
    "chdb": "clickhouse",
    "clickhousedb": "clickhouse",
    "exa": "exasol",
    "teradatasql": "teradata",
}


def connect(name: str, database: Database) -> GenericAdapter:
    return GenericAdapter(name, database)


class _Moment(sa.types.TypeDecorator[Any]):
    """Dates and times as the kind that they are compared in; one that does not tell what it is, is an error."""

    impl = sa.types.NullType
    cache_ok = True

    def __init__(self, where: str, kind: Kind) -> None:
        super().__init__()
        self.where = where
        self.kind = kind

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        zoned = getattr(value, "tzinfo", None) is not None
        if getattr(value, "nanosecond", 0):
            raise DesignProblem(f"{self.where} holds nanoseconds: {_cast_to_microseconds()}")
        if self.kind is Kind.INSTANT and isinstance(value, datetime) and not zoned:
            raise DesignProblem(
                f"{self.where} holds instants, and the driver hands them out without saying in which zone. Convert it "
                f"to UTC and cast it to text that ends with +00:00 in the source query"
            )
        if self.kind in (Kind.TIMESTAMP, Kind.TIME) and zoned:
            raise DesignProblem(
                f"{self.where} holds values with a time zone, and is compared without. Convert it to a {self.kind} "
                f"without time zone in the source query"
            )
        if self.kind is Kind.TIME and isinstance(value, timedelta) and timedelta() <= value < timedelta(days=1):
            return (datetime.min + value).time()  # noqa: DTZ901 - only its clock is looked at
        if self.kind is Kind.DATE and isinstance(value, datetime) and not zoned and value.time() == _MIDNIGHT:
            return value.date()
        return value


class GenericStream(RowStream):
    """Rows of a driver that says of no column that it has more digits than it hands out."""

    @contextmanager
    def _execute(self, connection: sa.Connection) -> Iterator[sa.CursorResult[Any]]:
        with super()._execute(connection) as result:
            described = (result.cursor.description or []) if result.cursor is not None else []
            for column, told in zip(self._side.columns, described, strict=False):
                timed = column.kind in (Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT)
                digits: Any = told[_SCALE] if len(told) > _SCALE else None
                if timed and digits is not None and digits > _MICROSECONDS:
                    where = _where(self._adapter.name, column)
                    raise DesignProblem(f"{where} has {digits} digits of a second: {_cast_to_microseconds()}")
            yield result


class GenericAdapter(ReadOnly):
    """Reads a database by its SQLAlchemy dialect alone."""

    collation = ""
    full_join = False
    stream_type = GenericStream

    def _create_engine(self, database: Database) -> sa.Engine:
        url = database.url.get_secret_value()
        try:
            engine = sa.create_engine(url, pool_pre_ping=True)
        except NoSuchModuleError:
            raise ConfigError(
                f"databases.{self.name}.url: no adapter for {scheme_of(url)!r}; there are adapters for "
                f"{', '.join(known())}, and any other database can be read whose SQLAlchemy dialect is installed"
            ) from None
        except ModuleNotFoundError as missing:
            raise ConfigError(
                f"databases.{self.name}: the driver {missing.name!r} of SQLAlchemy's dialect for {scheme_of(url)!r} is "
                f"not installed; pip install {missing.name}"
            ) from missing
        self.capabilities = Capabilities(dialect=_sqlglot(engine.dialect.name), writing=NO_WRITING)
        return engine

    # --- types ---------------------------------------------------------------------------------------------------

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        """The driver knows its own values; those of a calendar and a clock are looked at."""
        return _Moment(_where(self.name, column), column.kind) if column.kind in TIMES else sa.types.NullType()

    def spell(self, column: Column, value: Value) -> Value:  # noqa: ARG002
        return value

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:  # noqa: ARG002
        raise DesignProblem(f"databases.{self.name}: nothing is compared inside this database")

    # --- shape ---------------------------------------------------------------------------------------------------

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        schema, _, name = table.rpartition(".")
        inspector = sa.inspect(connection)
        names = [*inspector.get_table_names(schema or None), *inspector.get_view_names(schema or None)]
        if name not in names:
            raise ConfigError(f"databases.{self.name}: there is no table {table!r}; {near(name, names)}")
        columns = {
            found["name"]: Column(
                name=found["name"],
                kind=_kind_of(found["type"]),
                type_name=_name_of(found["type"]),
                nullable=bool(found.get("nullable", True)),
            )
            for found in inspector.get_columns(name, schema or None)
        }
        primary = inspector.get_pk_constraint(name, schema or None)["constrained_columns"]
        return Shape(columns=columns, primary=tuple(primary), dialect=self.capabilities.dialect)

    # --- reading -------------------------------------------------------------------------------------------------

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002
        for side in of:
            self._check_order(binding, side)
        return Survey(
            cuts=[], work=[1.0], whole=1.0, per_segment=1.0, seekable=False, reason="read in one pass: access unknown"
        )

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        self._check_order(binding, side)
        settled = _as_settled(side.columns, binding.kinds)
        width = len(side.key)
        found = replace(_cut_as_settled(binding, side), key=settled[:width], values=settled[width:])
        return super().stream(binding, found, segment, tokens=tokens)

    def partitions(self, binding: Binding, side: BoundSide) -> list[Value]:
        return super().partitions(binding, _cut_as_settled(binding, side))

    def check_partitions(self, binding: Binding, side: BoundSide) -> None:
        """Refuse text, for the reason for which it is no key; no row is read."""
        assert side.cut is not None
        if side.cut.kind is Kind.TEXT or binding.cut_kind in (Kind.TEXT, Kind.ANY):
            raise ConfigError(
                f"projections.{binding.projection.name}.partition.column: {side.cut.name!r} is text in "
                f"databases.{self.name}, or nothing says what it is, and how {self.engine.dialect.name} equates text "
                f"is not known. Take a column of numbers, UUIDs or dates (for one of a query, the other side has to "
                f"say which), leave `partition` out, or read this data as a file (Parquet, CSV)"
            )

    def differences(self, binding: Binding, segment: Part) -> Look | None:  # noqa: ARG002
        return None

    def _check_order(self, binding: Binding, side: BoundSide) -> None:
        """Refuse text keys: how this database orders and equates them is not known."""
        for column, kind in zip(side.key, binding.key_kinds, strict=True):
            if kind in (Kind.TEXT, Kind.ANY):
                raise ConfigError(
                    f"projections.{binding.projection.name}.key: {column.name!r} is text in databases.{self.name}, and "
                    f"how {self.engine.dialect.name} orders and equates text is not known. Give a key of numbers, "
                    f"UUIDs or dates in the query, or read this data as a file (Parquet, CSV)"
                )

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        words = f"databases.{self.name}: {message(error)}"
        if isinstance(error, DBAPIError):
            if error.connection_invalidated:
                return Transient(words)
            kinds = {base.__name__ for base in type(error.orig).__mro__}
            if kinds & {"OperationalError", "InterfaceError"}:
                return ConnectionFailed(words)
            if "DataError" in kinds:
                return DataProblem(words)
        return DesignProblem(words)


def _sqlglot(dialect: str) -> str:
    """SQLGlot's name of a dialect; where it has none (Firebird, Db2, HANA) empty: what dialects have in common."""
    from sqlglot import Dialect

    name = _SQLGLOT.get(dialect, dialect)
    return name if Dialect.get(name) is not None else ""


def _where(database: str, column: Column) -> str:
    return f"databases.{database}: column {column.name!r}" + (f" ({column.type_name})" if column.type_name else "")


def _cast_to_microseconds() -> str:
    return "only microseconds can be compared. Cast it in the source query to six digits, or to text to compare all"


def _as_settled(columns: Sequence[Column], kinds: Sequence[Kind]) -> tuple[Column, ...]:
    """Columns of the kinds that both sides settled on; a query's have none of their own."""
    return tuple(replace(column, kind=kind) for column, kind in zip(columns, kinds, strict=True))


def _cut_as_settled(binding: Binding, side: BoundSide) -> BoundSide:
    """The side with its partition column of the kind that both sides settled on; a query's has none of its own."""
    if side.cut is None or binding.cut_kind is None:
        return side
    return replace(side, cut=replace(side.cut, kind=binding.cut_kind))


def _digits_of(type_: sa.types.TypeEngine[Any]) -> int:
    """Digits of a second that a type of moments is declared with; 0 where that is not said."""
    return int(getattr(type_, "precision", None) or 0) if isinstance(type_, sa.DateTime | sa.Time) else 0


def _name_of(type_: sa.types.TypeEngine[Any]) -> str:
    digits = _digits_of(type_)
    return f"{type_} of {digits} digits" if digits > _MICROSECONDS else str(type_)


def _kind_of(type_: sa.types.TypeEngine[Any]) -> Kind:
    kind = next((kind for of, kind in _KINDS if isinstance(type_, of)), Kind.OPAQUE)
    if kind not in (Kind.TIMESTAMP, Kind.TIME):
        return kind
    if _digits_of(type_) > _MICROSECONDS:
        return Kind.OPAQUE  # the driver's values have six
    zoned = getattr(type_, "timezone", False) or _ZONED.search(f"{type(type_).__name__} {type_}")
    if not zoned:
        return kind
    return Kind.INSTANT if kind is Kind.TIMESTAMP else Kind.OPAQUE
