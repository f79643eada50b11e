"""The paired estimate finds what is there, in the tail, whatever the base is."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.pace.tails import FIRST, MEMORY_S, READINGS_MAX, Impact, Readings, Tails


def filled(slower: float, *, base_ms: float = 1.0, hit: float = 0.5, readings: int = 800, seed: int = 1) -> Tails:
    """`hit` of the readings with ours in flight take `slower` milliseconds more."""
    chance, tails = random.Random(seed), Tails()
    for at in range(readings):
        own = at % 2 == 0
        ms = chance.expovariate(1 / base_ms) + (slower if own and chance.random() < hit else 0.0)
        tails.add(at * MEMORY_S / readings, ms, own=own)
    return tails


def test_no_effect_is_no_effect() -> None:
    impact = filled(0.0).impact(MEMORY_S, busy=0.5, budget=0.4)
    assert impact.slowed == pytest.approx(0.0, abs=0.2)
    assert impact.share == 1.0
    assert impact.sure


def test_the_effect_is_weighed_by_the_share_of_the_time_and_not_by_how_often_it_was_looked_at() -> None:
    tails = filled(10.0, hit=0.1)
    little = tails.impact(MEMORY_S, busy=0.05, budget=0.4).slowed
    much = tails.impact(MEMORY_S, busy=0.6, budget=0.4).slowed
    assert little is not None
    assert much is not None
    assert little < 0.5 < 1.5 < much


def test_what_it_allows_keeps_the_budget() -> None:
    tails = filled(10.0, hit=0.1)
    allowed = tails.impact(MEMORY_S, busy=0.6, budget=0.4).share
    assert allowed is not None
    assert 0.02 < allowed < 0.3
    kept = tails.impact(MEMORY_S, busy=allowed, budget=0.4).slowed
    assert kept == pytest.approx(0.4, abs=0.15)


def test_others_who_take_longer_than_the_canary_are_slowed_by_less() -> None:
    tails = filled(1.0, base_ms=0.1, hit=0.1)
    plain = tails.impact(MEMORY_S, busy=0.6, budget=0.4)
    scaled = tails.impact(MEMORY_S, busy=0.6, budget=0.4, mean_ms=20.0)
    assert plain.slowed is not None
    assert scaled.slowed is not None
    assert scaled.slowed < 0.3 < 1.2 < plain.slowed
    assert scaled.share == 1.0


def test_a_transaction_is_hit_more_often_than_a_round_trip_and_so_is_a_reading_that_is_as_long() -> None:
    """Three of a hundred round trips wait for the end of a slice, which is in the tail of no single one."""

    def read(trips: int) -> Impact:
        chance, tails = random.Random(1), Tails()
        for at in range(2000):
            own = at % 2 == 0
            ms = [0.1 + (2.0 if own and chance.random() < 0.03 else 0.0) for _ in range(trips)]
            tails.add(at * MEMORY_S / 2000, sum(ms), own=own)
        return tails.impact(MEMORY_S, busy=1.0, budget=0.4)

    assert (read(1).slowed, read(1).share) == (0.0, 1.0)
    assert read(5).slowed == pytest.approx(2.0 / 0.5)
    assert read(5).share == pytest.approx(0.05 / (1 - 0.97**5), rel=0.2)


def test_where_a_queue_forms_a_delay_falls_on_more_than_those_that_it_hits() -> None:
    tails = filled(10.0, hit=0.1)
    alone = tails.impact(MEMORY_S, busy=0.3, budget=0.4)
    queued = tails.impact(MEMORY_S, busy=0.3, budget=0.4, spread=3.0)
    assert alone.slowed is not None
    assert queued.slowed is not None
    assert queued.slowed > 2 * alone.slowed
    assert alone.share is not None
    assert queued.share == pytest.approx(alone.share / 3)
    assert (filled(0.0).impact(MEMORY_S, busy=0.3, budget=0.4, spread=3.0).share or 0.0) > 0.5


@given(hit=st.floats(0.0, 0.5), readings=st.integers(2 * FIRST, 4000))
def test_what_is_sure_is_less_than_what_is_likely_the_less_was_read_the_more_so(hit: float, readings: int) -> None:
    impact = filled(10.0, hit=hit, readings=readings).impact(MEMORY_S, busy=0.3, budget=0.4)
    assert impact.share is not None
    assert impact.surely is not None
    assert impact.possibly is not None
    assert impact.surely <= impact.share <= impact.possibly <= 1.0


def test_a_load_at_its_budget_seldom_looks_like_too_much_for_sure_and_three_times_as_much_does() -> None:
    """By what is likely alone chance would lower it again and again."""
    all_of_it = filled(10.0, hit=0.1, readings=200_000).impact(MEMORY_S, busy=0.3, budget=0.4).share
    assert all_of_it is not None
    looks = [
        filled(10.0, hit=0.1, readings=400, seed=seed).impact(MEMORY_S, busy=0.3, budget=0.4) for seed in range(300)
    ]

    def surely_less_than(load: float) -> float:
        return sum((look.possibly or 0.0) < load for look in looks) / len(looks)

    assert sum((look.share or 0.0) < all_of_it for look in looks) / len(looks) > 0.4  # the control
    assert surely_less_than(all_of_it) < 0.25
    assert surely_less_than(3 * all_of_it) > 0.9


def test_a_few_readings_of_which_none_was_slow_do_not_prove_much() -> None:
    few, many = (filled(0.0, readings=n).impact(MEMORY_S, busy=0.3, budget=0.4).surely for n in (2 * FIRST, 400))
    assert few == pytest.approx(0.05 / (2 / FIRST))
    assert many == 1.0


def test_what_is_known_from_elsewhere_is_the_least_and_nobody_is_not_slowed() -> None:
    impact = filled(0.0).impact(MEMORY_S, busy=0.5, budget=0.4)
    assert impact.at_least(3.0).slowed == 3.0
    assert impact.at_least(3.0).share == impact.share
    hurts = filled(10.0).impact(MEMORY_S, busy=0.5, budget=0.4)
    assert (hurts.of_nobody().slowed, hurts.of_nobody().share) == (0.0, 1.0)
    assert Impact().of_nobody().share is None  # nothing was read: nothing is known


def test_too_few_or_too_old_readings_say_nothing() -> None:
    tails = filled(10.0, readings=2 * FIRST - 2)
    assert tails.impact(MEMORY_S, busy=0.5, budget=0.4).slowed is None
    old = filled(10.0)
    assert old.impact(3 * MEMORY_S, busy=0.5, budget=0.4).share is None
    gone = filled(10.0)
    gone.forget_own()
    assert gone.impact(MEMORY_S, busy=0.5, budget=0.4).on == 0
    assert gone.count(0.0) == (0, 400)
    gone.forget()
    assert gone.count(0.0) == (0, 0)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.sampled_from([0.1, 0.2, 5.0]))),
    st.floats(0, 200),
    st.floats(0, 200),
)
def test_readings_are_what_a_list_would_be(made: list[tuple[float, float]], before: float, since: float) -> None:
    readings, plain, at = Readings(), list[tuple[float, float]](), 0.0
    for passed, ms in made:
        at += passed
        readings.add(at, ms)
        plain.append((at, ms))
    readings.forget(before)
    plain = [reading for reading in plain if reading[0] >= before]
    assert readings.ordered == sorted(ms for _, ms in plain)
    assert (len(readings), readings.since(since)) == (len(plain), sum(at >= since for at, _ in plain))
    readings.forget()
    assert (len(readings), readings.ordered) == (0, [])


def test_no_more_readings_are_kept_than_there_is_room_for_and_none_from_before_a_clock_went_back() -> None:
    readings = Readings()
    for at in range(READINGS_MAX + 5):
        readings.add(at, float(-at))
    assert (len(readings), readings.ordered[0], readings.ordered[-1]) == (READINGS_MAX, -at, -5.0)
    readings.add(3.0, 7.0)
    assert (readings.since(0.0), readings.ordered) == (1, [7.0])
