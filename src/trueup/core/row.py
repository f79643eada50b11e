"""Keys, values and column batches: what a row is, in one spelling for all databases.

A value is one of None, bool, int, float, Decimal, str, bytes, UUID, date, time, datetime. Two values are *the same*
when Python says so after `canonical` put both into the spelling of the kind the two columns meet in. Equality and
hashing of int, float and Decimal agree in Python (5 == 5.0 == Decimal("5.00")), so numbers compare by meaning and
nothing is rounded.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any
from uuid import UUID

Value = Any
#: Key parts in declared order.
Key = tuple[Value, ...]
#: Compared values in declared order.
Values = tuple[Value, ...]

#: Integers beyond this do not survive a JSON reader that uses doubles.
JSON_SAFE_INTEGER = 2**53


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

_NUMBERS = {Kind.INTEGER, Kind.DECIMAL, Kind.FLOAT, Kind.BOOLEAN}
_TEXT_MAY_SPELL = {Kind.UUID, *TIMES}


def meeting(one: Kind, other: Kind) -> Kind | None:
    """The kind in which two columns are compared; None if there is no exact rule for the pair."""
    if Kind.INCOMPARABLE in (one, other):
        return None
    if one == other:
        return None if one is Kind.OPAQUE else one
    pair = {one, other}
    if Kind.OPAQUE in pair:
        return None
    if Kind.ANY in pair:
        return (pair - {Kind.ANY}).pop()
    if pair <= _NUMBERS:
        return Kind.DECIMAL if pair & {Kind.DECIMAL, Kind.FLOAT} else Kind.INTEGER
    if pair == {Kind.DATE, Kind.TIMESTAMP}:
        return Kind.TIMESTAMP
    if Kind.TEXT in pair:
        typed = (pair - {Kind.TEXT}).pop()
        return typed if typed in _TEXT_MAY_SPELL else None
    return None


#: What a database takes for a number; Python also reads `1_000`, ` 5` and other scripts' digits.
_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?|inf(?:inity)?|nan)", re.ASCII | re.IGNORECASE)


def _decimal(value: Value) -> Value:
    if isinstance(value, float):
        return Decimal(repr(value)) if math.isfinite(value) else repr(value)
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        try:
            value = Decimal(value)
        except InvalidOperation:
            return value
    if isinstance(value, Decimal) and not value.is_finite():
        return "nan" if value.is_nan() else str(float(value))
    return value


def _float(value: Value) -> Value:
    """NaN equals NaN here: a value that both sides hold is not a difference."""
    return "nan" if isinstance(value, float) and math.isnan(value) else value


def _bytes(value: Value) -> Value:
    return bytes(value) if isinstance(value, memoryview | bytearray) else value


def _uuid(value: Value) -> Value:
    try:
        if isinstance(value, str):
            return UUID(value)
        if isinstance(value, bytes) and len(value) == 16:
            return UUID(bytes=value)
    except ValueError:
        pass
    return value


def _parsed(parse: Callable[[str], Value]) -> Callable[[Value], Value]:
    def read(value: Value) -> Value:
        if isinstance(value, str):
            try:
                return parse(value)
            except ValueError:
                return value
        return value

    return read


_date = _parsed(date.fromisoformat)
_time = _parsed(time.fromisoformat)
_moment = _parsed(datetime.fromisoformat)


def _timestamp(value: Value) -> Value:
    value = _moment(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001 - the kind has no zone
    return value


def _instant(value: Value) -> Value:
    """An instant in UTC. Text without a zone is read as UTC: SQLite, the only one to store text, has no zones."""
    value = _moment(value)
    if isinstance(value, datetime):
        try:
            return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
        except OverflowError:  # within hours of the first or last year: it stays in its zone, and compares exactly
            return value
    return value


_CANONICAL: dict[Kind, Callable[[Value], Value]] = {
    Kind.DECIMAL: _decimal,
    Kind.FLOAT: _float,
    Kind.BYTES: _bytes,
    Kind.UUID: _uuid,
    Kind.DATE: _date,
    Kind.TIME: _time,
    Kind.TIMESTAMP: _timestamp,
    Kind.INSTANT: _instant,
}


def canonical(kind: Kind, column: Sequence[Value]) -> list[Value]:
    """A column in the one spelling of `kind`; what cannot be read as that kind stays as it is, and so differs."""
    spell = _CANONICAL.get(kind)
    return list(column) if spell is None else [spell(value) for value in column]


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Rows as columns, in key order."""

    #: One list for each key part, canonical.
    keys: tuple[list[Value], ...]
    #: One list for each compared column, as the driver gave them: most are equal as they are, and need no other form.
    values: tuple[list[Value], ...]
    #: Row versions of the target ("" where the database has none); None when nobody asked.
    tokens: list[str] | None = None

    def __len__(self) -> int:
        return len(self.keys[0]) if self.keys else 0

    def key(self, at: int) -> Key:
        return tuple(column[at] for column in self.keys)

    def slice(self, start: int, end: int) -> Batch:
        """Rows `start` to `end`, half-open."""
        return Batch(
            keys=tuple(column[start:end] for column in self.keys),
            values=tuple(column[start:end] for column in self.values),
            tokens=None if self.tokens is None else self.tokens[start:end],
        )

    def clean(self, kinds: Sequence[Kind]) -> Batch:
        """The same rows with canonical values."""
        values = tuple(canonical(kind, column) for kind, column in zip(kinds, self.values, strict=True))
        return replace(self, values=values)

    def __add__(self, other: Batch) -> Batch:
        return Batch(
            keys=tuple(a + b for a, b in zip(self.keys, other.keys, strict=True)),
            values=tuple(a + b for a, b in zip(self.values, other.values, strict=True)),
            tokens=None if self.tokens is None or other.tokens is None else self.tokens + other.tokens,
        )


def batch_of(rows: Sequence[Sequence[Value]], kinds: Sequence[Kind], key_width: int, *, tokens: bool) -> Batch:
    """Rows (key parts, then values, then the token where `tokens`) turned into columns, the keys canonical."""
    width = len(kinds) + tokens
    columns = [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(width)]
    return Batch(
        keys=tuple(canonical(kind, column) for kind, column in zip(kinds[:key_width], columns, strict=False)),
        values=tuple(columns[key_width : len(kinds)]),
        tokens=columns[-1] if tokens else None,
    )


# --- JSON: lossless for our own records, plain for people ---------------------------------------------------------


def encode(value: Value) -> Value:
    """A JSON value from which `decode` makes the same Python value again."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return {"float": repr(value)}
        case Decimal():
            return {"decimal": str(value)}
        case UUID():
            return {"uuid": str(value)}
        case datetime():
            return {"timestamp": value.isoformat()}
        case date():
            return {"date": value.isoformat()}
        case time():
            return {"time": value.isoformat()}
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"no JSON form for a value of type {type(value).__name__}")


_DECODE: dict[str, Callable[[str], Value]] = {
    "float": float,
    "decimal": Decimal,
    "uuid": UUID,
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "bytes": base64.b64decode,
}


def decode(value: Value) -> Value:
    """The inverse of `encode`."""
    if isinstance(value, dict):
        ((kind, text),) = value.items()
        return _DECODE[kind](text)
    return value


def encode_row(row: Sequence[Value] | None) -> list[Value] | None:
    return None if row is None else [encode(value) for value in row]


def decode_row(row: Sequence[Value] | None) -> tuple[Value, ...] | None:
    return None if row is None else tuple(decode(value) for value in row)


def present(value: Value) -> Value:
    """A value as reports show it: what JSON cannot hold exactly becomes a string."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return value if abs(value) <= JSON_SAFE_INTEGER else str(value)
        case float():
            return value if math.isfinite(value) else repr(value)
        case Decimal():
            return f"{value:f}" if value.is_finite() else str(value)
        case date() | time():
            return value.isoformat(" ") if isinstance(value, datetime) else value.isoformat()
        case bytes():
            return "\\x" + value.hex()
    return str(value)


def parse_value(kind: Kind, text: str) -> Value:
    """A key part as a person types it on the command line; ValueError if it is not of that kind."""
    if kind is Kind.INTEGER or (kind is Kind.ANY and re.fullmatch(r"-?[0-9]+", text)):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not an integer") from None
    value = canonical(kind, [text])[0]
    if kind in KEY_KINDS - {Kind.TEXT, Kind.ANY} and isinstance(value, str):
        raise ValueError(f"{text!r} is not a {kind}")
    return value


def fit(kind: Kind, value: Value) -> Value:
    """`value` as a column of `kind` stores it; ValueError where that would lose something.

    The inverse of `canonical` for the side that is written: a repair never lets a database round or cut in silence.
    """
    if value is None or kind in (Kind.ANY, Kind.OPAQUE):
        return value
    try:
        return _fitted(kind, value)
    except ArithmeticError:
        return _lossy(kind, value)


def _fitted(kind: Kind, value: Value) -> Value:
    match kind:
        case Kind.INTEGER if isinstance(value, Decimal | float | bool):
            fitted: Value = int(value)
        case Kind.BOOLEAN if not isinstance(value, bool):
            fitted = bool(value)
        case Kind.FLOAT if isinstance(value, Decimal | int):
            fitted = float(value)
            return fitted if Decimal(repr(fitted)) == value else _lossy(kind, value)
        case Kind.TEXT if not isinstance(value, str):
            return str(present(value))
        case Kind.DATE if isinstance(value, datetime):
            fitted = value.date()
            return fitted if value == datetime(value.year, value.month, value.day) else _lossy(kind, value)  # noqa: DTZ001
        case _:
            return value
    return fitted if fitted == value else _lossy(kind, value)


def _lossy(kind: Kind, value: Value) -> Value:
    raise ValueError(f"{present(value)!r} does not fit a column of kind {kind} without loss")
