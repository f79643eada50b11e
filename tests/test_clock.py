from __future__ import annotations

import pytest

from tests.clock import START_S, FakeClock


def test_starts_at_a_real_moment_and_stands_still(clock: FakeClock) -> None:
    assert clock.now() == clock.now() == START_S


def test_sleep_moves_time_and_is_recorded(clock: FakeClock) -> None:
    clock.sleep(1.5)
    clock.sleep(0)
    assert clock.now() == START_S + 1.5
    assert clock.sleeps == [1.5, 0]


@pytest.mark.parametrize("seconds", [-0.001, float("nan")])
def test_time_does_not_go_back(clock: FakeClock, seconds: float) -> None:
    with pytest.raises(ValueError, match="cannot sleep"):
        clock.sleep(seconds)


def test_callbacks_run_in_order_each_at_its_own_moment() -> None:
    clock, seen = FakeClock(0), []
    for t in (3, 1, 2, 1):
        clock.at(t, lambda t=t: seen.append((t, clock.now())))
    clock.at(10, lambda: seen.append("too late"))
    clock.sleep(3)
    assert seen == [(1, 1), (1, 1), (2, 2), (3, 3)]
    assert clock.now() == 3
    assert clock.pending == 1


def test_due_now_waits_for_the_next_sleep_even_of_nothing() -> None:
    clock, seen = FakeClock(5), []
    clock.at(5, lambda: seen.append("fired"))
    assert seen == []
    clock.sleep(0)
    assert seen == ["fired"]


def test_what_is_past_cannot_be_scheduled() -> None:
    with pytest.raises(ValueError, match="past"):
        FakeClock(5).at(4, lambda: None)


def test_a_callback_may_schedule_the_next() -> None:
    clock, seen = FakeClock(0), []

    def tick() -> None:
        seen.append(clock.now())
        clock.after(1, tick)

    clock.after(1, tick)
    clock.sleep(3.5)
    assert seen == [1, 2, 3]


def test_a_callback_that_sleeps_too_does_not_turn_time_back() -> None:
    clock = FakeClock(0)
    clock.at(1, lambda: clock.sleep(10))
    clock.sleep(2)
    assert clock.now() == 11


def test_an_error_of_the_application_reaches_the_sleeper() -> None:
    clock = FakeClock(0)
    clock.at(1, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        clock.sleep(2)
    assert clock.now() == 1
