"""How old the oldest data are: what counts as verified, what is no longer looked at, and what nobody looked up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trueup.core.again import Verified, longest_unread, renew
from trueup.core.cut import Partition, Period, period_of
from trueup.core.declared import spoken
from trueup.core.freshness import DUE, LATE, Freshness, due_by_age, freshness
from trueup.core.partition import Between, Holding
from trueup.core.plan import Everything, NullKeys, Range, Segment, ranges

NOW = datetime(2026, 1, 10, tzinfo=UTC)
BY_TENANT = Partition(by="column", column="tenant")


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def of(hours: dict[Segment, float], listed: float | None = None, **changes: Any) -> Freshness:
    verified = [Verified(span=span, looked_at=ago(each)) for span, each in hours.items()]
    given = {"partition": Partition(), "fresh": 6 * 3600.0, "now": NOW, **changes}
    return freshness(verified, listed=None if listed is None else ago(listed), **given)


def test_the_oldest_part_counts() -> None:
    low, high = ranges([(5,)])
    found = of({low: 2, high: 8}, listed=8)
    assert (found.age_s(NOW), found.late_s(NOW), found.parts) == (8 * 3600, 2 * 3600, 2)
    assert found.oldest == "[5 … +∞)"
    assert of({low: 2, high: 3}).late_s(NOW) == 0
    assert of({low: 2, high: 8}, fresh=None).late_s(NOW) is None


def test_what_was_never_verified_has_no_age() -> None:
    found = of({})
    assert (found.age_s(NOW), found.late_s(NOW), found.ratio(NOW)) == (None, None, 1.0)


def test_a_partition_may_have_appeared_since_somebody_looked_which_there_are() -> None:
    one, two = (Range(partition=Holding(value=name)) for name in "ab")
    assert of({one: 2, two: 3}, listed=4, partition=BY_TENANT).age_s(NOW) == 4 * 3600
    assert of({one: 2, two: 3}, listed=1, partition=BY_TENANT).age_s(NOW) == 3 * 3600
    low, high = ranges([(5,)])
    assert of({low: 2, high: 3}, listed=9).age_s(NOW) == 3 * 3600, "of key ranges none can appear"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (date(2026, 1, 2), date(2026, 1, 9)),
        (datetime(2026, 1, 2), datetime(2026, 1, 9)),
        (datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 9, tzinfo=UTC)),
    ],
)
def test_a_bucket_that_has_left_the_window_ages_no_more(old: Any, new: Any) -> None:
    day = timedelta(days=1)
    parts = {
        Range(partition=Between(lower=at, upper=at + day, label=str(at))): 24.0 * (10 - at.day) for at in (old, new)
    }
    cut = Partition(by="time", column="at", bucket="1d", window="3d")
    assert of(parts, listed=0, partition=cut).age_s(NOW) == 24 * 3600
    assert of(parts, listed=0, partition=cut.model_copy(update={"window": None})).age_s(NOW) == 8 * 24 * 3600


def test_the_window_of_a_source_that_lags_is_seen_from_its_own_time() -> None:
    """A pipeline that is a month late: by our clock no bucket would be left, and nothing would ever be late."""
    cut = Partition(by="time", column="at", bucket="1d", window="3d", watermark="source")
    parts = {bucket(day + 30): 5.0 + day for day in range(6)}
    assert of(parts, listed=0, partition=cut).parts == 3
    assert of(parts, listed=0, partition=cut).age_s(NOW) == 7 * 3600
    assert of(parts, listed=0, partition=cut.model_copy(update={"watermark": "clock"})).parts == 0


# --- periods by age -----------------------------------------------------------------------------------------------

BY_AGE = Partition(
    by="time",
    column="at",
    bucket="1d",
    verify=[{"younger": "3d", "every": "1h"}, {"younger": "10d", "every": "1d"}, {"every": "30d"}],
)
HOUR_S, DAY_S = 3600.0, 86400.0


def bucket(days: float) -> Segment:
    """A day that ended so many days ago."""
    upper = NOW - timedelta(days=days)
    return Range(partition=Between(lower=upper - timedelta(days=1), upper=upper, label=str(upper)))


@given(st.lists(st.floats(1, 1e8), max_size=5, unique=True).map(sorted), st.floats(0, 1e9))
def test_the_first_period_that_is_old_enough_holds(younger: list[float], age: float) -> None:
    periods = [Period(younger=at, every=1 + n) for n, at in enumerate(younger)] + [Period(every=99)]
    found = period_of(periods, age)
    assert found.younger is None or age < found.younger
    before = periods[: periods.index(found)]
    assert all(period.younger is not None and period.younger <= age for period in before)


def test_what_is_due_most_comes_first_and_counts() -> None:
    young, middle, old = bucket(1), bucket(5), bucket(20)
    hours = {young: 0.5, middle: 30.0, old: 28 * 24.0}
    verified = [Verified(span=span, looked_at=ago(each)) for span, each in hours.items()]
    assert due_by_age(verified, BY_AGE, NOW) == [middle, old]
    found = of(hours, listed=0, partition=BY_AGE, fresh=None)
    assert (found.age_s(NOW), found.every, found.fresh) == (30 * HOUR_S, DAY_S, LATE * DAY_S)
    assert (found.late_s(NOW), found.ratio(NOW), found.due(NOW)) == (0, 30 / 24, True)
    missed = of(hours | {young: 2.5}, listed=0, partition=BY_AGE, fresh=None)
    assert (missed.late_s(NOW), missed.oldest) == (HOUR_S / 2, f"all keys of partition {NOW - timedelta(days=1)}")
    assert not of({young: 0.5, middle: 12, old: 300.0}, listed=0, partition=BY_AGE, fresh=None).due(NOW)


def test_a_bucket_that_nobody_has_seen_is_a_young_one() -> None:
    found = of({bucket(20): 3}, listed=3, partition=BY_AGE, fresh=None)
    assert (found.age_s(NOW), found.every, found.late_s(NOW)) == (3 * HOUR_S, HOUR_S, HOUR_S)
    assert of({}, partition=BY_AGE, fresh=None).due(NOW), "and the first run is due at once"


def test_rows_that_are_in_no_bucket_are_read_as_often_as_young_ones() -> None:
    nulls = Range(partition=Holding(value=None))
    verified = [Verified(span=span, looked_at=ago(2)) for span in (nulls, bucket(5))]
    assert due_by_age(verified, BY_AGE, NOW) == [nulls]


@given(
    days=st.integers(1, 20),
    gaps=st.lists(st.floats(60, 40 * HOUR_S), min_size=5, max_size=25),
)
def test_whenever_runs_come_each_bucket_is_read_within_its_period(days: int, gaps: list[float]) -> None:
    """Days close one after the other and grow old; each run reads what is due, and what is new."""
    now = NOW
    looked_at = {bucket(day): NOW - timedelta(hours=day) for day in range(days)}
    for gap in gaps:
        now += timedelta(seconds=gap)
        new = {bucket(-day): now for day in range(1, (now - NOW).days + 1)}
        looked_at = new | looked_at
        verified = [Verified(span=span, looked_at=at) for span, at in looked_at.items()]
        read = due_by_age(verified, BY_AGE, now)
        assert len(set(read)) == len(read)
        looked_at |= dict.fromkeys(read, now)
        after = [Verified(span=span, looked_at=at) for span, at in looked_at.items()]
        for one in after:
            ended = _ended(one.span)
            period = period_of(BY_AGE.verify, (now - ended).total_seconds())
            assert (now - one.looked_at).total_seconds() <= period.every * DUE
        assert due_by_age(after, BY_AGE, now) == [], "a run that follows at once has nothing to read"


@settings(max_examples=20)
@given(st.integers(1, 60))
def test_old_buckets_are_read_rarely_and_not_at_once(days: int) -> None:
    """Ten days of hourly runs: a young day by each, an old one about twice, and never all old ones at once."""
    cut = BY_AGE.model_copy(update={"verify": (Period(younger=DAY_S * 3, every=HOUR_S), Period(every=DAY_S * 5))})
    young, old = [bucket(-day) for day in (20, 21)], [bucket(10 + day) for day in range(days)]
    looked_at, reads = dict.fromkeys([*young, *old], NOW), dict.fromkeys([*young, *old], 0)
    hours = 10 * 24
    for hour in range(1, hours + 1):
        now = NOW + timedelta(hours=hour)
        verified = [Verified(span=span, looked_at=at) for span, at in looked_at.items()]
        read = due_by_age(verified, cut, now)
        assert len(set(read) & set(old)) <= max(len(old) // 2, 1)
        for span in read:
            looked_at[span], reads[span] = now, reads[span] + 1
    assert {reads[span] for span in young} == {hours}
    assert all(1 <= reads[span] <= 4 for span in old)


def _ended(span: Segment) -> datetime:
    part = span.partition  # type: ignore[union-attr]
    assert isinstance(part, Between)
    return part.upper  # type: ignore[no-any-return]


def test_a_later_run_may_cut_what_it_reads_smaller() -> None:
    low, high = ranges([(10,)])
    known: dict[Segment, datetime] = {low: ago(9), high: ago(9)}
    renew(known, {Range(lower=None, upper=(4,)): ago(3), Range(lower=(4,), upper=(10,)): ago(2)})
    assert known == {low: ago(3), high: ago(9)}
    renew(known, {Range(lower=(10,), upper=(20,)): ago(1)})
    assert known == {low: ago(3), high: ago(9)}, "half of a part is not the part"
    whole: dict[Segment, datetime] = {Everything(): ago(9)}
    renew(whole, {Range(): ago(2), NullKeys(): ago(1)})
    assert whole == {Everything(): ago(2)}
    renew(whole, {Everything(): ago(5)})
    assert whole == {Everything(): ago(2)}, "a run that was older says nothing"


def test_a_new_partition_is_known_from_when_it_was_read() -> None:
    one, two = (Range(partition=Holding(value=name)) for name in "ab")
    known: dict[Segment, datetime] = {one: ago(9)}
    renew(known, {two: ago(1)})
    assert known == {one: ago(9), two: ago(1)}


@given(
    parts=st.integers(1, 40),
    seconds=st.lists(st.floats(0.1, 500), min_size=120, max_size=120),
    turn=st.integers(1, 7),
)
def test_in_turn_nothing_starves_and_the_oldest_is_next(parts: int, seconds: list[float], turn: int) -> None:
    """Parts take as long as they like: between two looks at one, each other is read exactly once."""
    now, spans = NOW, ranges([(n,) for n in range(parts - 1)])
    looked_at: dict[Segment, datetime] = {span: NOW - timedelta(seconds=n) for n, span in enumerate(spans)}
    read: list[Segment] = []
    for at in range(0, len(seconds), turn):
        verified = [Verified(span=span, looked_at=when) for span, when in looked_at.items()]
        chosen = longest_unread(verified, turn)
        assert chosen[0] == min(looked_at, key=lambda span: looked_at[span])
        for span, took in zip(chosen, seconds[at:], strict=False):
            now += timedelta(seconds=took)
            looked_at[span] = now
            read.append(span)
    for at in range(len(read) - parts):
        assert len(set(read[at : at + parts])) == parts
    assert len(set(read)) == min(parts, len(read))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "0 s"),
        (59.6, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (3601, "1 h"),
        (12000, "3 h 20 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_spoken(seconds: float, words: str) -> None:
    assert spoken(seconds) == words
