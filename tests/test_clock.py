from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.clock import START_S, FakeClock
from trueup.clock import SystemClock


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


#: Longer than any test: a wait that is not ended makes the test fail.
LONG = 600.0


@pytest.mark.parametrize("ends", ["interrupt", "wake"])
def test_what_ends_a_wait_that_is_only_about_to_begin(ends: str) -> None:
    """A signal's handler runs in the middle of anything, also behind the last look before a wait: Ctrl-C was lost."""
    real = SystemClock()
    looks = list[int]()

    def ready() -> bool:
        looks.append(1)
        if len(looks) == 1:
            getattr(real, ends)()
            return False
        return ends == "wake"

    assert real.wait_for(ready, LONG) is (ends == "interrupt")
    assert len(looks) == (2 if ends == "wake" else 1)


def test_a_signal_that_ends_no_wait_is_answered_soon() -> None:
    """As one that comes after Python has looked for signals, and before the wait itself: nobody is woken by it."""
    real = SystemClock()

    def ready() -> bool:
        real._interrupted = True
        return False

    assert real.wait_for(ready, LONG) is True


def test_a_wait_lasts_as_long_as_it_was_to_and_is_asked_again_at_each_wake() -> None:
    real = SystemClock()
    assert real.wait(0.0) is False
    assert real.wait_for(lambda: False, 0.01) is False
    asked, go = list[int](), threading.Event()

    def ready() -> bool:
        asked.append(1)
        go.set()
        return len(asked) == 3

    with ThreadPoolExecutor(1) as aside:
        waiting = aside.submit(real.wait_for, ready, LONG)
        go.wait(LONG)
        while not waiting.done():
            real.wake()
        assert waiting.result() is False
    assert len(asked) == 3
    real.interrupt()
    assert real.wait(LONG) is True
    real.go_on()
    assert real.wait(0.0) is False
