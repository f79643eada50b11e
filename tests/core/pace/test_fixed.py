"""What the law does without what it goes by: beside a fixed load, and where there are no readings."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.pace.test_governor import BAD, LIMITS, after, estimate, seen, steady
from trueup.core.pace.governor import CLEAR_S, GOOD_S, STABLE_S, Limits, Mode, State, ceiling_of, tick
from trueup.core.pace.tails import FIRST, Impact
from trueup.pace.trial import FOLLOW_S

FIXED = replace(LIMITS, fixed=3.0)
NOTHING = seen(impact=Impact(), fresh=(0, 0), room=None)


def test_a_fixed_load_is_not_taken_for_good() -> None:
    """One tick of three statements in flight, and three were what had been good for as long as there was a law."""
    small = replace(steady(0.055), at=60.0)
    fixed = tick(FIXED, small, NOTHING, 60.5)
    assert (fixed.u, fixed.changed_at) == (3.0, 60.5)
    back = tick(LIMITS, fixed, NOTHING, 61.0)
    assert (back.mode, back.u, back.good, back.changed_at) == (Mode.RECOVERY, 0.055, 0.055, 61.0)
    later = after(back, NOTHING, GOOD_S + 2)
    assert max(later.u, later.good) < 0.06


def test_after_a_fixed_load_nothing_is_raised_before_it_was_calm() -> None:
    calm = after(replace(steady(), at=60.0), seen(), 5)
    fixed = after(calm, seen(BAD), 60, limits=replace(LIMITS, fixed=0.1))
    back = tick(LIMITS, fixed, seen(), fixed.at + 0.5)
    assert (back.mode, back.u) == (Mode.RECOVERY, pytest.approx(0.1))  # less than before: no more than there was
    assert after(back, seen(), CLEAR_S - 0.5).u == back.u
    assert after(back, seen(), CLEAR_S + 5).u >= 0.6  # what was known to be good before still is
    assert after(back, seen(), STABLE_S - 1).mode is Mode.RECOVERY


def test_after_a_fixed_load_pressure_from_before_it_does_not_count() -> None:
    bad = after(replace(steady(), at=60.0), seen(BAD), 1)
    back = after(after(bad, seen(), 60, limits=FIXED), seen(BAD), 2.5)
    assert back.mode is Mode.RECOVERY
    assert after(back, seen(BAD), 2).mode is Mode.DEGRADED, "the control"


@pytest.mark.parametrize("between", ["paused", "least"])
def test_after_a_fixed_load_and_a_pause_it_begins_at_the_minimum(between: str) -> None:
    state = after(steady(), seen(), 1, limits=FIXED)
    paused = replace(LIMITS, paused="by ann")
    state = after(state, seen(), 1, limits=paused if between == "paused" else replace(FIXED, fixed=0.01))
    back = tick(LIMITS, state, seen(), state.at + 0.5)
    assert (back.mode, back.u, back.adapted) == (Mode.RECOVERY, LIMITS.least, None)


@pytest.mark.parametrize("fixed", [1.0, 3.0])
def test_a_trial_of_a_fixed_load_shows_the_law_as_it_is(fixed: float) -> None:
    """If it began from the minimum each time, half of what a trial shows of it would be how it begins."""
    state = after(State(), seen(room=1.5), 120)
    settled = state.u
    assert settled == pytest.approx(1.5)
    for _ in range(4):
        state = after(state, seen(impact=estimate(2.0, 0.1)), FOLLOW_S + 10, limits=replace(LIMITS, fixed=fixed))
        assert state.u == fixed
        follows = after(state, seen(room=1.5, fresh=(0, 0)), FOLLOW_S)
        state = after(follows, seen(room=1.5), 10)
        for at in (follows, state):
            assert at.u == pytest.approx(settled, rel=0.25)


def test_while_the_canary_can_be_read_nothing_is_raised_without_an_estimate() -> None:
    """With eight readings without ours there was none, and that was taken for there being no canary at all."""
    few = seen(impact=Impact(on=500, off=FIRST - 4), fresh=(500, FIRST - 4), room=None)
    state = after(steady(2.0), few, 120, limits=Limits(most=7.0))
    assert (state.u, state.reason) == (2.0, "looks at the present load")
    slowly = after(steady(2.0), replace(few, probed=False), 120, limits=Limits(most=7.0))
    assert 2.0 < slowly.u < 7.0, "the control: without a probe by time, and slowly"


def test_the_ceiling_is_never_below_the_minimum() -> None:
    state = replace(steady(), room=-0.5)
    assert ceiling_of(LIMITS, state) == LIMITS.least
    assert ceiling_of(LIMITS, replace(state, room=0.5)) == 0.5
