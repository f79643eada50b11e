"""Values that Python has no type for: a JSON document, and a span of months, days and microseconds.

Both keep how they were spelt, or can be spelt again without loss, and are equal and hashed by what they mean.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, NoReturn


class Json:
    """A JSON document, equal by meaning: the order of an object's keys and the spelling of numbers play no part.

    Numbers of any size are exact. A key that occurs twice counts twice, and an array's order counts.
    """

    __slots__ = ("_meaning", "text")

    def __init__(self, text: str) -> None:
        """ValueError if `text` is no JSON (`NaN`, which some parsers take, is none)."""
        #: As it was spelt.
        self.text = text
        try:
            document = _DECODER.decode(text)
            self._meaning = _canonical(document)
        except RecursionError:
            raise ValueError("a JSON document that is nested too deeply") from None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Json) and self._meaning == other._meaning

    def __hash__(self) -> int:
        return hash(self._meaning)

    def __repr__(self) -> str:
        return f"Json({self._meaning!r})"

    @property
    def scalar(self) -> str | Decimal | None:
        """The string or the number that it is; None where it is something else."""
        if self._meaning.startswith('"'):
            return str(json.loads(self._meaning))
        return None if self._meaning[0] in "{[tfn" else Decimal(self._meaning)

    def __str__(self) -> str:
        return self.text


class _Object(list[tuple[str, Any]]):
    """The members of a JSON object, as they came."""


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON")


def _number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent beyond what Decimal has
        raise ValueError(f"no number: {text[:40]}") from None


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object, parse_int=_number, parse_float=_number, parse_constant=_refuse, strict=True
)


def _canonical(document: Any) -> str:
    """One text for each meaning."""
    if isinstance(document, _Object):
        members = sorted(document, key=lambda member: member[0])  # stable: of a repeated key the order counts
        return "{" + ",".join(f"{json.dumps(name)}:{_canonical(value)}" for name, value in members) + "}"
    if isinstance(document, list):
        return "[" + ",".join(map(_canonical, document)) + "]"
    if isinstance(document, Decimal):
        return _digits(document)
    return json.dumps(document)


def _digits(number: Decimal) -> str:
    """One spelling for each number: digits without trailing zeros, and an exponent."""
    sign, digits, exponent = number.as_tuple()
    assert isinstance(exponent, int)
    text = "".join(map(str, digits))
    kept = text.rstrip("0")
    if not kept:
        return "0"  # minus zero too
    return f"{'-' * sign}{kept.lstrip('0')}e{exponent + len(text) - len(kept)}"


_SPAN = re.compile(
    r"P(?:(?P<years>-?\d+)Y)?(?:(?P<months>-?\d+)M)?(?:(?P<weeks>-?\d+)W)?(?:(?P<days>-?\d+)D)?"
    r"(?:T(?:(?P<hours>-?\d+)H)?(?:(?P<minutes>-?\d+)M)?(?:(?P<seconds>-?\d+(?:\.\d{1,6})?)S)?)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Interval:
    """A span of time whose parts are not converted into one another: a month is not 30 days, a day not 24 hours."""

    months: int
    days: int
    microseconds: int

    @classmethod
    def parse(cls, text: str) -> Interval:
        """From ISO 8601 (`P1Y2M3DT4H5M6.5S`), each part with a sign of its own; ValueError for anything else."""
        found = _SPAN.fullmatch(text)
        parts = {name: part for name, part in found.groupdict().items() if part} if found else {}
        if not parts or text.endswith("T"):
            raise ValueError(f"{text!r} is not an interval; write it like 'P1M3DT4H'")
        of: Callable[[str], int] = lambda name: int(parts.get(name, 0))  # noqa: E731 - one word for the sums below
        seconds = Decimal(parts.get("seconds", 0)) + 60 * of("minutes") + 3600 * of("hours")
        return cls(12 * of("years") + of("months"), 7 * of("weeks") + of("days"), int(seconds * 1_000_000))

    def __str__(self) -> str:
        """ISO 8601, without loss."""
        seconds = Decimal(self.microseconds).scaleb(-6)
        text = f"{seconds:f}".rstrip("0").rstrip(".") if self.microseconds else "0"
        dated = (f"{self.months}M" if self.months else "") + (f"{self.days}D" if self.days else "")
        return f"P{dated}" + (f"T{text}S" if self.microseconds or not dated else "")


def plain(value: Any) -> Any:
    """`value` as a driver takes it: values of this module as text, others as they are."""
    if isinstance(value, Json):
        return value.text
    return str(value) if isinstance(value, Interval) else value


def as_single(value: Any) -> Any:
    """A float as a column of single precision holds it; what none such is, and any other value, as it is."""
    if not isinstance(value, float):
        return value
    try:
        return struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        return value
