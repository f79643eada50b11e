"""The law keeps what it promises whatever it is told: bounds, steps, transitions, floor, blame."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.pace.credit import DEBT_S, Bucket, charged, refilled, wait_s, workers
from trueup.core.pace.governor import (
    BLAME_S,
    CLEAR_S,
    FORGET_S,
    HOLD,
    KEEP_AWAY,
    LEAST_MAX,
    LEAVE,
    RELAX,
    RISE_A_SECOND,
    SEEN_LATE_S,
    SLOWED_S,
    TICK_S_MAX,
    Limits,
    Mode,
    Seen,
    State,
    beside_others,
    resumed,
    statement_share,
    tick,
    to_json,
)
from trueup.core.pace.pressure import HELD, Health
from trueup.core.pace.tails import Impact

LIMITS = Limits(least=0.05, most=4.0)


def estimate(slowed: float, share: float, surely: float | None = None, *, on: int = 500, off: int = 500) -> Impact:
    """`surely`: the same as `share`, unless given; as `possibly` is."""
    sure = share if surely is None else surely
    return Impact(slowed=slowed, share=share, surely=sure, possibly=share, on=on, off=off)


ROOM = estimate(0.0, 1.0)
CALM = Health(pressure=0.1, signal="busy", value=1.1)
BAD = Health(pressure=1.6, signal="busy", value=3.2)
HARD = Health(pressure=3.0, signal="busy", value=99, hard=True)


def seen(health: Health = CALM, impact: Impact = ROOM, **more: object) -> Seen:
    return Seen(**{"health": health, "impact": impact, "fresh": (500, 500), "room": 1.0, **more})  # type: ignore[arg-type]


def after(state: State, what: Seen, seconds: float, *, step: float = 0.5, limits: Limits = LIMITS) -> State:
    end = state.at + seconds
    while state.at < end - 1e-9:
        state = tick(limits, state, what, state.at + step)
    return state


def steady(u: float = 0.8) -> State:
    """A load that was good for a long time."""
    return State(mode=Mode.NORMAL, u=u, good=u, since=-100, changed_at=-100)


healths = st.builds(
    lambda pressure, hard, blind: Health(
        pressure=pressure, signal="busy", value=1.0, hard=hard or pressure >= 3, blind=blind
    ),
    st.floats(0, 3),
    st.sampled_from([False] * 9 + [True]),
    st.sampled_from([False] * 19 + [True]),
)
impacts = st.builds(
    lambda slowed, share, surely, on, off: (
        estimate(slowed, share, share * surely, on=on, off=off) if on and off else Impact()
    ),
    st.floats(0, 5),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([0, 12, 100]),
    st.sampled_from([0, 12, 100]),
)
ticks = st.tuples(
    st.builds(
        Seen,
        health=healths,
        impact=impacts,
        fresh=st.tuples(st.sampled_from([0, 12, 100]), st.sampled_from([0, 12, 100])),
        room=st.none() | st.floats(-2, 8),
        waiting=st.booleans(),
        errors=st.sampled_from([0, 0, 0, 2]),
        age=st.sampled_from([0.0, 0.0, 3.0, 9.0]),
    ),
    st.sampled_from([0.1, 0.5, 0.5, 1.0, 2.0, 7.0, 0.0, -3600.0, 3600.0]),
    st.sampled_from([""] * 9 + ["by ann"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ticks, min_size=5, max_size=60))
def test_whatever_it_is_told(told: list[tuple[Seen, float, str]]) -> None:
    state, now = State(), 1000.0
    state = replace(state, at=now)
    for what, step, paused in told:
        now += step
        limits = replace(LIMITS, paused=paused)
        before, state = state, tick(limits, state, what, now)
        assert state == tick(limits, before, what, now)  # deterministic
        if paused:
            assert (state.mode, state.u, workers(state.u)) == (Mode.PAUSED, 0.0, 0)
            assert wait_s(Bucket(credit=9), state.u, 0, 5.0) is None
            continue
        assert LIMITS.least - 1e-12 <= state.u <= LIMITS.most + 1e-12
        assert not (state.mode is Mode.NORMAL and before.mode in (Mode.DEGRADED, Mode.PAUSED))
        passed = max(0.0, min(step, TICK_S_MAX))
        assert state.u <= max(before.u * RISE_A_SECOND**passed, LEAST_MAX) + 1e-9
        assert state.u <= max(before.u * 1.5, LEAST_MAX) + 1e-9  # one bounded step, whatever the clock says


@settings(max_examples=60, deadline=None)
@given(st.lists(ticks, min_size=1, max_size=30), st.floats(0, 2))
def test_worse_signals_never_permit_more(told: list[tuple[Seen, float, str]], worse: float) -> None:
    state, now = replace(State(), at=1000.0), 1000.0
    for what, step, paused in told:
        now += step
        limits = replace(LIMITS, paused=paused)
        more = min(what.health.pressure + worse, 3.0)
        bad = replace(what.health, pressure=more, hard=what.health.hard or more >= 3)
        better, worsened = tick(limits, state, what, now), tick(limits, state, replace(what, health=bad), now)
        if not what.health.blind:
            assert worsened.u <= better.u + 1e-9
        state = better


def test_a_load_is_not_raised_before_it_was_looked_at() -> None:
    waits = after(State(), seen(fresh=(3, 500)), 60)
    assert waits.u == LIMITS.least
    assert waits.reason == "looks at the present load"
    assert after(State(), seen(), 60).u > 0.5  # the control: readings let it rise


def test_others_who_take_the_cores_bound_the_load_at_once_and_it_is_back_as_soon_as_they_go() -> None:
    state = after(State(), seen(room=1.0), 60)
    assert state.u == pytest.approx(1.0)
    busy = after(state, seen(room=0.12), 0.5)  # no tail shows it yet
    assert (busy.u, busy.reason) == (pytest.approx(0.12), "others take the cores")
    assert after(busy, seen(room=-1.0), 0.5).u == LIMITS.least
    back = after(after(busy, seen(room=0.12), 60), seen(room=1.0, fresh=(0, 0)), 5)
    assert back.u >= 0.8  # known to be good: needs no new readings
    assert after(State(), seen(room=None), 120).u == pytest.approx(LIMITS.most)  # not known: no bound


def test_what_is_free_moves_a_little_and_the_load_does_not_follow() -> None:
    state = after(State(), seen(room=1.0), 60)
    assert after(state, seen(room=0.95), 5).u == state.u


def test_what_was_too_much_beside_many_is_no_measure_beside_few() -> None:
    state = after(steady(0.1), seen(BAD, room=0.1), 4)
    state = after(state, seen(CALM, room=0.1), CLEAR_S + 1)
    assert state.ours
    assert state.bad == pytest.approx(0.08, abs=0.02)
    assert after(state, seen(room=0.1), 60).u <= 0.8 * state.bad + 1e-9
    assert after(state, seen(room=0.5), 60).u == pytest.approx(5 * 0.8 * state.bad)


def test_the_estimate_is_approached_from_both_sides() -> None:
    allowed = estimate(0.3, 0.3)
    for u in (0.05, 0.9):
        assert after(steady(u) if u > 0.5 else State(), seen(impact=allowed), 60).u == pytest.approx(0.3, rel=0.3)


def test_what_turned_out_to_be_too_much_is_not_gone_back_to_as_good() -> None:
    too_much = estimate(2.0, 0.2)
    state = after(steady(0.8), seen(impact=too_much), 30)
    assert state.u == pytest.approx(0.2, rel=0.3)
    forgot = after(replace(state, mode=Mode.RECOVERY, u=LIMITS.least), seen(impact=Impact(), fresh=(0, 0)), 10)
    assert forgot.u <= 0.25


def test_statements_are_longer_where_cores_are_free_and_shorter_under_pressure() -> None:
    assert statement_share(steady()) == 1
    assert statement_share(steady(), 4.0) == 4
    assert statement_share(after(steady(), seen(HARD), 1), 4.0) == 0.5


def test_nothing_is_raised_while_nothing_waits() -> None:
    assert after(State(), seen(waiting=False), 60).u == LIMITS.least


def test_soft_pressure_halves_and_hard_pressure_goes_to_the_minimum() -> None:
    assert after(steady(), seen(BAD), 2.5).mode is Mode.NORMAL  # not for a moment's sake
    soft = after(steady(), seen(BAD), 3.6, step=0.1)
    assert soft.mode is Mode.DEGRADED
    assert LIMITS.least < soft.u <= 0.4
    assert "busy 3.2" in soft.reason
    hard = tick(LIMITS, steady(), seen(HARD), 0.5)
    assert (hard.mode, hard.u) == (Mode.DEGRADED, LIMITS.least)
    assert tick(LIMITS, steady(), seen(errors=2), 0.5).u == LIMITS.least


def test_pressure_that_goes_as_we_go_was_ours_and_is_remembered() -> None:
    state = after(steady(), seen(HARD), 1)
    state = after(state, seen(CALM), CLEAR_S + 1)
    assert (state.mode, state.ours, state.bad) == (Mode.RECOVERY, True, 0.8)
    assert state.good == pytest.approx(KEEP_AWAY * 0.8)  # it was not good
    kept = after(state, seen(), 120)
    assert kept.u <= KEEP_AWAY * 0.8 + 1e-9  # kept away from
    assert kept.next_at == state.bad_at + FORGET_S
    tried = after(state, seen(), FORGET_S + 30)
    assert kept.u < tried.u <= KEEP_AWAY * 0.8 * RELAX + 1e-9  # and tried again, little by little
    assert after(state, seen(), 1200).u > 0.8


def test_pressure_that_stays_was_not_ours_and_the_load_comes_back_soon() -> None:
    state = after(steady(), seen(HARD), BLAME_S + 2)
    assert (state.ours, state.bad) == (False, None)
    assert state.reason == "busy 99, pressure 3.00"  # whose it is, `ours` says, and who shows it
    back = after(state, seen(fresh=(0, 0)), 9.5)  # known to be good: needs no new readings
    assert back.mode is Mode.RECOVERY
    assert back.u >= 0.8 * 0.8


def test_pressure_at_the_minimum_that_goes_says_nothing_of_us() -> None:
    """Nothing of ours had gone by then. It was taken for ours, and what is below the minimum was kept away from."""
    spike = after(after(State(), seen(HARD), 1), seen(CALM), CLEAR_S + 1)
    assert (spike.mode, spike.ours, spike.bad) == (Mode.RECOVERY, None, None)
    assert after(spike, seen(), 60).u == pytest.approx(after(State(), seen(), 60).u)  # as if it had not been
    more = after(after(steady(2 * LIMITS.least), seen(HARD), 1), seen(CALM), CLEAR_S + 1)
    assert (more.ours, more.bad) == (True, 2 * LIMITS.least)  # the control: half of it went


def test_what_only_keeps_load_from_being_added_takes_none_away_and_ends_no_recovery() -> None:
    """A vacuum may last for hours."""
    held = Health(pressure=HELD, signal="vacuums", value=1.0)
    assert LEAVE < HELD < HOLD
    assert after(steady(0.3), seen(held), 600).u == 0.3
    assert after(steady(0.3), seen(), 600).u > 0.3  # the control: else it would have risen
    state = after(after(steady(), seen(HARD), 1), seen(held), CLEAR_S + 1)
    assert (state.mode, state.ours) == (Mode.RECOVERY, True)
    assert after(state, seen(held), 600).u == LIMITS.least
    uneasy = Health(pressure=HOLD + 0.05, signal="busy", value=1.9)
    assert after(after(steady(), seen(HARD), 1), seen(uneasy), 600).mode is Mode.DEGRADED


def test_relapses_wait_longer_each_time() -> None:
    state, waits = steady(), []
    for _ in range(4):
        state = after(state, seen(HARD), 1)
        begun = state.at
        while state.mode is Mode.DEGRADED:
            state = after(state, seen(CALM), 0.5)
        waits.append(state.at - begun)
    assert waits == sorted(waits)
    assert waits[-1] >= 6 * waits[0]


def test_a_pause_is_nothing_even_when_blind_and_ends_in_recovery() -> None:
    blind = Health(blind=True, signal="busy")
    assert tick(LIMITS, steady(), seen(blind), 0.5).u == LIMITS.least
    paused = tick(replace(LIMITS, paused="by ann"), steady(), seen(blind), 0.5)
    assert (paused.mode, paused.u, paused.reason) == (Mode.PAUSED, 0.0, "by ann")
    again = tick(LIMITS, paused, seen(), 1.0)
    assert (again.mode, again.u) == (Mode.RECOVERY, LIMITS.least)


def test_the_minimum_grows_with_age_but_not_in_an_emergency() -> None:
    assert after(State(), seen(BAD, age=3.0), 20).u == pytest.approx(0.15)
    assert after(State(), seen(BAD, age=99.0), 20).u == LEAST_MAX
    assert after(State(), seen(HARD, age=99.0), 20).u == LIMITS.least


def test_fixed_is_fixed() -> None:
    assert tick(replace(LIMITS, fixed=0.7), steady(), seen(HARD), 0.5).u == 0.7
    assert tick(replace(LIMITS, fixed=9.0), steady(), seen(HARD), 0.5).u == LIMITS.most


def test_what_was_learnt_survives_a_restart_but_not_the_load() -> None:
    state = after(after(steady(), seen(HARD), 1), seen(CALM), 1)
    back = resumed(json.loads(json.dumps(to_json(state))), 5.0, 0.05)
    assert (back.mode, back.u, back.bad, back.good) == (Mode.RECOVERY, 0.05, state.bad, state.good)


# --- the guaranteed minimum, in the end ------------------------------------------------------------------------------


@pytest.mark.parametrize("health", [BAD, HARD, Health(blind=True, signal="busy"), CALM])
def test_in_any_minute_outside_a_pause_the_minimum_is_granted(health: Health) -> None:
    """Statements of 20 ms, now and then one of 3 s, admitted by credit alone."""
    chance = random.Random(1)
    state, bucket, now, busy_until, spent = State(), Bucket(), 0.0, 0.0, 0.0
    granted: list[tuple[float, float]] = []
    while now < 300:
        now = round(now + 0.01, 2)
        if not round(now * 100) % 50:
            state = tick(LIMITS, state, seen(health), now)
        if now >= busy_until and wait_s(bucket, state.u, 0, 5.0) == 0.0:
            took = 3.0 if chance.random() < 0.01 else 0.02
            busy_until, spent = now + took, spent + took
            bucket = charged(bucket, state.u, now, took)
        bucket = refilled(bucket, state.u, now)
        assert bucket.credit >= -DEBT_S
        granted.append((now, spent))
    for begin in range(0, 240, 10):
        had = [s for at, s in granted if begin <= at <= begin + 60]
        assert had[-1] - had[0] >= LIMITS.least * 60 - 3.0 - 0.1


def test_nothing_is_raised_before_it_was_calm_for_a_while() -> None:
    """Pressure that comes and goes by the second: each calm moment would be a step up, each other one down."""
    state, uneasy = steady(0.3), Health(pressure=0.8, signal="busy", value=1.8)
    for _ in range(40):
        state = tick(LIMITS, state, seen(CALM), state.at + 0.5)
        state = tick(LIMITS, state, seen(uneasy), state.at + 0.5)
    assert state.u == 0.3
    assert state.next_at == state.at + CLEAR_S
    assert after(state, seen(CALM), 2 * CLEAR_S).u > 0.3


def test_what_was_good_is_not_forgotten_because_it_is_too_much_while_less_is_free() -> None:
    """In a burst of others the load sinks; after it, it is known how far it may come back."""
    slows = estimate(2.0, 0.06)
    good = replace(after(steady(0.3), seen(impact=estimate(0.3, 0.3)), 20), good=0.3)
    assert good.good_room == 1.0
    burst = after(good, seen(impact=slows, room=0.1), 20)
    assert burst.u < 0.15
    assert burst.good == pytest.approx(0.3, rel=0.01)
    alike = after(good, seen(impact=slows, room=1.0), 20)  # the same, and nobody took anything: so it was not good
    assert alike.good < 0.15
    back = after(burst, seen(impact=Impact(), room=1.0, fresh=(0, 0)), 10)
    assert back.u > 0.7 * 0.3
    assert after(alike, seen(impact=Impact(), room=1.0, fresh=(0, 0)), 10).u < 0.15


def test_what_was_too_much_just_now_is_not_tried_again_before_that_is_forgotten() -> None:
    """An estimate that moves about its budget: without a memory the load would follow it up and down."""
    too_much = estimate(0.8, 0.15)
    cut = tick(LIMITS, steady(0.3), seen(impact=too_much), 1.0)
    assert cut.u == pytest.approx(0.18)
    assert after(cut, seen(), SLOWED_S - 5).u == cut.u
    assert after(cut, seen(), SLOWED_S + 5).u > 1.1 * cut.u
    assert after(cut, seen(), 20).next_at == 1.0 + SLOWED_S
    known = replace(cut, good=1.0)  # unless more is known to be good, beside less
    assert after(known, seen(), 10).u > 2 * cut.u


def test_where_less_is_free_than_beside_what_was_good_only_as_much_less_is_gone_back_to() -> None:
    cut = replace(steady(0.1), good=0.4, good_room=1.0)
    as_free, less_free = (after(cut, seen(impact=Impact(), room=room, fresh=(0, 0)), 10) for room in (1.0, 0.35))
    assert as_free.u > 0.25
    assert less_free.u <= 0.35 * 0.4


def test_it_is_raised_by_what_is_sure_and_lowered_where_that_is_sure() -> None:
    likely, sure = estimate(0.1, 1.0, 0.3), estimate(0.1, 1.0, 1.0)
    assert after(steady(0.3), seen(impact=likely), 10).u == 0.3
    assert after(steady(0.3), seen(impact=sure), 10).u > 0.5
    assert tick(LIMITS, steady(0.3), seen(impact=estimate(0.3, 0.25, 0.01)), 1.0).u == 0.3
    assert tick(LIMITS, steady(0.3), seen(impact=estimate(0.8, 0.1, 0.01)), 1.0).u == pytest.approx(0.18)
    may_be_less = replace(estimate(0.8, 0.1, 0.01), possibly=0.35)
    assert tick(LIMITS, steady(0.3), seen(impact=may_be_less), 1.0).u == 0.3


def test_the_way_back_to_what_was_good_ends_at_what_is_likely() -> None:
    state = replace(steady(0.28), good=1.0, good_room=1.0)
    assert after(state, seen(impact=estimate(0.4, 0.3, 0.25)), 30).u == pytest.approx(0.3)
    assert after(state, seen(impact=estimate(0.0, 1.0, 0.25)), 30).u > 0.7


def test_what_is_likely_and_not_sure_is_told_as_that() -> None:
    assert after(steady(0.3), seen(impact=estimate(0.1, 1.0, 0.3)), 10).reason == "more is likely, but not sure"
    assert after(steady(0.3), seen(impact=estimate(0.4, 0.3, 0.2)), 10).reason == "within the budget"


def test_what_was_doubted_as_others_came_is_good_once_it_is_seen_that_they_came() -> None:
    """Readings show others a second or two before the cores do; what was cut by that was not good any more."""
    before = replace(steady(0.4), good=0.4, good_room=1.0, room=1.0)
    cut = after(before, seen(impact=estimate(2.0, 0.05), room=1.0), 2)
    assert max(cut.u, cut.good) < 0.3
    assert beside_others(cut, cut.at + 1).good == 0.4
    assert beside_others(cut, cut.at + SEEN_LATE_S + 1).good == cut.good, "the control: it was too much by itself"


def test_what_was_too_much_beside_others_is_tried_again_once_they_have_gone() -> None:
    cut = replace(steady(0.05), slowed_at=999.0, at=1000.0)
    room = seen(impact=estimate(0.0, 1.0))
    assert after(cut, room, 10).u == 0.05, "the control: nobody came or went"
    assert after(beside_others(cut, 1000.0), room, 10).u > 0.1
