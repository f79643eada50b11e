"""How DuckDB names types, spells values and compares numbers, in Python's terms.

The driver hands out some values that are not quite what the database holds: an infinite date as the year 9999, a
nanosecond timestamp cut to microseconds, a month as thirty days, a 32-bit float as the 64-bit float next to it. Such
types are read by an expression that keeps the value, or fails.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from trueup.adapters._dialect import Expression, Named, Verbatim, spelt_single, whole_single
from trueup.core.binding import Column
from trueup.core.kinds import Kind, Value
from trueup.core.values import Interval

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
    "INTERVAL": Kind.INTERVAL,
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
INTEGERS = {name: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for name, bits in _BITS.items()}
INTEGERS |= {f"U{name}": (0, 2**bits - 1) for name, bits in _BITS.items()}
HUGEINT = INTEGERS["HUGEINT"]
#: Types with values of several types, which are spelt alike: 1 and '1'.
_UNTOLD = re.compile(r"\bUNION\(|\bVARIANT\b")
NS = "TIMESTAMP_NS"
#: Years that a nanosecond timestamp can have in full.
NS_YEARS = range(1678, 2262)


#: How moments are compared, and what to do about others.
_AS_TEXT = "read the column with a query, as text (column::VARCHAR)"
_IN_MICROS = f"compared to the microsecond: {_AS_TEXT} or rounded (column::TIMESTAMP), on both sides"
_IN_YEARS = (
    f"compared between the years 1 and 9999: {_AS_TEXT} or with what you take infinity for "
    "(CASE WHEN NOT isinf(column) THEN column END), on both sides"
)


class Moment(Named):
    """A date or timestamp: the driver makes the year 9999 of infinity, and needs a package for time zones."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        plain: sa.ColumnElement[Any] = column
        if self.name == "TIMESTAMP WITH TIME ZONE":
            plain = sa.func.timezone("UTC", column)
        name = " or ".join(sorted({str(getattr(base, "name", "a column")) for base in column.base_columns}))
        if self.name == NS:
            finer = f"{name} holds nanoseconds, and moments are {_IN_MICROS}"
            plain = _only(sa.func.epoch_ns(column) % 1000 == 0, sa.cast(column, sa.DateTime), finer)
        return _only(~sa.func.isinf(column), plain, f"{name} holds infinity, and moments are {_IN_YEARS}")


def plain_moment(column: Column, expression: Expression) -> Expression:
    """A moment as the driver hands it out, or fails to; DuckDB rounds nanoseconds where it compares them with less."""
    return expression if column.type_name != NS else Moment(NS).column_expression(expression)


class Real(Named):
    """A 32-bit float, by its shortest spelling: 0.1 and not 0.10000000149011612."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return spelt_single(column)


class Whole(Named):
    """The same, but that a whole number is itself."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return whole_single(column)


def _only(holds: Expression, value: Expression, otherwise: str) -> Expression:
    """`value` where `holds` is not false, else an error: better no answer than one with digits cut."""
    return sa.case((holds.is_(False), sa.func.error(otherwise)), else_=value)


class Span(Verbatim):
    """An interval, read as ISO 8601 says it: the driver makes thirty days of a month."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        year, month, day, hour, minute, micros = (
            sa.func.datepart(part, column, type_=sa.BigInteger)
            for part in ("year", "month", "day", "hour", "minute", "microsecond")
        )
        clock = micros + (hour * 60 + minute) * 60_000_000
        seconds = sa.cast(clock, Named("DECIMAL(20,0)")) * sa.cast("0.000001", Named("DECIMAL(7,6)"))
        parts = ["P", year * 12 + month, "M", day, "DT", seconds, "S"]
        return sa.case((column.is_not(None), sa.func.concat(*parts, type_=sa.Text)))


#: Kinds whose values may be bound as text.
AS_TEXT = (Kind.TEXT, Kind.ANY, Kind.OPAQUE, Kind.INTERVAL, Kind.JSON)
NUMBERS = {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN}
TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
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
    if type_name in INTEGERS:
        kind = Kind.INTEGER
    if type_name.startswith("DECIMAL("):
        kind = Kind.DECIMAL
    if type_name.startswith("ENUM("):
        kind = Kind.TEXT
    element = None
    if found := _LIST.fullmatch(type_name):
        element = column_of(name, found[1]).kind
        kind = Kind.ARRAY
    if kind is Kind.OPAQUE and _UNTOLD.search(type_name):
        kind, type_name = Kind.INCOMPARABLE, f"{type_name} (whose values do not say of which type they are)"
    return Column(
        name=name,
        kind=kind,
        type_name=type_name,
        nullable=nullable,
        required=required,
        generated=generated,
        element=element,
    )


def spelled_type(column: Column, value: Value) -> str:
    """The type of which a text has to spell a value, for them to be the same; empty: it is compared as it is."""
    if column.kind is not Kind.TEXT:
        return ""
    match value:
        case datetime(tzinfo=None):
            return "TIMESTAMP"
        case datetime():
            return "TIMESTAMP WITH TIME ZONE"
        case date():
            return "DATE"
        case UUID():
            return "UUID"
    return ""


def read_as(column: Column, part: Expression, type_name: str) -> tuple[Column, Expression]:
    """A column and its value as another type, NULL where it is none; as they are, where none is named."""
    if not type_name:
        return column, part
    return column_of(column.name, type_name), sa.try_cast(part, Named(type_name))


#: A list, or an array of fixed length, of what the driver hands out as it is. Elements of other types (moments, which
#: may be infinite, and single-precision floats among them) are compared where they are, if at all.
_LIST = re.compile(
    r"(U?(?:TINY|SMALL|BIG|HUGE)INT|U?INTEGER|DECIMAL\(\d+,\d+\)|DOUBLE|BOOLEAN|VARCHAR|BLOB|UUID)(?:\[\d*\])+"
)


def listed(value: Value) -> Value:
    """An array as the driver takes it; a decimal as text, of which it makes no float."""
    if isinstance(value, tuple):
        return [listed(element) for element in value]
    return f"{value:f}" if isinstance(value, Decimal) and value.is_finite() else value


def span(text: str) -> str:
    """An interval, given in ISO 8601, as DuckDB reads it."""
    parts = Interval.parse(text)
    return f"{parts.months} months {parts.days} days {parts.microseconds} microseconds"


def numbers_differ(source: Column, target: Column, a: Expression, b: Expression) -> Expression:
    """Numbers of two types, compared without making one of them a float, where 2**53 equals 2**53 + 1."""
    if source.kind is Kind.FLOAT and target.kind is Kind.FLOAT:
        return spelt_single(a).is_distinct_from(spelt_single(b))
    if target.kind is Kind.FLOAT:
        source, target, a, b = target, source, b, a
    if source.kind is not Kind.FLOAT:
        return _digits(source, a).is_distinct_from(_digits(target, b))
    if source.exact:
        a = whole_single(a)
    # A float is the number that its shortest spelling says: as an exact number it is b, and b read as a float is it.
    exact: Expression = sa.cast(b, sa.Integer) if target.kind is Kind.BOOLEAN else b
    type_name = "INTEGER" if target.kind is Kind.BOOLEAN else target.type_name
    spelt = sa.cast(a, sa.Text)
    same = (sa.try_cast(spelt, Named(type_name)) == exact) & (
        sa.cast(sa.cast(exact, sa.Text), sa.Double) == spelt_single(a)
    )
    return ~sa.func.coalesce(same, a.is_(None) & b.is_(None))


def _digits(column: Column, expression: Expression) -> Expression:
    """An exact number as text, one text for each number."""
    if column.kind is Kind.BOOLEAN:
        expression = sa.cast(expression, sa.Integer)
    text = sa.cast(expression, sa.Text)
    trimmed = sa.func.rtrim(sa.func.rtrim(text, "0"), ".")
    # Of a number with no more digits than are behind its point there is nothing before it: `.50`.
    spelt = sa.func.regexp_replace(trimmed, "^(-?)([.]|$)", r"\10\2")
    return sa.case((sa.func.contains(text, "."), spelt), else_=text)  # other zeros are all of its digits
