"""How old the oldest data are: what counts as verified, what is no longer looked at, and what nobody looked up."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.again import Verified, longest_unread, renew
from trueup.core.declared import spoken
from trueup.core.freshness import Freshness, freshness
from trueup.core.partition import Between, Holding
from trueup.core.plan import Everything, NullKeys, Range, Segment, ranges
from trueup.core.projection import Partition

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
