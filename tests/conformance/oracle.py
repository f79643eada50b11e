"""The oracle of the conformance matrix: plain Python over values that the drivers fetched; no code of the engine."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Any
from uuid import UUID

_CLOCK = re.compile(r"(?P<upto>.*?\d\d:\d\d(?::\d\d)?)(?P<fraction>\.\d+)?(?P<zone>Z|[+-]\d\d(?::?\d\d)?)?")
_PART = re.compile(r"(-?\d+) (year|mon|day)")
_HOURS = re.compile(r"(-?)(\d+):(\d\d):(\d\d(?:\.\d+)?)")


def _number(value: Any) -> Any:
    number = Decimal({"true": "1", "false": "0"}.get(str(value).lower(), str(value)))
    return Fraction(number) if number.is_finite() else str(number)


def _float(value: Any) -> Any:
    number = float(value)
    return Fraction(number) if abs(number) < float("inf") else str(number)


def _float32(value: Any) -> Any:
    return _float(struct.unpack("<f", struct.pack("<f", float(value)))[0])


def _bytes(value: Any) -> bytes:
    return bytes.fromhex(value[2:]) if isinstance(value, str) else bytes(value)


def _uuid(value: Any) -> UUID:
    if isinstance(value, UUID):
        return value
    if isinstance(value, bytes):
        return UUID(bytes=value)
    return UUID(value[2:] if value.startswith("\\x") else value)


def _moment(value: Any) -> str:
    """In UTC, with all its digits."""
    text = value.isoformat(" ") if isinstance(value, datetime) else str(value)
    found = _CLOCK.fullmatch(text)
    assert found is not None, text
    moment = datetime.fromisoformat(found["upto"] + (found["zone"] or ""))
    moment = moment.astimezone(UTC) if moment.tzinfo else moment
    return f"{moment:%Y-%m-%d %H:%M:%S}" + _digits(found["fraction"])


def _time(value: Any) -> str:
    if isinstance(value, timedelta):
        value = (datetime(2000, 1, 1) + value).time()
    found = _CLOCK.fullmatch(value.isoformat() if isinstance(value, time) else str(value))
    assert found is not None, value
    return f"{time.fromisoformat(found['upto'])}" + _digits(found["fraction"])


def _digits(fraction: str | None) -> str:
    return (fraction or "").rstrip("0").rstrip(".")


def _date(value: Any) -> date:
    return value if isinstance(value, date) else date.fromisoformat(value)


def _interval(value: Any) -> Any:
    """Months, days and seconds, from PostgreSQL's or DuckDB's text."""
    parts = {name: int(count) for count, name in _PART.findall(value)}
    clock = _HOURS.search(value)
    seconds = Fraction(0)
    if clock:
        sign, hours, minutes, rest = clock.groups()
        seconds = (3600 * int(hours) + 60 * int(minutes) + Fraction(rest)) * (-1 if sign else 1)
    return 12 * parts.get("year", 0) + parts.get("mon", 0), parts.get("day", 0), seconds


def _json(value: Any) -> Any:
    pairs: Callable[[Any], Any] = lambda members: ("object", sorted(members, key=lambda member: member[0]))  # noqa: E731
    text = value if isinstance(value, str) else repr(value)  # SQLite stores the text `1` as a number
    return repr(json.loads(text, parse_int=_number, parse_float=_number, object_pairs_hook=pairs))


def _list(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(map(_list, value))
    return Fraction(value) if isinstance(value, int | Decimal) else value


def _struct(value: Any) -> Any:
    return tuple(sorted(value.items()))


#: Meaning of a type -> from what a driver fetched to a value whose == is equality by meaning.
MEANINGS: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"number": _number, "float": _float, "float32": _float32, "text": str, "bytes": _bytes, "uuid": _uuid}
    | {"timestamp": _moment, "date": _date, "time": _time, "interval": _interval}
    | {"json": _json, "list": _list, "struct": _struct}
)


def meant(value: Any, meaning: str) -> Any:
    return None if value is None else MEANINGS[meaning](value)


def told(value: Any, meaning: str) -> str:
    """A part of a key as the matrix names it, from whatever a tool says; what is no such value stays as it is."""
    if value is None or value == "NULL":
        return "NULL"
    try:
        return str(MEANINGS[meaning](value))
    except (ValueError, ArithmeticError, AssertionError):
        return str(value)
