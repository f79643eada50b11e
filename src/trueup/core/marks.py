"""What a pair of values, expected and observed, looks like to somebody who searches for a cause.

A mark says how the one could have become the other. A pair may have several: 1 and 2 are one apart, and doubled.
"""

from __future__ import annotations

import html
import math
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, localcontext
from itertools import islice
from typing import Any

from trueup.core.row import Value, present

#: Digits behind the point to which a value may have been rounded.
DIGITS_MAX = 6
_PLACES = [Decimal(1).scaleb(-digits) for digits in range(DIGITS_MAX + 1)]
#: Hours that two time zones can be apart.
ZONES_APART = 26
#: Exact numbers longer than this are left alone: to reckon with them would cost more than it tells.
DIGITS_LONGEST = 60
BITS_LONGEST = 1000
#: Digits with which the difference of any two others is exact: a double has up to 309 before the point, 340 after.
EXACT = Context(prec=700)
#: Digits before or after the point that are written out.
WRITTEN_OUT = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """How an observed value differs from the expected one."""

    kind: str
    #: With a place for the name of the column.
    words: str
    #: Of two marks with as many rows the lower one is told.
    rank: int = 0
    #: Small numbers have it by chance.
    chance: bool = False


def _bare(text: str) -> str:
    """The text without its accents."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in parts if not unicodedata.combining(letter))


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def loosely(text: str) -> str:
    """What all spellings of a text have in common."""
    return _bare(html.unescape(html.unescape(text))).casefold().strip()


#: How two texts may be spellings of one, the least change first.
SPELLINGS: tuple[tuple[str, Callable[[str], str]], ...] = (
    ("trailing blanks", str.rstrip),
    ("blanks around it", str.strip),
    ("the Unicode form (NFC, NFD)", _nfc),
    ("case", lambda text: _nfc(text).casefold()),
    ("HTML entities", lambda text: html.unescape(html.unescape(text))),
    ("accents", _bare),
    ("case, accents, blanks or HTML entities", loosely),
)
_KINDS = ("blanks", "blanks", "unicode_form", "case", "html", "accents", "spelling")


def spelling(value: Value) -> str:
    """A text that two values share only if they are the same; any value has one."""
    if type(value) is int:
        return f"int:{value:x}"  # in decimal, a very long one is refused
    try:
        return f"{type(value).__name__}:{value!r}"
    except ValueError:
        return f"{type(value).__name__} at {id(value)}"


def shown(value: Value) -> str:
    """A value in a sentence."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    return spelling(value) if isinstance(value, int) and not _number(value) else str(present(value))


def marks_of(expected: Value, observed: Value) -> tuple[list[Mark], str]:
    """Every mark of a pair of unequal values, and the side to which it errs: `high`, `low` or neither."""
    if expected is None or observed is None:
        told = "is NULL instead of a value" if observed is None else "has a value instead of NULL"
        return [Mark("null" if observed is None else "not_null", f"{{column}} {told}")], ""
    try:
        if isinstance(expected, str) and isinstance(observed, str):
            return [*_texts(expected, observed)], ""
        if isinstance(expected, date) and isinstance(observed, date):
            return _moments(expected, observed)
        if _number(expected) and _number(observed):
            with localcontext(EXACT):
                return _numbers(_exact(expected), _exact(observed))
    except (ArithmeticError, TypeError, ValueError):
        pass  # values that cannot be reckoned with say nothing; they are in the report as they are
    return [], ""


def _texts(expected: str, observed: str) -> Iterator[Mark]:
    if loosely(expected) == loosely(observed):
        same = (
            (kind, what)
            for kind, (what, fold) in zip(_KINDS, SPELLINGS, strict=True)
            if fold(expected) == fold(observed)
        )
        for kind, what in islice(same, 1):
            yield Mark(kind, f"{{column}} differs only by {what}")
        return
    if not observed:
        yield Mark("empty", "{column} is empty")
    elif expected.startswith(observed):
        yield Mark("truncated", "{column} is cut: it is the beginning of what it should be")


def _moments(expected: date, observed: date) -> tuple[list[Mark], str]:
    if isinstance(expected, datetime) != isinstance(observed, datetime):
        return [], ""
    apart = observed - expected
    side = "high" if apart > timedelta(0) else "low"
    hours, over = divmod(abs(apart), timedelta(hours=1))
    sign = "+" if side == "high" else "-"
    if isinstance(expected, datetime) and not over and hours <= ZONES_APART:
        return [Mark("time_zone", f"{{column}} is shifted by {sign}{hours} h, as by a time zone")], side
    words = f"{{column}} is off by exactly {sign}{abs(apart)}"
    return [Mark("offset", words.replace(", 0:00:00", ""), rank=1, chance=True)], side


def apart_by_chance(pairs: Sequence[tuple[Value, Value]], example: tuple[Value, Value]) -> float:
    """How many pairs would be as far apart as `example`, had their values come together at random: of small numbers
    many, of large ones hardly any.
    """
    expected, observed = (Counter(map(_reckoned, values)) for values in zip(*pairs, strict=True))
    first, second = map(_reckoned, example)
    met = 0
    with localcontext(EXACT):
        apart = second - first
        for value, count in expected.items():
            with suppress(ArithmeticError, TypeError):  # of another type, or beyond the last moment
                met += count * observed[value + apart]
    return met / len(pairs)


def _reckoned(value: Value) -> Any:
    """What differences are taken of."""
    return _exact(value) if _number(value) else value


def _number(value: Value) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, float):
        return math.isfinite(value)
    if isinstance(value, Decimal):
        return value.is_finite() and abs(value.adjusted()) + len(value.as_tuple().digits) <= DIGITS_LONGEST
    return isinstance(value, int) and value.bit_length() <= BITS_LONGEST


def _exact(value: Value) -> Decimal | int:
    """The number as it is written, so that 0.3 - 0.2 is 0.1."""
    if isinstance(value, float):
        return Decimal(repr(value))
    assert isinstance(value, int | Decimal)
    return value


def _numbers(expected: Decimal | int, observed: Decimal | int) -> tuple[list[Mark], str]:
    apart = observed - expected
    if not apart:
        return [], ""
    side = "high" if apart > 0 else "low"
    marks = [
        Mark(
            "offset", f"{{column}} is exactly {_plain(apart if apart > 0 else -apart)} too {side}", rank=1, chance=True
        )
    ]
    if observed == 2 * expected:
        marks.append(Mark("doubled", "{column} is twice what it should be", rank=2, chance=True))
    if observed == -expected:
        marks.append(Mark("sign", "{column} has the opposite sign", rank=2, chance=True))
    for digits in _rounded_to(expected, observed):
        place = "a whole number" if digits == 0 else f"{digits} digit{'s' * (digits > 1)} behind the point"
        marks.append(Mark("rounded", f"{{column}} is rounded to {place}", rank=0, chance=True))
    return marks, side


def _plain(number: Decimal | int) -> str:
    if isinstance(number, int):
        return str(number)
    short = number.normalize()
    return f"{short:f}" if abs(short.adjusted()) <= WRITTEN_OUT else str(short)


def _rounded_to(expected: Decimal | int, observed: Decimal | int) -> list[int]:
    """To how many digits the expected value may have been rounded or cut: 2.04 that became 2 to none, or to one."""
    if not isinstance(expected, Decimal):
        return []
    apart = abs(observed - expected)
    ways = (ROUND_HALF_EVEN, ROUND_HALF_UP, ROUND_DOWN)
    places = [place for place in _PLACES if apart < place]  # nothing is rounded by more
    return [at for at, place in enumerate(places) if any(expected.quantize(place, way) == observed for way in ways)]
