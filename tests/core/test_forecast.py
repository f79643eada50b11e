"""How long a run still takes: a range that holds what comes true, and nothing where nothing is known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from trueup.core.forecast import LEAST, forecast

START = datetime(2026, 1, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


@given(done=st.integers(LEAST, 200), left=st.integers(1, 200), each_s=st.floats(0.01, 100))
def test_a_steady_speed_goes_on(done: int, left: int, each_s: float) -> None:
    found = forecast([at(n * each_s) for n in range(done)], done + left, at((done - 1) * each_s))
    assert found.left_s is not None
    least, most = found.left_s
    assert least <= left * each_s * 1.001
    assert left * each_s <= most * 1.001
    assert most <= 2.5 * left * each_s


def test_where_the_speed_changed_both_count() -> None:
    slow_then_fast = [at(n * 10) for n in range(20)] + [at(190 + n) for n in range(1, 21)]
    found = forecast(slow_then_fast, 140, at(210))
    assert found.left_s is not None
    assert found.left_s[0] <= 100 <= 540 <= found.left_s[1]


def test_one_that_stands_takes_longer_and_longer() -> None:
    read = [at(n) for n in range(20)]
    ends = [forecast(read, 40, at(20 + waited)).left_s or (0.0, 0.0) for waited in (0, 60, 600)]
    worst = [end[1] for end in ends]
    assert worst == sorted(worst)
    assert worst[0] < 60 < 600 < worst[2]


def test_before_it_is_known_and_at_the_end() -> None:
    assert forecast([], 10, START).left_s is None
    assert forecast([START] * (LEAST - 1), 10, at(5)).left_s is None
    assert forecast([START], 1, at(9)).left_s == (0.0, 0.0)
