"""What a team allows beyond equality, column by column: a tolerance, and what a NULL means.

Both are applied to values, one pair at a time, and never inside a digest; arithmetic is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, Inexact, InvalidOperation, Overflow
from enum import StrEnum

from trueup.core.kinds import NUMBERS, TIMES, Kind, Value, canonical
from trueup.core.values import Json

#: Digits enough for the difference of any two numbers that a database holds; beyond it nothing is rounded, but refused.
EXACT = Context(prec=200_000, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation, Overflow])
_AMOUNT = re.compile(r"(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?)\s*(%|us|ms|s|m|h|d)?", re.ASCII)
_UNIT_MICROS = {"us": 1, "ms": 1000, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6}
#: A whole float that a 64-bit integer can be stands for that integer, any other float for its shortest spelling.
_WHOLE_FLOATS = 2.0**63


class Nulls(StrEnum):
    """What a NULL means when it is compared."""

    #: It is NULL, and nothing else.
    EXACT = "exact"
    #: The value is not known: such a pair is not compared, and counted.
    UNKNOWN = "unknown"
    #: It is 0, or empty.
    ZERO = "zero"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far two values may be apart: exactly one of these is given."""

    #: As a number.
    amount: Decimal | None = None
    #: As a part of what is expected.
    share: Decimal | None = None
    #: As a time.
    duration: timedelta | None = None
    #: As it was written.
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Tolerance:
        """From "0.01", "1%" or "1s"; ValueError otherwise."""
        found = _AMOUNT.fullmatch(text.strip())
        if found is None:
            raise ValueError(f"{text!r} is not a tolerance; write a number '0.01', a share '1%' or a duration '1s'")
        number, unit = Decimal(found[1]), found[2]
        if unit is None:
            return cls(amount=number, text=text)
        if unit == "%":
            return cls(share=number.scaleb(-2, EXACT), text=text)
        micros = EXACT.multiply(number, Decimal(_UNIT_MICROS[unit]))
        if micros != int(micros):
            raise ValueError(f"{text!r} is finer than a microsecond, the finest that is compared")
        try:
            return cls(duration=timedelta(microseconds=int(micros)), text=text)
        except OverflowError:
            raise ValueError(f"{text!r} is longer than any two times are apart") from None

    def covers(self, expected: Value, observed: Value) -> bool:
        """Are two values, neither of them NULL, no further apart than that?"""
        try:
            if isinstance(expected, Json) and isinstance(observed, Json):
                expected, observed = expected.scalar, observed.scalar
            if self.duration is not None:
                apart = _moment(expected) - _moment(observed)
                return bool(abs(apart) <= self.duration)
            one, other = _number(expected), _number(observed)
            if one is None or other is None:
                return False
            allowed = self.amount or Decimal(0)
            if self.share is not None:
                allowed = EXACT.multiply(EXACT.abs(one), self.share)
            return EXACT.abs(EXACT.subtract(one, other)) <= allowed
        except (TypeError, ArithmeticError):
            return False  # of different types, or with no exact difference: nothing is tolerated

    def unfit(self, kind: Kind) -> str:
        """Why values of `kind` have no such tolerance; empty if they have."""
        if kind is Kind.ANY:
            return ""
        if kind in NUMBERS:
            return "" if self.duration is None else "it holds numbers; write a number '0.01' or a share '1%'"
        if kind in TIMES:
            return "it holds times; write a duration like '1s'" if self.duration is None else ""
        return f"two values of kind {kind} have no distance: they are the same, or they are not"


def _moment(value: Value) -> Value:
    """A date or time that can be subtracted; text only where its database has no other way to hold a time."""
    if isinstance(value, str):
        kind = Kind.TIME if value[2:3] == ":" else Kind.TIMESTAMP
        value = canonical(kind, [value])[0]
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise TypeError("a time of day in a zone of its own")
        return datetime.combine(date.min, value)
    if not isinstance(value, date):
        raise TypeError("no time")
    return value


def _number(value: Value) -> Decimal | None:
    """As an exact decimal; None for anything that is no finite number."""
    match value:
        case float() if -_WHOLE_FLOATS <= value < _WHOLE_FLOATS and value.is_integer():
            return Decimal(int(value))
        case float():
            value = Decimal(repr(value))
        case int() if not isinstance(value, bool):
            return Decimal(value)
    return value if isinstance(value, Decimal) and value.is_finite() else None


#: What NULL is taken for under `zero`.
_ZEROES: dict[Kind, Value] = {
    Kind.INTEGER: 0,
    Kind.DECIMAL: 0,
    Kind.FLOAT: 0.0,
    Kind.BOOLEAN: False,
    Kind.TEXT: "",
    Kind.BYTES: b"",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """How one column's canonical values are compared."""

    kind: Kind
    nulls: Nulls = Nulls.EXACT
    #: How far a value may be from the expected one; None: not at all.
    tolerance: Tolerance | None = None

    @property
    def exact(self) -> bool:
        """Is it equality, and nothing else?"""
        return self.tolerance is None and self.nulls is Nulls.EXACT

    @property
    def zero(self) -> Value:
        """What a NULL stands for under `zero`; None where the kind has no such value."""
        return _ZEROES.get(self.kind)

    def agree(self, expected: Value, observed: Value) -> bool:
        """Is the observed value as good as the expected one?"""
        if self.nulls is Nulls.UNKNOWN and (expected is None or observed is None):
            return True
        if self.nulls is Nulls.ZERO:
            expected = self.zero if expected is None else expected
            observed = self.zero if observed is None else observed
        if expected == observed:
            return True
        if self.tolerance is None or expected is None or observed is None:
            return False
        if self.kind in NUMBERS:  # of which a boolean beside one is one
            expected, observed = (int(value) if isinstance(value, bool) else value for value in (expected, observed))
        return self.tolerance.covers(expected, observed)

    def not_compared(self, expected: Value, observed: Value) -> bool:
        """One is NULL, the other is not, and that says nothing."""
        return self.nulls is Nulls.UNKNOWN and (expected is None) is not (observed is None)

    def kept(self, expected: Value, observed: Value) -> Value:
        """What a repair of the row writes: a value is never overwritten with one that is not known."""
        return observed if expected is None and self.nulls is Nulls.UNKNOWN else expected


#: One for each compared column; empty where all of them are exact, and plain equality answers.
Rules = Sequence[Rule]


def rules_of(
    tolerance: Mapping[str, str], nulls: Mapping[str, str], columns: Sequence[str], kinds: Sequence[Kind]
) -> tuple[Rule, ...]:
    """The rules of these columns, as a team declares them by name. ValueError if a tolerance is none."""
    rules = tuple(
        Rule(
            kind=kind,
            nulls=Nulls(nulls.get(name, Nulls.EXACT)),
            tolerance=Tolerance.parse(tolerance[name]) if name in tolerance else None,
        )
        for name, kind in zip(columns, kinds, strict=True)
    )
    return () if all(rule.exact for rule in rules) else rules


def agree(rules: Rules, expected: Sequence[Value], observed: Sequence[Value]) -> bool:
    """Is an observed row as good as the expected one?"""
    if not rules:
        return expected == observed
    return all(rule.agree(a, b) for rule, a, b in zip(rules, expected, observed, strict=True))


def differing(rules: Rules, expected: Sequence[Value], observed: Sequence[Value]) -> list[bool]:
    """For each column: do the rows differ there?"""
    if not rules:
        return [a != b for a, b in zip(expected, observed, strict=True)]
    return [not rule.agree(a, b) for rule, a, b in zip(rules, expected, observed, strict=True)]


def kept(rules: Rules, expected: tuple[Value, ...], observed: Sequence[Value] | None) -> tuple[Value, ...]:
    """The expected row as it is written over an observed one."""
    if not rules or observed is None:
        return expected
    return tuple(rule.kept(a, b) for rule, a, b in zip(rules, expected, observed, strict=True))
