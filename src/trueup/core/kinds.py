"""Kinds: what a column holds as far as comparing is concerned, in which kind two columns meet, and its one spelling.

Two values are *the same* when Python says so after `canonical` put both into the spelling of the kind the two columns
meet in. Equality and hashing of int, float and Decimal agree in Python (5 == 5.0 == Decimal("5.00")), so numbers
compare by meaning and nothing is rounded.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from uuid import UUID

from trueup.core.values import Interval, Json

Value = Any


class Kind(StrEnum):
    """What a column holds, as far as comparing is concerned."""

    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    BOOLEAN = "boolean"
    TEXT = "text"
    BYTES = "bytes"
    UUID = "uuid"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    #: An instant: has a zone.
    INSTANT = "timestamptz"
    #: Months, days and microseconds, apart.
    INTERVAL = "interval"
    #: A document, compared by meaning.
    JSON = "json"
    #: Elements of one kind, compared one by one.
    ARRAY = "array"
    #: The database does not say (an SQLite expression): the other side's kind decides.
    ANY = "any"
    #: A type with its own equality in its own database, and no rule outside it.
    OPAQUE = "opaque"
    #: A type whose values cannot be compared at all: its database knows no equality for it.
    INCOMPARABLE = "incomparable"


#: Kinds whose order is the same on both sides of every pairing, so that ranges of them can be compared.
KEY_KINDS = frozenset({Kind.INTEGER, Kind.TEXT, Kind.UUID, Kind.DATE, Kind.TIMESTAMP, Kind.INSTANT, Kind.ANY})

#: Kinds of moments.
TIMES = frozenset({Kind.DATE, Kind.TIME, Kind.TIMESTAMP, Kind.INSTANT})

#: Kinds of numbers.
NUMBERS = frozenset({Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT})

_AS_NUMBER = {*NUMBERS, Kind.BOOLEAN}
_TEXT_MAY_SPELL = {Kind.UUID, Kind.JSON, *TIMES}
_NO_RULE = {Kind.INCOMPARABLE, Kind.OPAQUE}


def meeting(one: Kind, other: Kind) -> Kind | None:
    """The kind in which two columns are compared; None if there is no exact rule for the pair."""
    pair = {one, other}
    if pair & _NO_RULE:
        return None
    if len(pair) == 1:
        return one
    if Kind.ANY in pair:
        return None if Kind.ARRAY in pair else (pair - {Kind.ANY}).pop()
    if pair <= _AS_NUMBER:
        if Kind.DECIMAL in pair:
            return Kind.DECIMAL
        return Kind.FLOAT if Kind.FLOAT in pair else Kind.INTEGER
    if pair == {Kind.DATE, Kind.TIMESTAMP}:
        return Kind.TIMESTAMP
    if pair == {Kind.UUID, Kind.BYTES}:
        return Kind.UUID
    if Kind.TEXT in pair:
        typed = (pair - {Kind.TEXT}).pop()
        return typed if typed in _TEXT_MAY_SPELL else None
    return None


def elements_meet(one: Kind | None, other: Kind | None) -> bool:
    """Are arrays of these elements compared exactly, element by element?"""
    return one is not None and (one is other or {one, other} == {Kind.INTEGER, Kind.DECIMAL})


#: Digits before or after the point that no database has in a number; PostgreSQL's numeric has 131,072.
_DIGITS_MAX = 200_000
#: What a database takes for a number; Python also reads `1_000`, ` 5` and other scripts' digits.
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE)


def _decimal(value: Value) -> Value:
    """A float stands for its shortest decimal spelling: 0.1 is 0.1, and not the binary fraction next to it."""
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else repr(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            number = Decimal(value)
        except InvalidOperation:
            return value
        # Spelt out, a number that no database holds is longer than memory.
        value = number if not number or abs(number.adjusted()) <= _DIGITS_MAX else value
    if isinstance(value, Decimal) and not value.is_finite():
        return "nan" if value.is_nan() else str(float(value))
    return value


def _float(value: Value) -> Value:
    """As it is: Python compares floats with integers exactly. NaN equals NaN here: a value that both sides hold is no
    difference.
    """
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def _bytes(value: Value) -> Value:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


#: Python also reads ` 0000…`, `0x00…` and other scripts' digits.
_A_UUID = re.compile(r"[0-9a-f]{8}(?:-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.ASCII | re.IGNORECASE)


def _uuid(value: Value) -> Value:
    if isinstance(value, str) and _A_UUID.fullmatch(value):
        return UUID(value)
    if isinstance(value, bytes) and len(value) == 16:
        return UUID(bytes=value)
    return value


#: Digits beyond microseconds, which Python's parsers cut off; zeros say nothing.
_BEYOND_MICROSECONDS = re.compile(r"[.,]\d{6}0*[1-9]", re.ASCII)


def _parsed(parse: Callable[[str], Value]) -> Callable[[Value], Value]:
    """Read text; one that would lose something is not read."""

    def read(value: Value) -> Value:
        if isinstance(value, str) and not _BEYOND_MICROSECONDS.search(value):
            try:
                return parse(value)
            except ValueError:
                return value
        return value

    return read


#: A day, and what stands between it and a time of day: Python takes any letter for that.
_A_DAY_AND = re.compile(r"[0-9W-]{7,10}[ Tt]")
#: Letters of the longest day.
_DAY_MAX = 10


def _day_and_time(text: str) -> datetime:
    if len(text) > _DAY_MAX and not _A_DAY_AND.match(text):
        raise ValueError(f"{text!r} is no moment")
    return datetime.fromisoformat(text)


_date = _parsed(date.fromisoformat)
_time = _parsed(time.fromisoformat)
_moment = _parsed(_day_and_time)


#: How a day that no calendar has is spelt (`0000-00-00`, `2026-02-30`): what can be read is none any more.
_A_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def _timestamp(value: Value) -> Value:
    value = _moment(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the kind has no zone
    if isinstance(value, str) and _A_DAY.fullmatch(value):
        return f"{value} 00:00:00"
    return value


def _instant(value: Value) -> Value:
    """An instant in UTC. Text without a zone is read as UTC: SQLite, the only one to store text, has no zones."""
    if not isinstance(value, datetime):
        value = _moment(value)
    if isinstance(value, datetime):
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:  # within hours of the first or last year: it stays in its zone, and compares exactly
            return value
    return value


def _json(value: Value) -> Value:
    try:
        if isinstance(value, str):
            return Json(value)
        if isinstance(value, int | float) and not isinstance(value, bool):  # SQLite stores the text `1` as a number
            return Json(repr(value))
        if isinstance(value, dict | list):  # as a person declares it
            return Json(json.dumps(value, default=str))
    except ValueError:
        pass
    return value


def _element(value: Value) -> Value:
    match value:
        case list() | tuple():
            return tuple(map(_element, value))
        case float():
            return _float(value)
        case Decimal():
            return _decimal(value)
        case memoryview() | bytearray():
            return bytes(value)
    return value


def _array(value: Value) -> Value:
    return _element(value) if isinstance(value, list | tuple) else value


_interval = _parsed(Interval.parse)


_CANONICAL: dict[Kind, Callable[[Value], Value]] = {
    Kind.DECIMAL: _decimal,
    Kind.FLOAT: _float,
    Kind.BYTES: _bytes,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.INSTANT: _instant,
    Kind.INTERVAL: _interval,
    Kind.JSON: _json,
    Kind.ARRAY: _array,
}


def canonical(kind: Kind, column: Sequence[Value]) -> list[Value]:
    """A column in the one spelling of `kind`; what cannot be read as that kind stays as it is, and so differs."""
    spell = _CANONICAL.get(kind)
    return list(column) if spell is None else [spell(value) for value in column]


def same_as_they_are(kind: Kind, one: Sequence[Value], other: Sequence[Value]) -> bool:
    """Are two columns equal before they are canonical? Python's own equality answers, but for a float against a
    decimal: it compares the float's binary value, and we its shortest spelling.
    """
    if one != other:
        return False
    if kind not in (Kind.DECIMAL, Kind.ARRAY):
        return True
    types = list(map(type, one))
    return types == list(map(type, other)) or (kind is Kind.DECIMAL and float not in {*types, *map(type, other)})
