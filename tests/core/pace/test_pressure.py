"""Signals become pressure: what is not available is neither zero nor bad, and the worst counts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.pace.pressure import BLIND_AFTER_S, HELD, Mark, Signal, observed, worst

MARKS = {"busy": Mark(idle=1, soft=2, hard=4, required=True), "lag": Mark(idle=0.2, soft=1, hard=5)}


def test_a_signal_that_is_not_available_is_not_zero_and_not_bad() -> None:
    signals = observed({}, MARKS, {"busy": 1.0, "lag": None}, 0.0)
    assert set(signals) == {"busy"}
    health = worst(signals, MARKS, 1.0, 0.0)
    assert (health.pressure, health.known) == (0.0, True)


def test_where_no_signal_is_to_be_had_the_pressure_is_not_known() -> None:
    some = {"lag": MARKS["lag"]}
    signals = observed({}, some, {"lag": 0.1}, 0.0)
    assert worst(signals, some, 1.0, 0.0).known
    assert not worst(signals, some, 6.0, 0.0).known
    assert not worst({}, some, 1.0, 0.0).known
    assert worst({}, MARKS, 6.0, 0.0).known  # one is missed, and that is pressure


def test_a_required_signal_that_stays_away_slows_down_then_blinds() -> None:
    signals = observed({}, MARKS, {"busy": 1.0, "lag": 0.1}, 0.0)
    stale = worst(signals, MARKS, 6.0, 0.0)
    assert (stale.pressure > 1, stale.signal, stale.blind) == (True, "busy", False)
    assert worst(signals, MARKS, BLIND_AFTER_S + 1, 0.0).blind
    assert worst({}, MARKS, BLIND_AFTER_S + 1, 0.0).blind  # one that never came, too


def test_the_worst_signal_is_named_and_an_emergency_needs_two_samples_or_a_great_one() -> None:
    one = observed({}, MARKS, {"busy": 4.5, "lag": 0.1}, 0.0)
    assert not worst(one, MARKS, 0.0, 0.0).hard
    two = observed(one, MARKS, {"busy": 4.5}, 0.5)
    health = worst(two, MARKS, 0.5, 0.0)
    assert (health.hard, health.signal, health.value) == (True, "busy", 4.5)
    assert worst(observed({}, MARKS, {"lag": 100.0}, 0.0), MARKS, 0.0, 0.0).hard


def test_one_sample_is_one_however_often_it_is_looked_at() -> None:
    """A number that is asked for every ten seconds, and looked at twice a second, was an emergency by itself."""
    signals: dict[str, Signal] = {}
    for look in range(20):
        signals = observed(signals, MARKS, {"busy": 4.5}, look / 2, {"busy": 0.0})
        assert not worst(signals, MARKS, look / 2, 0.0).hard
    assert signals["busy"].at == 9.5  # it grows no older than it is looked at
    signals = observed(signals, MARKS, {"busy": 4.2}, 10.0, {"busy": 10.0})
    assert worst(signals, MARKS, 10.0, 0.0).hard
    calm = observed(signals, MARKS, {"busy": 1.0}, 20.0, {"busy": 20.0})
    again = observed(calm, MARKS, {"busy": 4.5}, 30.0, {"busy": 30.0})
    assert not worst(again, MARKS, 30.0, 0.0).hard  # not in a row


def test_a_signal_may_have_a_most() -> None:
    vacuums = Mark(idle=0, soft=1, hard=2, most=HELD)
    assert [vacuums.pressure(value) for value in (0, 0.4, 1, 3, 99)] == [0, 0.4, HELD, HELD, HELD]
    assert not worst(observed({}, {"v": vacuums}, {"v": 99.0}, 0.0), {"v": vacuums}, 0.0, 0.0).hard


@given(st.lists(st.tuples(st.floats(0, 100), st.sampled_from([0.5, -3600.0, 1e6])), max_size=20))
def test_smoothed_pressure_stays_within_bounds_whatever_the_clock_does(samples: list[tuple[float, float]]) -> None:
    signals: dict[str, Signal] = {}
    now = 0.0
    for value, step in samples:
        now += step
        signals = observed(signals, MARKS, {"busy": value}, now)
        assert 0 <= signals["busy"].pressure <= 3
