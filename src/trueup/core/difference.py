"""What a row is off by, number by number: the same in every snapshot, as long as writers change both sides together."""

from __future__ import annotations

from decimal import Decimal
from typing import TypeGuard

from trueup.core.compare import DriftKind, Suspect
from trueup.core.row import Value, Values
from trueup.core.rules import EXACT

#: How the evidence of rows that were written by difference ends.
SUBTRACTED = "which was subtracted"
GIVEN_BACK = "had been subtracted, and was added again"

#: What two measurements are named in a report.
Off = tuple[int | Decimal, ...]


def off_by(suspect: Suspect) -> Off | None:
    """Observed minus expected, column by column; None where it was not measured at one instant, or is no number."""
    if suspect.kind is not DriftKind.DIFFERENT or not suspect.instant or suspect.copies is not None:
        return None
    return less(suspect.observed, suspect.expected)


def corrected(held: Values, off: Off) -> Values | None:
    """A row less what it is off by; None if it holds something that is no number."""
    values = [_minus(value, by) for value, by in zip(held, off, strict=True)]
    return None if None in values else tuple(values)


def opposite(off: Off) -> Off:
    """What takes the same difference back."""
    return tuple(-by if isinstance(by, int) else EXACT.minus(by) for by in off)


def together(one: Off, other: Off) -> Off:
    """Two differences of one row, one after the other."""
    return tuple(
        a + b if isinstance(a, int) and isinstance(b, int) else EXACT.add(Decimal(a), Decimal(b))
        for a, b in zip(one, other, strict=True)
    )


def less(before: Values | None, after: Values | None) -> Off | None:
    """What was taken off a row; None where one of the two is no number, or no row."""
    if before is None or after is None:
        return None
    taken = [_minus(one, other) for one, other in zip(before, after, strict=True)]
    return None if None in taken else tuple(by for by in taken if by is not None)


def in_words(off: Off) -> str:
    """+2, or (+2, 0) where there are several columns."""
    signed = [f"{EXACT.normalize(Decimal(by)):+f}" if by else "0" for by in off]
    return signed[0] if len(signed) == 1 else f"({', '.join(signed)})"


def subtracted(off: Off) -> str:
    """Evidence of a row that was repaired by its difference."""
    return f"it was off by {in_words(off)}, {SUBTRACTED}"


def given_back(off: Off) -> str:
    """Evidence of a row that was put back by its difference. `off`: what this row counts as being off by."""
    return f"{in_words(opposite(off))} {GIVEN_BACK}"


def by_difference(evidence: str) -> bool:
    """Was a row with this evidence written by difference? The ledger has no other word for it."""
    return evidence.endswith((SUBTRACTED, GIVEN_BACK))


def _minus(one: Value, other: Value) -> int | Decimal | None:
    if not (_adds_up(one) and _adds_up(other)):
        return None
    if isinstance(one, int) and isinstance(other, int):
        return one - other
    return EXACT.subtract(Decimal(one), Decimal(other))  # Python's own subtraction keeps 28 digits


def _adds_up(value: Value) -> TypeGuard[int | Decimal]:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)
