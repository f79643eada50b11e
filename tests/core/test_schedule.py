"""Schedules: the same ticks whenever one looks, both nights of a clock change, and what becomes of missed ones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.schedule import CATCH_UP_MAX, Schedule, begins, due, following

BERLIN = "Europe/Berlin"
#: Clocks that change at two, by half an hour, at midnight, in the south, never.
ZONES = (BERLIN, "Australia/Lord_Howe", "America/Havana", "Africa/Casablanca", "Asia/Kolkata", "UTC")
CRONS = ("30 2 * * *", "*/10 * * * *", "0 * * * *", "15,45 1-3 * * *", "0 0 29 2 *", "30 2 * * 0", "1 0 1 */2 *")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def ticks(schedule: Schedule, zone: str, since: datetime, now: datetime) -> list[datetime]:
    """All ticks in (since, now], a look a tick."""
    found = []
    while (tick := following(schedule, zone, since=since, ended=None)) is not None and tick <= now:
        found.append(tick)
        since = tick
    return found


moments = st.datetimes(datetime(2024, 1, 1), datetime(2029, 1, 1), timezones=st.just(UTC))


@settings(max_examples=150)
@given(st.sampled_from(CRONS), st.sampled_from(ZONES), moments, st.lists(st.integers(0, 5 * 86400), max_size=4))
def test_it_does_not_matter_when_one_looks(cron: str, zone: str, since: datetime, looks: list[int]) -> None:
    schedule = Schedule(cron=cron, misfire="catch_up")
    end = since + timedelta(hours=15)
    cuts = [since, *sorted({since + timedelta(seconds=look) for look in looks if look < 15 * 3600}), end]
    found: list[datetime] = []
    for now in cuts[1:]:
        found += due(schedule, zone, since=found[-1] if found else since, ended=None, now=now).run
    assert found == ticks(schedule, zone, since, end)
    assert found == sorted(set(found))


# --- nights in which clocks change -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "since", "until", "expected"),
    [
        # 02:30 does not exist on 29 March: it runs once, when the clock shows 03:00.
        ("30 2 * * *", "2026-03-28 12:00", "2026-03-30 12:00", ["2026-03-29 01:00", "2026-03-30 00:30"]),
        # 02:30 comes twice on 25 October: it runs at the first.
        ("30 2 * * *", "2026-10-24 12:00", "2026-10-26 12:00", ["2026-10-25 00:30", "2026-10-26 01:30"]),
        # Every half hour is every half hour, both times.
        (
            "*/30 * * * *",
            "2026-10-24 23:45",
            "2026-10-25 02:00",
            ["2026-10-25 00:00", "2026-10-25 00:30", "2026-10-25 01:00", "2026-10-25 01:30", "2026-10-25 02:00"],
        ),
        (
            "*/30 * * * *",
            "2026-03-29 00:15",
            "2026-03-29 01:30",
            ["2026-03-29 00:30", "2026-03-29 01:00", "2026-03-29 01:30"],
        ),
    ],
)
def test_nights_in_which_clocks_change(cron: str, since: str, until: str, expected: list[str]) -> None:
    assert ticks(Schedule(cron=cron), BERLIN, at(since), at(until)) == [at(moment) for moment in expected]


def test_a_look_within_the_hour_that_comes_twice_does_not_run_it_again() -> None:
    schedule = Schedule(cron="30 2 * * *")
    for minute in range(30, 91, 5):  # 02:30 to 03:30 by the first clock, and 02:30 by the second
        since = at("2026-10-25 00:00") + timedelta(minutes=minute)
        assert following(schedule, BERLIN, since=since, ended=None) == at("2026-10-26 01:30")


def test_the_schedules_own_zone_goes_before_the_default() -> None:
    schedule = Schedule(cron="0 6 * * *", timezone="Asia/Kolkata")
    assert following(schedule, BERLIN, since=at("2026-01-01 12:00"), ended=None) == at("2026-01-02 00:30")


# --- rate and delay --------------------------------------------------------------------------------------------------


@given(st.integers(1, 10**6), moments)
def test_a_fixed_rate_is_the_same_for_every_node(every: int, since: datetime) -> None:
    tick = following(Schedule(every=f"{every}s"), "UTC", since=since, ended=None)
    assert tick is not None
    assert since < tick <= since + timedelta(seconds=every)
    assert tick.timestamp() % every == 0


def test_a_delay_counts_from_the_end() -> None:
    schedule, since = Schedule(delay="10m"), at("2026-01-01 12:00")
    assert not due(schedule, "UTC", since=since, ended=None, now=at("2026-01-01 12:09")).run
    assert due(schedule, "UTC", since=since, ended=None, now=at("2026-01-01 12:10")).run == (at("2026-01-01 12:10"),)
    ended = at("2026-01-01 12:30")
    assert not due(schedule, "UTC", since=since, ended=ended, now=at("2026-01-01 12:39")).run
    assert due(schedule, "UTC", since=since, ended=ended, now=at("2026-01-01 12:40")).run == (at("2026-01-01 12:40"),)
    # A tick that was passed over is not the end of all ticks.
    later = due(schedule, "UTC", since=at("2026-01-01 12:40"), ended=ended, now=at("2026-01-01 13:00"))
    assert later.run == (at("2026-01-01 12:50"),)


# --- missed ----------------------------------------------------------------------------------------------------------


def missed(policy: Any, minutes: int = 35, late_s: int = 0) -> Any:
    since = at("2026-01-01 12:00")
    now = since + timedelta(minutes=minutes, seconds=late_s)
    return due(Schedule(every="10m", misfire=policy), "UTC", since=since, ended=None, now=now)


def test_once_runs_the_newest() -> None:
    found = missed("once")
    assert found.run == (at("2026-01-01 12:30"),)
    assert found.skipped == (at("2026-01-01 12:10"), at("2026-01-01 12:20"))
    assert found.last == at("2026-01-01 12:30")


def test_skip_runs_what_is_on_time_only() -> None:
    assert missed("skip").run == ()
    assert len(missed("skip").skipped) == 3
    assert missed("skip", 30, late_s=60).run == (at("2026-01-01 12:30"),)
    assert missed("skip", 30, late_s=61).run == ()


def test_catch_up_runs_each() -> None:
    assert len(missed("catch_up").run) == 3


def test_a_year_of_missed_minutes_is_bounded() -> None:
    since, now = at("2025-01-01 00:00"), at("2026-01-01 00:00")
    schedule = Schedule(cron="* * * * *", misfire="catch_up")
    found = due(schedule, BERLIN, since=since, ended=None, now=now)
    assert len(found.run) == CATCH_UP_MAX
    assert found.last == now


def test_a_leap_day_is_found_over_years() -> None:
    schedule = Schedule(cron="0 0 29 2 *")
    found = due(schedule, "UTC", since=at("2024-03-01 00:00"), ended=None, now=at("2028-06-01 00:00"))
    assert found.run == (at("2028-02-29 00:00"),)


# --- jitter, and what is refused -------------------------------------------------------------------------------------


@given(moments, st.text("ab", max_size=5))
def test_jitter_is_bounded_and_the_same_everywhere(tick: datetime, name: str) -> None:
    schedule = Schedule(every="1h", jitter="5m")
    begun = begins(schedule, name, tick)
    assert tick <= begun < tick + timedelta(minutes=5)
    assert begun == begins(schedule, name, tick)
    assert begins(Schedule(every="1h"), name, tick) == tick


def test_jitter_spreads() -> None:
    schedule = Schedule(every="1h", jitter="60m")
    tick = at("2026-01-01 12:00")
    quarters = {(begins(schedule, f"p{n}", tick) - tick) // timedelta(minutes=15) for n in range(100)}
    assert quarters == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "give `cron`, `every` or `delay`"),
        ({"every": "1m", "delay": "1m"}, "exclude each other"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": "61 * * * *"}, "names no moment"),
        ({"cron": "0 0 31 2 *"}, "names no moment"),
        ({"every": "0.1s"}, "greater than or equal to 1"),
        ({"every": "1m", "timezone": BERLIN}, "`timezone` is about `cron`"),
        ({"cron": "0 0 * * *", "timezone": "Europe/Berlyn"}, "did you mean 'Europe/Berlin'"),
        ({"startup": False}, "give `cron`"),
    ],
)
def test_what_cannot_be_meant_is_refused(given_: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Schedule(**given_)
