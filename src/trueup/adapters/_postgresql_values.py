"""How PostgreSQL describes columns, spells values and compares them, in Python's terms."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from enum import Enum
from typing import Any

import sqlalchemy as sa

from trueup.adapters._dialect import Expression, Named, Verbatim
from trueup.core.binding import Column
from trueup.core.kinds import Kind, Value
from trueup.core.rules import Tolerance

KINDS = {
    "bool": Kind.BOOLEAN,
    "bytea": Kind.BYTES,
    "int2": Kind.INTEGER,
    "int4": Kind.INTEGER,
    "int8": Kind.INTEGER,
    "oid": Kind.INTEGER,
    "numeric": Kind.DECIMAL,
    "float4": Kind.FLOAT,
    "float8": Kind.FLOAT,
    "text": Kind.TEXT,
    "varchar": Kind.TEXT,
    "bpchar": Kind.TEXT,
    "name": Kind.TEXT,
    "uuid": Kind.UUID,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "timestamp": Kind.TIMESTAMP,
    "timestamptz": Kind.INSTANT,
    "interval": Kind.INTERVAL,
    "json": Kind.JSON,
    "jsonb": Kind.JSON,
}
#: Kinds whose arrays are compared element by element, and read as lists.
ELEMENTS = frozenset(KINDS.values()) - {Kind.INTERVAL, Kind.JSON}
TYPES: dict[Kind, sa.types.TypeEngine[Any]] = {
    Kind.BOOLEAN: sa.Boolean(),
    Kind.BYTES: sa.LargeBinary(),
    Kind.INTEGER: sa.BigInteger(),
    Kind.DECIMAL: sa.Numeric(),
    Kind.FLOAT: sa.Double(),
    Kind.TEXT: sa.Text(),
    Kind.UUID: sa.Uuid(),
    Kind.DATE: sa.Date(),
    Kind.TIME: sa.Time(),
    Kind.TIMESTAMP: sa.DateTime(),
    Kind.INSTANT: sa.DateTime(timezone=True),
}
#: Exact integer types: `= ANY` over a long list is hashed only if both sides have the same type.
INTEGERS: dict[str, sa.types.TypeEngine[Any]] = {"smallint": sa.SmallInteger(), "integer": sa.Integer()}
#: Least value of each, and the first that is too large.
WITHIN: dict[str, tuple[int, int]] = {
    "smallint": (-0x8000, 0x8000),
    "integer": (-0x8000_0000, 0x8000_0000),
    "bigint": (-0x8000_0000_0000_0000, 0x8000_0000_0000_0000),
    "oid": (0, 0x1_0000_0000),
}


class Equality(Enum):
    """What the equality of a type is worth, that of its parts included."""

    EXACT = ""
    #: It takes two different values for one.
    LOOSE = "whose equality takes different values for one"
    #: There is none.
    LACKING = "which has no equality"


#: Types whose parts only each value tells.
_UNTOLD = ("record", "_record")

#: Types whose equality takes two different values for one ('1 month' = '30 days', 'Ann' = 'ANN', 'cat:A' = 'cat:*'):
#: compared as text.
_LOOSE = ("interval", "citext", "tsquery")

#: Kinds whose values travel as text.
AS_TEXT = (Kind.OPAQUE, Kind.INCOMPARABLE, Kind.JSON, Kind.INTERVAL)


class ListOf(Verbatim):
    """An array: values travel as text, and are read as lists."""

    cache_ok = True

    def column_expression(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return column


class ListOfIntegers(Named):
    """An array of integers that is bound as its text: the driver takes ten times as long to spell a list."""

    cache_ok = True
    render_bind_cast = True


#: Exact integer type -> an array of it.
LISTS: dict[type[sa.types.TypeEngine[Any]], ListOfIntegers] = {
    sa.SmallInteger: ListOfIntegers("smallint[]"),
    sa.Integer: ListOfIntegers("integer[]"),
    sa.BigInteger: ListOfIntegers("bigint[]"),
}


def integers(values: Sequence[Value]) -> str:
    """These as an array, as one of `LISTS` is bound."""
    return "{" + ",".join(map(str, values)) + "}"


def literal(value: Value) -> str:
    """An element, or all of an array, as PostgreSQL spells it within one."""
    match value:
        case tuple():
            return "{" + ",".join(map(literal, value)) + "}"
        case None:
            return "NULL"
        case bytes():
            text = "\\x" + value.hex()
        case datetime() | date() | time():
            text = value.isoformat()
        case _:
            text = str(value)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def column_of(
    name: str,
    row: sa.Row[Any],
    *,
    equality: Equality,
    nullable: bool = True,
    required: bool = False,
    generated: bool = False,
    numbered: bool = False,
    number: int = 0,
) -> Column:
    kind = KINDS.get(row.base, Kind.OPAQUE)
    type_name = row.type
    element = KINDS.get(row.base[1:]) if row.base[:1] == "_" and row.base != "_bpchar" else None  # padded
    if element in ELEMENTS:
        kind = Kind.ARRAY
    if row.type_type == "e":
        kind, type_name = Kind.TEXT, f"enum {row.type}"
    exact = equality is Equality.EXACT or (equality is Equality.LOOSE and by_text(type_name))
    if kind is Kind.OPAQUE and not exact:
        kind, type_name = Kind.INCOMPARABLE, f"{row.type} ({equality.value})"
    if row.base in _UNTOLD:
        kind, type_name = Kind.INCOMPARABLE, f"{row.type} (which does not say what its fields are)"
    return Column(
        name=name,
        kind=kind,
        type_name=type_name,
        nullable=nullable,
        required=required,
        generated=generated,
        numbered=numbered,
        element=element,
        number=number,
    )


def by_text(type_name: str) -> bool:
    """Is it a type that is compared as text, or an array of such? An extension may be in a schema of its own."""
    return type_name.rpartition(".")[2].startswith(_LOOSE)


def as_numeric(column: Column, expression: Expression) -> Expression:
    """As numeric; a float by its shortest decimal spelling, not rounded to fifteen digits as by a cast."""
    if column.kind is Kind.FLOAT:
        expression = sa.cast(expression, sa.Text)
    if column.kind is Kind.BOOLEAN:
        expression = sa.cast(expression, sa.Integer)
    return sa.cast(expression, sa.Numeric)


def exact_number(kind: Kind, column: Column, expression: Expression) -> Expression:
    """As numeric, as Python takes it: against an integer a whole float is that integer, else it is its spelling."""
    if column.kind is not Kind.FLOAT or kind is not Kind.FLOAT:
        return as_numeric(column, expression)
    whole = sa.cast(sa.cast(expression, sa.BigInteger), sa.Numeric)
    return sa.case((is_bigint(expression), whole), else_=as_numeric(column, expression))


def is_bigint(expression: Expression) -> Expression:
    """The float is a whole number that a bigint can hold."""
    limit = sa.cast(sa.literal(2.0**63, sa.Double()), sa.Double)
    value = sa.cast(expression, sa.Double)
    return (value >= -limit) & (value < limit) & (value == sa.func.trunc(value))


def float_differs(source: Column, target: Column, a: Expression, b: Expression) -> Expression:
    """A float against an integer or boolean, by value: as a float, 2**53 + 1 would be 2**53."""
    value, exact, column = (a, b, target) if source.kind is Kind.FLOAT else (b, a, source)
    if column.kind is Kind.BOOLEAN:
        exact = sa.cast(exact, sa.Integer)
    whole = sa.cast(value, sa.BigInteger).is_distinct_from(exact)
    return sa.case((is_bigint(value), whole), else_=sa.or_(value.is_not(None), exact.is_not(None)))


def times_beyond(duration: timedelta, a: Expression, b: Expression, kind: Kind) -> Expression:
    """Further apart than `duration`. Infinity is endlessly far from any time, and subtracting it is an error."""
    apart = sa.type_coerce(a - b, sa.Interval())
    far = (apart > sa.literal(duration, sa.Interval())) | (apart < sa.literal(-duration, sa.Interval()))
    if kind is Kind.TIME:
        return far
    return sa.case((sa.func.isfinite(a) & sa.func.isfinite(b), far), else_=sa.true())


def beyond(
    kind: Kind, tolerance: Tolerance, source: tuple[Column, Expression], target: tuple[Column, Expression]
) -> Expression:
    """Two values that meet in `kind`, neither NULL, are further apart than is tolerated."""
    if tolerance.duration is not None:
        form = sa.Time() if kind is Kind.TIME else sa.DateTime(timezone=kind is Kind.INSTANT)
        return times_beyond(tolerance.duration, sa.cast(source[1], form), sa.cast(target[1], form), kind)
    one, other = exact_number(kind, *source), exact_number(kind, *target)
    apart = sa.func.abs(one - other)
    if tolerance.share is None:  # NaN is greater than every number, so that it is beyond any tolerance
        return apart > sa.literal(tolerance.amount or 0, sa.Numeric())
    allowed = sa.func.abs(one) * sa.literal(tolerance.share, sa.Numeric())
    # Nothing is beyond a share of NaN or of infinity; only these are not 0 less themselves.
    return (apart > allowed) | (one - one != sa.literal_column("0"))


def beyond_python(words: str) -> str:
    """What to do where the driver could not read a value, by its own words; empty where that is not known."""
    if re.match(r"can't parse time '24:", words):
        return (
            ". Times of day are compared up to the last microsecond before midnight. Read the column with a query, as "
            "text (`column::text`), on both sides"
        )
    if not re.match(r"(?:date|timestamp) too (?:small|large)", words):
        return ""
    return (
        ". Dates and timestamps are compared between the years 1 and 9999. Read the column with a query, as text "
        "(`column::text`) or with what you take infinity for (`NULLIF(column, 'infinity')`), on both sides"
    )


#: What to do about text that cannot be read.
BYTES_ONLY = (
    ". The encoding of this database is SQL_ASCII: it takes any bytes for text, and here are some that are not UTF-8. "
    "Mend them, or read the column with a query: encode(convert_to(column, 'SQL_ASCII'), 'hex'), and elsewhere "
    "encode(convert_to(column, 'UTF8'), 'hex')"
)


def regclass(table: str) -> str:
    """A declared table as `to_regclass` reads it: quoting for statements would double its percent signs."""
    schema, _, name = table.rpartition(".")
    return ".".join('"' + part.replace('"', '""') + '"' for part in (schema, name) if part)
