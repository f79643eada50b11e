"""Partitions: buckets cover time without gap or overlap in any zone, and each has one name."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trueup.core.kinds import Kind
from trueup.core.partition import (
    PARTITIONS_MAX,
    Between,
    Bucket,
    Calendar,
    Holding,
    holding,
    in_order,
    slice_from_json,
    slice_to_json,
)
from trueup.core.plan import Everything, NullKeys, Range, describe, from_json, halves, partition_of, to_json
from trueup.core.projection import Partition

#: Clocks that change at midnight, at 00:01, by half an hour, over the date line, in the south, hardly ever, never.
# fmt: off
ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Lisbon", "Europe/Moscow", "America/New_York",
    "America/St_Johns", "America/Havana", "America/Sao_Paulo", "America/Santiago", "America/Caracas", "Africa/Cairo",
    "Africa/Casablanca", "Asia/Beirut", "Asia/Tehran", "Asia/Kolkata", "Asia/Kathmandu", "Asia/Gaza",
    "Australia/Lord_Howe", "Australia/Sydney", "Pacific/Apia", "Pacific/Auckland", "Antarctica/Troll",
)
# fmt: on
BUCKETS = ("1h", "1d", "1w", "1mo")
US = timedelta(microseconds=1)

zones = st.sampled_from(ZONES)
buckets = st.sampled_from(BUCKETS)
walls = st.datetimes(datetime(1890, 1, 1), datetime(2090, 1, 1))


def calendar(bucket: str, zone: str, kind: Kind = Kind.INSTANT, **declared: Any) -> Calendar:
    return Calendar(Partition(by="time", column="at", bucket=bucket, zone=zone, **declared), kind)  # type: ignore[arg-type]


def transitions(zone: str) -> Iterator[datetime]:
    """Instants, to the hour, after which clocks have changed, 2005 to 2024."""
    at, end, there = datetime(2005, 1, 1, tzinfo=UTC), datetime(2025, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    while at < end:
        after = at + timedelta(days=1)
        if at.astimezone(there).utcoffset() != after.astimezone(there).utcoffset():
            hours = [at + timedelta(hours=n) for n in range(25)]
            yield from (
                b for a, b in pairwise(hours) if a.astimezone(there).utcoffset() != b.astimezone(there).utcoffset()
            )
        at = after


def assert_whole(cut: Calendar, moment: Any, least: timedelta) -> Bucket:
    """A moment is in its bucket, and its neighbours begin where it ends; `least`: the finest step of the kind."""
    bucket = cut.bucket_of(moment)
    assert bucket.lower <= moment < bucket.upper
    assert cut.bucket_of(bucket.lower) == bucket == cut.bucket_of(bucket.upper - least)
    assert cut.bucket_of(bucket.upper).lower == bucket.upper
    assert cut.bucket_of(bucket.lower - least).upper == bucket.lower
    return bucket


# --- no gap, no overlap ------------------------------------------------------------------------------------------


@given(wall=walls, zone=zones, bucket=buckets)
def test_every_instant_is_in_exactly_one_bucket(wall: datetime, zone: str, bucket: str) -> None:
    assert_whole(calendar(bucket, zone), wall.replace(tzinfo=UTC), US)


@given(wall=walls, zone=zones, bucket=buckets)
def test_every_wall_time_is_in_exactly_one_bucket(wall: datetime, zone: str, bucket: str) -> None:
    assert_whole(calendar(bucket, zone, Kind.TIMESTAMP), wall, US)


@given(wall=walls, zone=zones, bucket=st.sampled_from(BUCKETS[1:]))
def test_every_date_is_in_exactly_one_bucket(wall: datetime, zone: str, bucket: str) -> None:
    assert_whole(calendar(bucket, zone, Kind.DATE), wall.date(), timedelta(days=1))


@pytest.mark.parametrize("zone", ZONES)
def test_the_nights_in_which_clocks_change(zone: str) -> None:
    """Minute by minute around each change: one bucket a moment, all of them in a row, each with a name of its own."""
    changes = list(transitions(zone))
    if zone not in ("UTC", "Asia/Kolkata", "Asia/Kathmandu"):
        assert changes, "this zone was to show a change of clocks"
    for change in changes[:12]:
        for bucket in BUCKETS:
            cut = calendar(bucket, zone)
            begin, end = change - timedelta(hours=30), change + timedelta(hours=30)
            row = list(cut.buckets(begin, end))
            assert all(a.upper == b.lower for a, b in pairwise(row))
            assert row[0].lower <= begin
            assert end < row[-1].upper
            assert len({one.label for one in row}) == len(row)
            assert [cut.named(one.label) for one in row] == row
            for minute in range(-180, 180, 7):
                moment = change + timedelta(minutes=minute)
                assert sum(one.lower <= moment < one.upper for one in row) == 1
                assert cut.bucket_of(moment) in row


@pytest.mark.parametrize("zone", [zone for zone in ZONES if zone != "America/St_Johns"])
def test_a_day_is_what_the_calendar_on_the_wall_says(zone: str) -> None:
    cut, there = calendar("1d", zone), ZoneInfo(zone)
    for change in transitions(zone):
        for minute in range(-3000, 3000, 119):
            moment = change + timedelta(minutes=minute)
            assert cut.bucket_of(moment).label == moment.astimezone(there).date().isoformat()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Africa/Cairo"])
def test_a_utc_day_is_another_day(zone: str) -> None:
    """The positive control of the test above: cut at midnight UTC, moments get the wrong day."""
    there = ZoneInfo(zone)
    change = next(transitions(zone))
    moments = [change + timedelta(minutes=minute) for minute in range(-3000, 3000, 119)]
    wrong = [at for at in moments if at.date() != at.astimezone(there).date()]
    assert wrong


def test_days_of_23_and_25_hours() -> None:
    cut = calendar("1d", "Europe/Berlin")
    lengths = {}
    for day in ("2013-03-31", "2013-10-27", "2013-10-28"):
        bucket = cut.named(day)
        lengths[day] = (bucket.upper - bucket.lower) / timedelta(hours=1)
    assert lengths == {"2013-03-31": 23, "2013-10-27": 25, "2013-10-28": 24}
    assert cut.named("2013-10-27").lower == datetime(2013, 10, 26, 22, tzinfo=UTC)


def test_the_hour_that_comes_twice_is_two_instants_and_one_wall_time() -> None:
    begin, end = datetime(2013, 11, 3, 4, tzinfo=UTC), datetime(2013, 11, 3, 7, tzinfo=UTC)
    cut = calendar("1h", "America/New_York")
    labels = [bucket.label for bucket in cut.buckets(begin, end)]
    assert labels == ["2013-11-03T00:00", "2013-11-03T01:00-04:00", "2013-11-03T01:00-05:00", "2013-11-03T02:00"]
    with pytest.raises(ValueError, match=r"2013-11-03T01:00-04:00' or '2013-11-03T01:00-05:00"):
        cut.named("2013-11-03T01:00")
    wall = calendar("1h", "America/New_York", Kind.TIMESTAMP).named("2013-11-03T01:00")
    assert (wall.lower, wall.upper) == (datetime(2013, 11, 3, 1), datetime(2013, 11, 3, 2))
    assert wall.end == end, "it is over when the second of the two hours is"


def test_a_day_that_was_left_out_is_no_bucket() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    cut = calendar("1d", "Pacific/Apia")
    row = cut.buckets(datetime(2011, 12, 29, 11, tzinfo=UTC), datetime(2011, 12, 31, 11, tzinfo=UTC))
    labels = [bucket.label for bucket in row]
    assert "2011-12-30" not in labels
    assert labels[:2] == ["2011-12-29", "2011-12-31"]
    with pytest.raises(ValueError, match="2011-12-31"):
        cut.named("2011-12-30")


def test_a_day_that_begins_in_the_middle_of_a_jump() -> None:
    """Toronto, 1919: from half past eleven to half past midnight."""
    bucket = calendar("1d", "America/Toronto").named("1919-03-31")
    assert bucket.lower == datetime(1919, 3, 31, 4, 30, tzinfo=UTC)


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    week, month = calendar("1w", "UTC", Kind.DATE), calendar("1mo", "UTC", Kind.DATE)
    assert week.bucket_of(date(2013, 11, 3)).label == "2013-10-28"
    assert (month.named("2013-02").lower, month.named("2013-02").upper) == (date(2013, 2, 1), date(2013, 3, 1))
    assert month.named("2013-12").upper == date(2014, 1, 1)


@pytest.mark.parametrize(
    ("bucket", "text", "hint"),
    [
        ("1d", "yesterday", "2013-11-03"),
        ("1w", "2013-11-03", "2013-10-28"),
        ("1mo", "2013-11-03", "2013-11"),
        ("1h", "2013-11-03T01:30", "2013-11-03T01:00"),
        ("1d", "2013-11-03T01:00", "2013-11-03"),
        # Their first bucket begins with them: it was taken for all of them, and the rest never looked at.
        ("1d", "2013-11", "more than one bucket.*2013-11-03"),
        ("1w", "2013-04", "more than one bucket.*2013-11-03"),
        ("1h", "2013-11", "more than one bucket.*2013-11-03T01:00"),
        ("1h", "2013-11-03", "more than one bucket.*2013-11-03T01:00"),
    ],
)
@pytest.mark.parametrize("kind", [Kind.INSTANT, Kind.TIMESTAMP])
def test_what_is_no_name_says_what_is(bucket: str, text: str, hint: str, kind: Kind) -> None:
    with pytest.raises(ValueError, match=hint):
        calendar(bucket, "Europe/Berlin", kind).named(text)


# --- closed, open, within the window -----------------------------------------------------------------------------


def test_a_bucket_is_closed_lateness_after_its_end() -> None:
    cut = calendar("1d", "Europe/Berlin", lateness="2h")
    closes = datetime(2013, 11, 4, 1, tzinfo=UTC)  # midnight in Berlin is 23:00, and two hours
    begin, end = datetime(2013, 11, 1, tzinfo=UTC), datetime(2013, 11, 20, tzinfo=UTC)

    def due(now: datetime) -> list[str]:
        return [bucket.label for bucket in cut.due(begin, end, now)]

    assert due(closes - US) == ["2013-11-01", "2013-11-02"]
    assert due(closes) == ["2013-11-01", "2013-11-02", "2013-11-03"]
    still = {part.label: part.closes for part in cut.still_open(closes - US)}
    assert still == {"2013-11-03": closes, "2013-11-04": closes + timedelta(days=1)}
    assert [part.label for part in cut.still_open(closes)] == ["2013-11-04"]


@given(
    wall=walls.map(lambda wall: wall.replace(tzinfo=UTC)),
    zone=zones,
    bucket=buckets,
    kind=st.sampled_from([Kind.INSTANT, Kind.TIMESTAMP]),
    lateness=st.integers(0, 10_000),
)
def test_closed_and_open_buckets_meet(wall: datetime, zone: str, bucket: str, kind: Kind, lateness: int) -> None:
    """Whatever has begun is either compared or listed as open; never both, never neither."""
    cut = calendar(bucket, zone, kind, lateness=lateness)
    here = cut.here(wall)
    due = cut.due(here - timedelta(hours=50), here, wall)
    still = cut.still_open(wall)
    assert still, "the present moment is in an open bucket"
    if due:
        follows = cut.bucket_of(due[-1].upper)
        assert follows.label == still[0].label or kind is Kind.TIMESTAMP
    assert {bucket.label for bucket in due}.isdisjoint(part.label for part in still) or kind is Kind.TIMESTAMP
    assert all(cut.closes(bucket) <= wall for bucket in due)
    assert all(part.closes > wall for part in still)


@given(wall=walls, zone=zones, bucket=buckets, kind=st.sampled_from([Kind.INSTANT, Kind.TIMESTAMP, Kind.DATE]))
def test_by_the_sources_time_the_bucket_of_its_latest_row_is_open(
    wall: datetime, zone: str, bucket: str, kind: Kind
) -> None:
    """More rows of it may come, however late it is by our clock."""
    bucket = "1d" if kind is Kind.DATE else bucket
    cut = calendar(bucket, zone, kind)
    latest = {Kind.INSTANT: wall.replace(tzinfo=UTC), Kind.TIMESTAMP: wall, Kind.DATE: wall.date()}[kind]
    now = wall.replace(tzinfo=UTC) + timedelta(days=400)
    reached = cut.reached(latest, now)
    assert reached <= now
    assert cut.bucket_of(latest) not in cut.due(latest, latest, reached)
    assert cut.reached(None, now) == now, "of a source without rows nothing is known"
    assert cut.reached(latest, now - timedelta(days=800)) == now - timedelta(days=800), "a future row is no clock"


def test_the_window_holds_the_buckets_that_ended_in_it() -> None:
    now = datetime(2013, 11, 10, 12, tzinfo=UTC)
    cut = calendar("1d", "UTC", Kind.DATE, window="3d")
    due = cut.due(date(2000, 1, 1), date(2013, 11, 30), now)
    assert [bucket.label for bucket in due] == ["2013-11-07", "2013-11-08", "2013-11-09"]
    assert cut.due(date(2014, 1, 1), date(2014, 1, 2), now) == []


def test_too_many_buckets_are_not_all_built() -> None:
    cut = calendar("1h", "UTC")
    due = cut.due(datetime(1, 1, 2, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC), datetime(2013, 1, 1, tzinfo=UTC))
    assert len(due) == PARTITIONS_MAX + 1


# --- values --------------------------------------------------------------------------------------------------------


def test_values_are_in_order_and_null_is_the_last() -> None:
    parts = in_order(["b", 3, None, "a", 20, "b", None, 3.0])
    assert [part.value for part in parts] == [3, 20, "a", "b", None]
    assert parts[-1].label == "NULL"
    mixed = in_order([b"\x01", "a", 2, Decimal("1.5"), None, date(2024, 1, 1), b"\x00"])
    assert [part.value for part in mixed] == [Decimal("1.5"), 2, b"\x00", b"\x01", date(2024, 1, 1), "a", None]


def test_a_value_as_it_is_typed() -> None:
    assert holding(Kind.INTEGER, "7") == holding(Kind.INTEGER, 7) == (Holding(value=7),)
    assert holding(Kind.DATE, "2013-11-03") == (Holding(value=date(2013, 11, 3)),)
    assert holding(Kind.TEXT, "NULL") == holding(Kind.TEXT, None) == (Holding(value=None),)
    assert holding(Kind.TEXT, "07") == (Holding(value="07"),)
    assert holding(Kind.ANY, "07") == (Holding(value="07"), Holding(value=7))
    assert holding(Kind.ANY, 7) == (Holding(value=7),)
    assert holding(Kind.ANY, 1.5) == (Holding(value=1.5),)
    assert holding(Kind.ANY, "a") == (Holding(value="a"),)
    assert holding(Kind.BOOLEAN, "true") == holding(Kind.BOOLEAN, True) == holding(Kind.BOOLEAN, "1")
    assert holding(Kind.BOOLEAN, "False") == (Holding(value=False),)
    assert holding(Kind.INTEGER, False) == (Holding(value=0),), "a boolean to one database, and a number to another"
    with pytest.raises(ValueError, match="'yes' is not a boolean; write 'true' or 'false'"):
        holding(Kind.BOOLEAN, "yes")
    with pytest.raises(ValueError, match="not an integer"):
        holding(Kind.INTEGER, "seven")


@pytest.mark.parametrize(
    "part",
    [
        None,
        Holding(value=None),
        Holding(value="ä, 'b'"),
        Holding(value=date(2013, 11, 3)),
        calendar("1h", "America/New_York").named("2013-11-03T01:00-05:00").slice,
    ],
)
def test_a_segment_keeps_its_partition_in_the_ledger(part: Holding | Between | None) -> None:
    assert slice_from_json(slice_to_json(part)) == part
    for segment in (Everything(partition=part), NullKeys(partition=part), Range(lower=(1,), partition=part)):
        assert from_json(to_json(segment)) == segment
        assert partition_of(from_json(to_json(segment))) == part
        assert (part is not None and part.label in describe(segment)) == (part is not None)
    assert {partition_of(half) for half in halves(Everything(partition=part), (5,))} == {part}


# --- what is declared ------------------------------------------------------------------------------------------------


def _by_age(*periods: dict[str, str]) -> dict[str, Any]:
    return {"by": "time", "column": "day", "bucket": "1d", "verify": periods}


def test_by_key_is_the_default() -> None:
    assert (Partition().by, Partition().column) == ("key", "")


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"by": "tenant"}, "'key', 'column' or 'time'"),
        ({"by": "key", "column": "tenant"}, 'by = "key" has no `column`'),
        ({"by": "column"}, "needs `column`"),
        ({"by": "time", "bucket": "1d"}, "needs `column`"),
        ({"by": "time", "column": "day"}, "needs `bucket`"),
        ({"by": "time", "column": "day", "bucket": "2d"}, "'1h', '1d', '1w' or '1mo'"),
        ({"by": "column", "column": "tenant", "bucket": "1d"}, "`bucket` is about by"),
        ({"by": "column", "column": "tenant", "lateness": "1h"}, "`lateness` is about by"),
        ({"by": "time", "column": "day", "bucket": "1d", "zone": "Europe/Berln"}, "did you mean 'Europe/Berlin'"),
        ({"by": "time", "column": "day", "bucket": "1d", "zone": "../etc/passwd"}, "there is no time zone"),
        ({"by": "time", "column": "day", "bucket": "1d", "window": "a month"}, "is not a duration"),
        ({"by": "time", "column": "day", "bucket": "1d", "windw": "1d"}, "windw"),
        ({"by": "column", "column": "tenant", "verify": [{"every": "1d"}]}, "`verify` is about by"),
        (_by_age({"younger": "7d"}), "verify.0.every"),
        (_by_age({"younger": "7d", "every": "1h"}), "`verify` 1 is the last: leave out `younger`"),
        (_by_age({"every": "1h"}, {"every": "1d"}), "`verify` 1 has no `younger`"),
        (
            _by_age({"younger": "7d", "every": "1h"}, {"younger": "7d", "every": "1d"}, {"every": "9d"}),
            "`verify` 2: `y",
        ),
        (_by_age({"younger": "7d", "evry": "1h"}), "evry"),
    ],
)
def test_what_is_declared_wrongly_is_said(declared: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as error:
        Partition(**declared)
    assert words in str(error.value)


def test_durations() -> None:
    declared = Partition(by="time", column="day", bucket="1d", window="30d", lateness="2h")
    assert declared.window is not None
    assert math.isclose(declared.window, 30 * 86400)
    assert math.isclose(declared.lateness, 7200)


@pytest.mark.parametrize("value", [None, "", "NULL", "'", "''", "'NULL'", "'a", "a'", "it's", "null"])
def test_every_value_is_asked_for_by_its_label(value: str | None) -> None:
    part = Holding(value=value)
    assert holding(Kind.TEXT, part.label) == (part,)
    assert part.label


def test_between_quotes_digits_are_a_text() -> None:
    assert holding(Kind.ANY, "5") == (Holding(value="5"), Holding(value=5))
    assert holding(Kind.ANY, "'5'") == (Holding(value="5"),)
