"""Numbers that commit out of order are all seen; those that never come are given up in time, and not in silence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.gaps import GAPS_MAX, Reading


@given(st.permutations(range(1, 30)), st.sets(st.integers(1, 29)), st.integers(1, 7))
def test_every_number_is_seen_or_waited_for(order: list[int], rolled_back: set[int], at_once: int) -> None:
    """A model of the table: numbers appear in any order, and what is asked for is what a source asks for."""
    reading, seen, there = Reading(top=0), set[int](), set[int]()
    coming = [number for number in order if number not in rolled_back]
    while coming:
        there |= set(coming[:at_once])
        del coming[:at_once]
        found = {n for n in there if n > reading.top or any(gap.low <= n <= gap.high for gap in reading.gaps)}
        assert not found & seen, "none is read twice"
        reading.came(found, now=0.0)
        seen |= found
        assert seen == there
        assert all(n in there for n in range(1, reading.settled + 1)), "nothing before it is still to come"
    assert not reading.give_up(now=1.0, late_s=1.0)
    assert reading.settled == reading.top == max(seen, default=0)


def test_too_many_gaps_are_told_of() -> None:
    reading = Reading(top=0)
    reading.came(range(2, 2 * GAPS_MAX + 2, 2), now=0.0)
    assert not reading.give_up(now=0.0, late_s=60)
    reading.came([2 * GAPS_MAX + 2], now=0.0)
    assert reading.give_up(now=0.0, late_s=60)
    assert len(reading.gaps) == GAPS_MAX
    assert not reading.give_up(now=0.0, late_s=60), "once"


def test_a_jump_is_one_gap() -> None:
    reading = Reading(top=10)
    reading.came([10**12], now=0.0)
    assert len(reading.gaps) == 1
    reading.came([500], now=0.0)
    assert [(gap.low, gap.high) for gap in reading.gaps] == [(11, 499), (501, 10**12 - 1)]
    assert reading.settled == 10
