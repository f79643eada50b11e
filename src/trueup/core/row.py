"""Keys, values and column batches: what a row is, in one spelling for all databases.

A value is one of None, bool, int, float, Decimal, str, bytes, UUID, date, time, datetime, Interval, Json, or a tuple of
such. What makes two values the same is said in `core.kinds`.
"""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from decimal import Decimal
from itertools import chain
from operator import itemgetter
from typing import Any
from uuid import UUID

from trueup.core.kinds import KEY_KINDS, TIMES, Kind, Value, canonical, meeting, same_as_they_are
from trueup.core.values import Interval, Json, plain

__all__ = [
    "JSON_SAFE_INTEGER",
    "KEY_KINDS",
    "TIMES",
    "Batch",
    "Key",
    "Kind",
    "Value",
    "Values",
    "batch_of",
    "canonical",
    "decode",
    "decode_row",
    "encode",
    "encode_row",
    "fit",
    "meeting",
    "parse_value",
    "present",
    "same_as_they_are",
]

#: Key parts in declared order.
Key = tuple[Value, ...]
#: Compared values in declared order.
Values = tuple[Value, ...]

#: Integers beyond this do not survive a JSON reader that uses doubles.
JSON_SAFE_INTEGER = 2**53


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

    def key_tuples(self) -> list[Key]:
        return list(zip(*self.keys, strict=True))

    def value_tuples(self) -> list[Values]:
        return list(zip(*self.values, strict=True)) if self.values else [()] * len(self)

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
    columns = [list(map(itemgetter(at), rows)) for at in range(len(kinds) + tokens)]  # a driver's rows iterate slowly
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
        case Json():
            return {"json": value.text}
        case Interval():
            return {"interval": str(value)}
        case tuple():
            return {"array": [encode(element) for element in value]}
    raise TypeError(f"no JSON form for a value of type {type(value).__name__}")


_DECODE: dict[str, Callable[[Value], Value]] = {
    "float": float,
    "decimal": Decimal,
    "uuid": UUID,
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "bytes": base64.b64decode,
    "json": Json,
    "interval": Interval.parse,
    "array": lambda elements: tuple(map(decode, elements)),
}


def decode(value: Value) -> Value:
    """The inverse of `encode`."""
    if isinstance(value, dict):
        ((kind, content),) = value.items()
        return _DECODE[kind](content)
    return value


#: Types that JSON holds as they are.
_PLAIN = frozenset({int, str, bool, type(None)})


def encode_row(row: Sequence[Value] | None) -> list[Value] | None:
    return None if row is None else [value if type(value) in _PLAIN else encode(value) for value in row]


def decode_row(row: Sequence[Value] | None) -> tuple[Value, ...] | None:
    return None if row is None else tuple([decode(value) if type(value) is dict else value for value in row])


def encode_rows(rows: Sequence[Sequence[Value]]) -> Sequence[Sequence[Value] | None]:
    """Many rows, as `encode_row` does one."""
    if _PLAIN.issuperset(map(type, chain.from_iterable(rows))):
        return rows  # JSON writes a tuple as a list
    return [encode_row(row) for row in rows]


def decode_rows(rows: Sequence[Sequence[Value]]) -> tuple[tuple[Value, ...], ...]:
    """The inverse of `encode_rows`."""
    if dict not in set(map(type, chain.from_iterable(rows))):
        return tuple(map(tuple, rows))
    return tuple(decode_row(row) or () for row in rows)


def _as_it_is(value: Value) -> Value:
    return value


#: How reports show values of a type; other types by their text. `trueup.cli.output._JSON_OF` repeats some of it.
_PRESENT: dict[type, Callable[[Any], Value]] = {
    type(None): _as_it_is,
    str: _as_it_is,
    bool: _as_it_is,
    int: lambda value: value if abs(value) <= JSON_SAFE_INTEGER else str(value),
    float: lambda value: value if math.isfinite(value) else repr(value),
    Decimal: lambda value: f"{value:f}" if value.is_finite() else str(value),
    datetime: lambda value: value.isoformat(" "),
    date: date.isoformat,
    time: time.isoformat,
    bytes: lambda value: "\\x" + value.hex(),
    tuple: lambda value: list(map(present, value)),
}


def present(value: Value) -> Value:
    """A value as reports show it: what JSON cannot hold exactly becomes a string."""
    show = _PRESENT.get(type(value))
    if show is None:
        show = next((show for type_, show in _PRESENT.items() if isinstance(value, type_)), str)
    return show(value)


def named_parts(names: Sequence[str], key: Key) -> dict[str, Value]:
    """A key that was read at some time: its parts are numbered where they are not as many as are declared now."""
    return dict(zip(names if len(names) == len(key) else map(str, range(1, len(key) + 1)), key, strict=True))


def parse_value(kind: Kind, text: str) -> Value:
    """A key part as a person types it on the command line; ValueError if it is not of that kind."""
    if kind is Kind.INTEGER or (kind is Kind.ANY and re.fullmatch(r"-?[0-9]+", text)):
        try:
            return int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not an integer") from None
    if kind is Kind.BOOLEAN:
        return _boolean(text)
    value = canonical(kind, [text])[0]
    if kind in KEY_KINDS - {Kind.TEXT, Kind.ANY} and isinstance(value, str):
        raise ValueError(f"{text!r} is not a {kind}")
    return value


#: Kind -> types that its values have once they are canonical.
_TYPES: dict[Kind, tuple[type, ...]] = {
    Kind.INTEGER: (int, Decimal),
    Kind.DECIMAL: (int, Decimal),
    Kind.FLOAT: (int, float, Decimal),
    Kind.BOOLEAN: (int, Decimal),
    Kind.TEXT: (str,),
    Kind.BYTES: (bytes,),
    Kind.UUID: (UUID,),
    Kind.DATE: (date,),
    Kind.TIME: (time,),
    Kind.TIMESTAMP: (datetime,),
    Kind.INSTANT: (datetime,),
    Kind.INTERVAL: (Interval,),
    Kind.JSON: (Json,),
    Kind.ARRAY: (tuple,),
}
#: Numbers and times that are texts here: Python has none such (`0000-00-00`, a year before Christ).
_SPELT = {
    **dict.fromkeys((Kind.DECIMAL, Kind.FLOAT), re.compile(r"nan|-?inf")),
    **dict.fromkeys(TIMES, re.compile(r"-?infinity|\d.*", re.ASCII)),
}


def possible(kind: Kind, column: Kind, value: Value) -> bool:
    """Can `value`, which is canonical, be in a column of kind `column` that is compared as `kind`?

    One that cannot is equal to nothing that is ever there.
    """
    if value is None or kind not in _TYPES:
        return True
    if isinstance(value, str) and kind in _SPELT:
        return _SPELT[kind].fullmatch(value) is not None
    has_time, zoned = isinstance(value, datetime), isinstance(value, datetime) and value.tzinfo is not None
    if not isinstance(value, _TYPES[kind]) or (kind is Kind.DATE and has_time) or (kind is Kind.TIMESTAMP and zoned):
        return False
    try:
        fit(column, value)
    except ValueError:
        return False
    return True


def _boolean(text: str) -> bool:
    """Some databases show booleans as 0 and 1."""
    meant = {"true": True, "1": True, "false": False, "0": False}.get(text.lower())
    if meant is None:
        raise ValueError(f"{text!r} is not a boolean; write 'true' or 'false'")
    return meant


def fit(kind: Kind, value: Value) -> Value:
    """`value` as a column of `kind` stores it; ValueError where that would lose something.

    The inverse of `canonical` for the side that is written: a repair never lets a database round or cut in silence.
    """
    if value is None or kind in (Kind.ANY, Kind.OPAQUE):
        return plain(value)
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
        case Kind.FLOAT if isinstance(value, Decimal):
            fitted = float(value)
            return fitted if Decimal(repr(fitted)) == value else _lossy(kind, value)
        case Kind.FLOAT if isinstance(value, int):
            fitted = float(value)
        case Kind.DECIMAL if isinstance(value, bool):
            fitted = int(value)
        case Kind.TEXT | Kind.JSON | Kind.INTERVAL if isinstance(value, Json | Interval):
            return plain(value)
        case Kind.TEXT if not isinstance(value, str):
            return str(present(value))
        case Kind.BYTES if isinstance(value, UUID):
            return value.bytes
        case Kind.DATE if isinstance(value, datetime):
            fitted = value.date()
            return fitted if value == datetime(value.year, value.month, value.day) else _lossy(kind, value)  # noqa: DTZ001
        case _:
            return value
    return fitted if fitted == value else _lossy(kind, value)


def _lossy(kind: Kind, value: Value) -> Value:
    raise ValueError(f"{present(value)!r} does not fit a column of kind {kind} without loss")
