"""How SQLite names types and spells what it has no type for, and functions of ours that its statements call."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from uuid import UUID

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.core.binding import Column
from trueup.core.kinds import NUMBERS
from trueup.core.row import Kind, Value, canonical
from trueup.core.rules import Tolerance

#: First word found in the declared type -> kind. What SQLite has no type for (dates, UUIDs) is ANY: the other side, or
#: the stored spelling itself, decides.
_KINDS = (
    ("JSON", Kind.JSON),
    ("DATE", Kind.ANY),
    ("TIME", Kind.ANY),
    ("INT", Kind.INTEGER),
    ("BOOL", Kind.BOOLEAN),
    ("CHAR", Kind.TEXT),
    ("CLOB", Kind.TEXT),
    ("TEXT", Kind.TEXT),
    ("BLOB", Kind.BYTES),
    ("REAL", Kind.FLOAT),
    ("FLOA", Kind.FLOAT),
    ("DOUB", Kind.FLOAT),
    ("NUM", Kind.DECIMAL),
    ("DEC", Kind.DECIMAL),
)


def kind_of(declared: str) -> Kind:
    upper = declared.upper()
    return next((kind for word, kind in _KINDS if word in upper), Kind.ANY)


def spell(column: Column, value: Value) -> Value:
    """A canonical value as it is bound, in the spelling that the column uses."""
    match value:
        case datetime():
            return value.isoformat("T" if column.sample[10:11] == "T" else " ")
        case date() | time():
            return value.isoformat()
        case UUID():
            return value.bytes if column.kind is Kind.BYTES else str(value)
        case Decimal():
            return _number(value) if column.kind in NUMBERS else str(value)
    return value


def _number(value: Decimal) -> int | float | str:
    """As a column of numbers stores it: as the text that it is only where it is no integer and no float."""
    if value == value.to_integral_value() and abs(value) < 2**63:
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


def bare(expression: Expression) -> Expression:
    return sa.sql.elements.UnaryExpression(expression, operator=sa.sql.operators.custom_op("+"))


@lru_cache(maxsize=100)
def _tolerance(text: str) -> Tolerance:
    return Tolerance.parse(text)


def beyond(kind: str, tolerance: str, expected: Value, observed: Value) -> int:
    """As `Tolerance.covers`, for SQL."""
    if expected is None or observed is None:
        return 1
    one, other = canonical(Kind(kind), [expected, observed])
    return int(not _tolerance(tolerance).covers(one, other))


def apart(kind: str, expected: Value, observed: Value) -> int:
    """Are these two not the same value of a kind?"""
    one, other = canonical(Kind(kind), [expected, observed])
    return int(one != other)
