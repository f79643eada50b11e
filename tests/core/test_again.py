"""What a later run has to read: turns that leave no segment unread for long, and marks that are trusted or not."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.again import (
    Verified,
    believed,
    bind_marks,
    due,
    ends_of,
    gone_back,
    marked_side,
    not_of_kind,
    other_keys,
    since,
)
from trueup.core.binding import Binding, Column, Shape, bind
from trueup.core.plan import Everything, Keys, NullKeys, Range, Segment, covered_by, halves, ranges
from trueup.core.projection import ChangeMark, Projection, Side
from trueup.core.row import Kind
from trueup.errors import ConfigError

START = datetime(2026, 1, 1, tzinfo=UTC)
WEEK_S = 7 * 86400.0


def verified(looked_at: list[datetime]) -> list[Verified]:
    spans = ranges([(n,) for n in range(len(looked_at) - 1)])
    return [Verified(span=span, looked_at=at) for span, at in zip(spans, looked_at, strict=True)]


def read_in_turn(looked_at: list[datetime], now: datetime, within_s: float) -> int:
    """A run at `now`: what is due has been looked at then; how many it were."""
    segments = verified(looked_at)
    turn = due(segments, now, within_s)
    for at, segment in enumerate(segments):
        looked_at[at] = now if segment.span in turn else looked_at[at]
    return len(turn)


# --- turns -----------------------------------------------------------------------------------------------------------


@given(
    segments=st.integers(1, 60),
    within_s=st.floats(1, 1e7),
    gaps=st.lists(st.floats(0, 3), max_size=30),
    read_for=st.floats(0, 1),
)
def test_no_segment_is_ever_older_than_the_limit_and_one_gap(
    segments: int, within_s: float, gaps: list[float], read_for: float
) -> None:
    """Runs come at any moments; the run that read everything took up to as long as the limit itself."""
    within = timedelta(seconds=within_s)
    looked_at = [START - within * read_for * (n / segments) for n in range(segments)]
    now, before = START, START
    for gap in gaps:
        now += within * gap
        assert max(now - at for at in looked_at) <= within + (now - before) + timedelta(milliseconds=1)
        count = read_in_turn(looked_at, now, within_s)
        assert max(now - at for at in looked_at) < within, "after a run none is older than the limit"
        assert count <= math.floor(segments * gap * 1.000001 + 0.001) + 1, "no more than this gap's share, and one"
        assert read_in_turn(looked_at, now, within_s) == 0, "a run that follows at once has nothing to read"
        before = now


@pytest.mark.parametrize("runs", [7, 10, 28, 1000])
def test_every_segment_is_read_once_in_the_time_that_is_set(runs: int) -> None:
    looked_at = [START] * 28
    moments = [START + timedelta(seconds=WEEK_S * at / runs) for at in range(1, runs + 1)]
    counts = [read_in_turn(looked_at, moment, WEEK_S) for moment in moments]
    assert sum(counts) == 28
    assert max(counts) - min(counts) <= 1
    assert all(at > START for at in looked_at)


def test_the_longest_unread_come_first() -> None:
    looked_at = [START + timedelta(hours=hour) for hour in (3, 1, 2, 0)]
    now = START + timedelta(seconds=WEEK_S * 0.6)
    assert due(verified(looked_at), now, WEEK_S) == [Range(lower=(2,), upper=None), Range(lower=(0,), upper=(1,))]


def test_nothing_is_due_right_after_everything_was_read() -> None:
    assert due(verified([START] * 100), START, WEEK_S) == []
    assert due(verified([START] * 100), START + timedelta(minutes=5), WEEK_S) == []
    assert len(due(verified([START] * 100), START + timedelta(days=1), WEEK_S)) == 14
    assert due([], START, WEEK_S) == []


def test_after_a_long_silence_all_are_read_once() -> None:
    looked_at = [START] * 50
    now = START + timedelta(days=365)
    assert read_in_turn(looked_at, now, WEEK_S) == 50
    assert read_in_turn(looked_at, now + timedelta(minutes=1), WEEK_S) == 0


def test_a_clock_that_was_put_back_makes_nothing_due() -> None:
    assert due(verified([START] * 5), START - timedelta(days=30), WEEK_S) == []


def test_a_limit_of_no_time_reads_everything_each_time() -> None:
    assert len(due(verified([START] * 5), START, 0)) == 5


# --- what pieces cover -----------------------------------------------------------------------------------------------

WHOLE = Range(lower=(1,), upper=(9,))


@pytest.mark.parametrize(
    ("span", "pieces", "covered"),
    [
        (WHOLE, [WHOLE], [0]),
        (WHOLE, [Range(lower=(5,), upper=(9,)), NullKeys(), Range(lower=(1,), upper=(5,))], [2, 0]),
        (WHOLE, [Range(lower=(1,), upper=(5,)), Range(lower=(6,), upper=(9,))], []),
        (WHOLE, [Range(lower=(1,), upper=(5,)), Range(lower=(5,))], []),
        (WHOLE, [Range(lower=(1,), upper=(5,)), Range(lower=(5,), upper=(1,))], []),
        (WHOLE, [Keys(keys=((1,),))], []),
        (WHOLE, [], []),
        (Range(), [Range(upper=(5,)), Range(lower=(5,))], [0, 1]),
        (Everything(), [Everything()], [0]),
        (Everything(), halves(Everything(), (3,)), [0, 1, 2]),
        (Everything(), halves(Everything(), (3,))[:2], []),
        (NullKeys(), [Range()], []),
        (Keys(keys=((1,),)), [Range()], []),
    ],
)
def test_pieces_that_are_exactly_a_segment(span: Segment, pieces: list[Segment], covered: list[int]) -> None:
    assert covered_by(span, pieces) == covered


# --- marks -----------------------------------------------------------------------------------------------------------

NOON = datetime(2026, 3, 1, 12)


@pytest.mark.parametrize(
    ("mark", "overlap_s", "first"),
    [
        (NOON, None, datetime(2026, 3, 1, 11, 55)),
        (NOON.replace(tzinfo=UTC), 60.0, datetime(2026, 3, 1, 11, 59, tzinfo=UTC)),
        (NOON, 0.0, NOON),
        (date(2026, 3, 1), None, date(2026, 2, 28)),
        (date(2026, 3, 1), 1.0, date(2026, 2, 28)),
        (date(2026, 3, 1), 86401.0, date(2026, 2, 27)),
        (date(2026, 3, 1), 0.0, date(2026, 3, 1)),
        (50_000, None, 40_000),
        (50_000, 7.0, 49_993),
        (50_000, 0.5, 49_999),
        (5, None, -9_995),
        (datetime(1, 1, 1), None, None),
        (date(1, 1, 1), None, None),
        (NOON, 1e300, None),
    ],
)
def test_where_reading_begins_again(mark: Any, overlap_s: float | None, first: Any) -> None:
    assert since(mark, overlap_s) == first


@pytest.mark.parametrize(
    ("before", "now", "back"),
    [
        ({"source": 5}, {"source": 5}, False),
        ({"source": 5}, {"source": 6}, False),
        ({"source": 5}, {"source": 4}, True),
        ({"source": 5}, {"source": None}, True),
        ({"source": 5, "target": NOON}, {"source": 5, "target": NOON - timedelta(seconds=1)}, True),
        ({"source": None}, {"source": None}, False),
        ({"source": None}, {"source": 1}, False),
    ],
)
def test_a_mark_that_went_back(before: dict[str, Any], now: dict[str, Any], back: bool) -> None:
    assert bool(gone_back(before, now)) is back


def test_keys_of_another_type_are_not_looked_up() -> None:
    """A column of integers that has UUIDs by now: the rows that were wrong and the ends of segments are none of its."""
    ends = list(ends_of([*ranges([(5,), (9,)]), NullKeys()]))
    assert ends == [(5,), (5,), (9,), (9,)]
    assert other_keys((Kind.INTEGER,), ends) == other_keys((Kind.TEXT,), ends) == ""
    assert other_keys((Kind.UUID,), ends) == "keys are of another type than [5], which was read before"
    assert other_keys((Kind.UUID,), [(None,)]) == ""


@pytest.mark.parametrize("mark", [5, date(2026, 3, 1), datetime(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)])
@pytest.mark.parametrize("found", [5, date(2026, 3, 1), datetime(2026, 3, 1), datetime(2026, 3, 1, tzinfo=UTC)])
def test_a_mark_of_another_type_is_not_trusted(mark: Any, found: Any) -> None:
    """The column's type was changed since; Python has no order of the two."""
    same = type(mark) is type(found) and getattr(mark, "tzinfo", None) == getattr(found, "tzinfo", None)
    assert bool(gone_back({"source": mark}, {"source": found})) is not same


def test_a_side_that_went_back_is_named() -> None:
    assert gone_back({"source": 5, "target": 7}, {"source": 5, "target": None}) == (
        "the target's mark went back from 7 to None"
    )


NAIVE = START.replace(tzinfo=None)


@pytest.mark.parametrize(
    ("mark", "kept"),
    [
        (START - timedelta(microseconds=1), None),
        (START + timedelta(microseconds=1), START),
        (datetime(9999, 12, 31, tzinfo=UTC), START),
        (NAIVE + timedelta(hours=14), None),
        (NAIVE + timedelta(hours=14, seconds=1), NAIVE + timedelta(hours=14)),
        (date(2026, 1, 1), None),
        (date(9999, 12, 31), date(2026, 1, 1)),
        (10**15, None),
        (None, None),
    ],
)
def test_a_mark_is_believed_up_to_the_present_moment(mark: Any, kept: Any) -> None:
    """Without a zone the present is that of the zone that is furthest ahead. None: it is kept as it is."""
    assert believed(mark, START) == (mark if kept is None else kept)


# --- binding ---------------------------------------------------------------------------------------------------------


def column(name: str, kind: Kind = Kind.INTEGER) -> Column:
    return Column(name=name, kind=kind, type_name=str(kind), nullable=False)


SHAPE = Shape(
    columns={
        "id": column("id"),
        "v": column("v", Kind.TEXT),
        "updated_at": column("updated_at", Kind.TIMESTAMP),
        "day": column("day", Kind.DATE),
        "seen": column("seen", Kind.INSTANT),
    },
    dialect="postgres",
)


def bound(**declared: Any) -> Binding:
    given: dict[str, Any] = {"key": ("id",), "columns": ("v",), "source": Side(database="d", table="src")}
    given |= {"target": Side(database="d", table="dst")}
    return bind(Projection(name="p", **(given | declared)), SHAPE, SHAPE, writing=False)


@pytest.mark.parametrize("name", ["id", "updated_at", "day", "seen"])
def test_the_mark_becomes_the_key_that_rows_are_read_by(name: str) -> None:
    binding, side = bind_marks(bound(), "source", ChangeMark(column=name), SHAPE)
    kind = SHAPE.columns[name].kind
    assert [one.name for one in side.key] == [name]
    assert [one.name for one in side.values] == ["id"]
    assert (binding.key_kinds, binding.value_kinds) == ((kind,), (Kind.INTEGER,))
    assert binding.columns == ("id",)
    assert not side.unique


def test_the_mark_of_another_table_names_the_keys_by_its_own_columns() -> None:
    mark = ChangeMark(column="seen", table="likes", columns={"id": "post_id"})
    shape = Shape(columns={"post_id": column("post_id"), "seen": column("seen", Kind.INSTANT)}, dialect="postgres")
    side = marked_side(bound(), "source", mark)
    assert (side.database, side.table, side.columns) == ("d", "likes", {"id": "post_id"})
    _, found = bind_marks(bound(), "source", mark, shape)
    assert [one.name for one in found.values] == ["post_id"]


def test_a_side_with_columns_of_other_names_is_read_by_its_own() -> None:
    target = Side(database="d", table="dst", columns={"id": "nr"})
    shape = replace(SHAPE, columns={**SHAPE.columns, "nr": column("nr")})
    projection = Projection(name="p", key=("id",), columns=("v",), source=Side(database="d", table="s"), target=target)
    binding = bind(projection, SHAPE, shape, writing=False)
    _, side = bind_marks(binding, "target", ChangeMark(column="day"), shape)
    assert [one.name for one in side.values] == ["nr"]


@pytest.mark.parametrize(
    ("role", "mark", "words"),
    [
        ("source", ChangeMark(column="updated"), ("changes.source", "table 'src'", "'updated'", "'updated_at'")),
        ("target", ChangeMark(column="dya"), ("changes.target", "table 'dst'", "'dya'", "'day'")),
        ("source", ChangeMark(column="seen", table="likes", columns={"id": "idd"}), ("'likes'", "'idd'", "'id'")),
        ("source", ChangeMark(column="v"), ("changes.source.column", "'v'", "text", "integer, a date or a timestamp")),
    ],
)
def test_what_is_wrong_with_a_mark_is_said_with_the_nearest_name(
    role: str, mark: ChangeMark, words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        bind_marks(bound(), role, mark, SHAPE)
    assert "projections.p." in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("key", "about", "fits"),
    [
        (Kind.INTEGER, Kind.INTEGER, True),
        (Kind.INTEGER, Kind.BOOLEAN, True),
        (Kind.INTEGER, Kind.ANY, True),
        (Kind.UUID, Kind.TEXT, True),
        (Kind.UUID, Kind.BYTES, True),
        (Kind.TIMESTAMP, Kind.DATE, True),
        (Kind.INTEGER, Kind.TEXT, False),
        (Kind.INTEGER, Kind.DECIMAL, False),
        (Kind.TEXT, Kind.INTEGER, False),
        (Kind.TEXT, Kind.UUID, False),
        (Kind.DATE, Kind.TIMESTAMP, False),
        (Kind.INTEGER, Kind.OPAQUE, False),
    ],
)
def test_another_tables_keys_are_read_exactly_as_the_key_or_refused(key: Kind, about: Kind, fits: bool) -> None:
    """An outbox whose keys are text names no row by a key of integers, and nothing would be looked at."""
    sides = replace(SHAPE, columns={**SHAPE.columns, "id": column("id", key)})
    given = Projection(
        name="p",
        key=("id",),
        columns=("v",),
        source=Side(database="d", table="s"),
        target=Side(database="e", table="t"),
    )
    binding = bind(given, sides, sides, writing=False)
    outbox = Shape(columns={"nr": column("nr"), "about": column("about", about)}, dialect="postgres")
    mark = ChangeMark(column="nr", table="outbox", columns={"id": "about"})
    if fits:
        assert bind_marks(binding, "source", mark, outbox)[0].value_kinds == (key,)
        return
    with pytest.raises(ConfigError, match=rf"changes\.source\.columns: column 'about' of table 'outbox' \({about}\)"):
        bind_marks(binding, "source", mark, outbox)


@pytest.mark.parametrize(
    ("kind", "value", "wrong"),
    [
        (Kind.INTEGER, 5, False),
        (Kind.INTEGER, "n/a", True),
        (Kind.INTEGER, 5.5, True),
        (Kind.INTEGER, None, False),
        (Kind.DATE, date(2026, 1, 2), False),
        (Kind.DATE, START, True),
        (Kind.TIMESTAMP, "soon", True),
        (Kind.INSTANT, START, False),
        (Kind.TEXT, "n/a", False),
    ],
)
def test_values_that_are_not_of_their_kind(kind: Kind, value: Any, wrong: bool) -> None:
    assert not_of_kind(kind, value) is wrong


def test_the_mark_of_a_query_is_said_to_be_of_a_query() -> None:
    source = Side(database="d", query="SELECT id, v FROM src")
    with pytest.raises(ConfigError, match="the query has no column 'nope'"):
        bind_marks(bound(source=source), "source", ChangeMark(column="nope"), SHAPE)
