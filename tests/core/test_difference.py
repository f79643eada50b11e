"""What rows are off by, which row is newer, and whose increments have arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.compare import DriftKind, Suspect
from trueup.core.difference import corrected, in_words, off_by
from trueup.core.quiet import young
from trueup.core.versions import ahead, newer

NUMBERS = st.one_of(
    st.integers(-(2**63), 2**63), st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9))
)
ROWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=4)


def measured(observed: Any, expected: Any, **changes: Any) -> Suspect:
    given: dict[str, Any] = {"kind": DriftKind.DIFFERENT, "key": (1,), "instant": True} | changes
    return Suspect(expected=tuple(expected), observed=tuple(observed), **given)


@given(ROWS)
def test_writers_that_change_both_sides_never_change_the_difference(rows: list[tuple[Any, Any, Any]]) -> None:
    observed, expected, change = zip(*rows, strict=True)
    off = off_by(measured(observed, expected))
    with localcontext(prec=1000):  # as a database adds: all digits are kept
        moved = [[value + by for value, by in zip(side, change, strict=True)] for side in (observed, expected)]
    assert off_by(measured(*moved)) == off
    assert off is not None
    assert corrected(tuple(moved[0]), off) == tuple(moved[1])


def test_all_digits_are_kept() -> None:
    """Decimals have more than the 28 that Python computes with unless it is told."""
    many = Decimal("9999999999999999999999999999999999.5")
    off = off_by(measured([many], [1]))
    assert off == (Decimal("9999999999999999999999999999999998.5"),)
    assert corrected((many,), off) == (1,)
    assert in_words(off) == "+9999999999999999999999999999999998.5"


@pytest.mark.parametrize(
    "unmeasured",
    [
        measured([1], [None]),
        measured([None], [1]),
        measured([1], [2], instant=False),
        measured([1], [2], copies=(1, 2)),
        measured(["1"], [2]),
        measured([True], [2]),
        measured([1.5], [2]),
        Suspect(kind=DriftKind.MISSING, key=(1,), expected=(1,), observed=None, instant=True),
    ],
)
def test_what_cannot_be_measured(unmeasured: Suspect) -> None:
    assert off_by(unmeasured) is None


def test_a_row_that_holds_no_number_by_now_is_not_corrected() -> None:
    assert corrected((None,), (2,)) is None


def test_in_words() -> None:
    assert in_words((2,)) == "+2"
    assert in_words((Decimal("-1.500"), 0, 10)) == "(-1.5, 0, +10)"


@given(st.one_of(st.none(), st.integers()), st.one_of(st.none(), st.integers()))
def test_of_two_versions_at_most_one_is_newer(one: int | None, other: int | None) -> None:
    assert newer(one, other) + newer(other, one) == (one != other)


def test_only_a_target_that_is_newer_is_ahead() -> None:
    assert ahead(("a", 1), ("b", 2), 1)
    assert not ahead(("a", 2), ("b", 2), 1)
    assert not ahead(("a", 2), ("b", None), 1)
    assert not ahead(None, ("b", 2), 1)


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@given(st.timedeltas(timedelta(days=-9), timedelta(days=9)), st.floats(0.001, 10**5))
def test_a_key_is_young_from_the_bound_on(age: timedelta, bound_s: float) -> None:
    assert young(NOW - age, NOW, bound_s, "") == (age < timedelta(seconds=bound_s))


def test_times_that_say_less() -> None:
    assert young(None, NOW, 5, "UTC")  # no time: not known to be old
    assert young("soon", NOW, 5, "UTC")
    assert young("2026-03-01 11:59:58", NOW, 5, "UTC")
    assert not young("2026-03-01 11:59:50", NOW, 5, "UTC")
    assert not young("2026-03-01 12:59:50", NOW, 5, "Europe/Berlin")
    twice = datetime(2026, 10, 25, 2, 30)
    assert young(twice, datetime(2026, 10, 25, 1, 30, 2, tzinfo=UTC), 5, "Europe/Berlin")
