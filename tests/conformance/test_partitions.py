"""Partitions: whatever the cut, the same rows are found, and what was not looked at stays as it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clock import FakeClock
from tests.conformance.worlds import UNLIMITED, EngineClock, Pairing, Row, Sqlite, World, places
from trueup import Limits, Projection, Report, Side, Trueup, Verdict, by_partition, narrow, side_by_side
from trueup.adapters import _sql
from trueup.cli.commands import app as command_line
from trueup.core.partition import Holding
from trueup.core.plan import Everything, Keys, Range, partition_of
from trueup.core.projection import Partition
from trueup.errors import ConfigError, DesignProblem, Interrupted, UsageError
from trueup.store.coverage import Coverage

#: In one database and in two, by digests and by rows, with and without a type for moments.
FEW = ("postgresql-alone", "mysql-alone", "postgresql-mysql", "sqlite-postgresql", "duckdb-sqlite")

BY_TENANT = {"by": "column", "column": "tenant"}
COLUMNS = "id {integer} PRIMARY KEY NOT NULL, tenant {text}, v {integer}"
TENANTS = ("a", "A", "Ä", "b ", None)


def found(report: Report) -> dict[Any, tuple[str, ...]]:
    """The rows of a report by key, each listed once."""
    rows = {str(row["key"]): (row["kind"], str(row["expected"]), str(row["observed"])) for row in report.drift}
    assert len(rows) == len(report.drift) == report.drifted
    return rows


def figures(report: Report) -> tuple[Any, ...]:
    kinds = (report.missing, report.extra, report.different, report.different_by_column)
    return (report.verdict, report.source_rows, report.target_rows, *kinds)


def rows(count: int = 60) -> list[Row]:
    return [(n, TENANTS[n % 5], n * 7) for n in range(count)]


def drifted() -> list[Row]:
    """Missing, extra and different rows in several partitions; one that moved, one that moved and changed."""
    held = {row[0]: row for row in rows() if row[0] not in (3, 24)}
    held |= {100: (100, "a", 1), 101: (101, None, 1), 102: (102, "only here", 1)}
    held |= {5: (5, "a", 0), 9: (9, None, 0)}
    held |= {6: (6, "b ", 42), 7: (7, "a", 0), 14: (14, "elsewhere", 98), 16: (16, None, 112)}
    return list(held.values())


# --- the same rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [("v",), ("tenant", "v")], ids=["not compared", "compared"])
def test_all_partitions_find_what_comparing_everything_finds(world: World, columns: tuple[str, ...]) -> None:
    world.tables(COLUMNS, rows(), drifted())
    whole = world.app(columns=columns).check("p", rows=0)
    report = world.app(columns=columns, partition=BY_TENANT).check("p", rows=0)
    assert found(report) == found(whole)
    assert figures(report) == figures(whole)
    assert report.drifted >= 8, "there is something to find"
    listed = {row["partition"]: row for row in report.partitions}
    assert set(listed) == {*TENANTS, "only here", "elsewhere"}
    assert sum(row["source_rows"] for row in report.partitions) == report.source_rows
    assert sum(row["target_rows"] for row in report.partitions) == report.target_rows
    drift = [row["missing"] + row["extra"] + row["different"] for row in report.partitions]
    assert drift == sorted(drift, reverse=True)
    assert sum(drift) == report.drifted
    assert listed["only here"] == {
        "partition": "only here",
        "source_rows": 0,
        "target_rows": 1,
        "missing": 0,
        "extra": 1,
        "different": 0,
    }


@pytest.mark.parametrize("unique", [True, False], ids=["unique", "repeated keys"])
def test_rows_that_moved_hide_none_that_are_missing(
    together: World, monkeypatch: pytest.MonkeyPatch, unique: bool
) -> None:
    """More rows of a partition moved than a database hands out of what differs in it; and some are missing."""
    columns = COLUMNS if unique else COLUMNS.replace(" PRIMARY KEY NOT NULL", "")
    odd: list[Row] = [] if unique else [(1, "z", 1), (1, "z", 1), (None, "a", 3)]
    true: list[Row] = [(n, "a", n) for n in range(2, 32)]
    together.tables(columns, [*true, *odd], [*((n, "b", v) for n, _, v in true[:25]), *odd])
    whole = together.app(columns=("v",)).check("p", rows=0)
    assert (whole.verdict, whole.missing, whole.drifted) == (Verdict.DRIFT, 5, 5)
    for module in (_sql, side_by_side):
        monkeypatch.setattr(module, "DIFFERENCES_MAX", 7)  # keys asked for at a time are always fewer
    app = together.app(columns=("v",), partition=BY_TENANT, limits=UNLIMITED)
    report = app.check("p", rows=0)
    assert (found(report), figures(report)) == (found(whole), figures(whole))
    assert {row["partition"]: row["missing"] for row in report.partitions if row["missing"]} == {"a": 5}
    if unique:
        assert (app.run("p").repaired, together.target.count("dst")) == (5, 30)


@pytest.mark.parametrize("key", ["id", ("tenant", "id")], ids=["control", "no row can move"])
def test_where_no_row_can_move_none_is_read_again(
    together: World, monkeypatch: pytest.MonkeyPatch, key: str | tuple[str, ...]
) -> None:
    """In the control also those are that the database did not hand out, since they may be in another partition."""
    columns = "id {integer} NOT NULL, tenant {text} NOT NULL, v {integer}, PRIMARY KEY (tenant, id)"
    together.tables(columns, [(n, "a", n) for n in range(30)], [])
    again, real = list[Any](), narrow.all_of

    def noting(pair: Any, segment: Any, **options: Any) -> Any:
        again.append(segment)
        return real(pair, segment, **options)

    monkeypatch.setattr(narrow, "all_of", noting)
    for module in (_sql, side_by_side):
        monkeypatch.setattr(module, "DIFFERENCES_MAX", 7)
    monkeypatch.setattr(narrow, "KEYS_AT_ONCE", 7)
    app = together.app(columns=("v",), key=key, partition=BY_TENANT, limits=UNLIMITED)
    assert app.check("p", rows=0).missing == 30
    assert bool(again) is (key == "id")


def test_one_by_one_finds_what_comparing_everything_finds(world: World) -> None:
    world.tables(COLUMNS, rows(), drifted())
    whole = world.app(columns=("tenant", "v")).check("p", rows=0)
    app = world.app(columns=("tenant", "v"), partition=BY_TENANT)
    seen: dict[Any, tuple[str, ...]] = {}
    source_rows = 0
    for tenant in [*TENANTS, "only here", "elsewhere"]:
        report = app.check("p", partitions=[tenant], rows=0)
        source_rows += report.source_rows
        assert [row["partition"] for row in report.partitions] == [tenant]
        seen |= found(report)
    assert seen == found(whole)
    assert source_rows == whole.source_rows


@given(data=st.data())
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_rows_cut_by_any_column(world: World, data: st.DataObject) -> None:
    """The key repeats, is NULL, rows are in different partitions of the two sides: the same rows differ."""
    row = st.tuples(st.one_of(st.none(), st.integers(0, 5)), st.sampled_from(TENANTS), st.integers(0, 1))
    source, target = (data.draw(st.lists(row, max_size=12)) for _ in range(2))
    for place, table, held in ((world.source, "src", source), (world.target, "dst", target)):
        place.sql(f"DROP TABLE IF EXISTS {table}")
        place.table(table, "id {integer}, tenant {text}, v {integer}", held)
    whole = world.app(columns=("v",)).check("p", rows=0)
    report = world.app(columns=("v",), partition=BY_TENANT).check("p", rows=0)
    assert found(report) == found(whole)
    assert figures(report) == figures(whole)
    assert report.null_keys == whole.null_keys


@pytest.mark.parametrize("type_", ["integer", "date", "uuid"])
def test_a_column_of_the_key(world: World, type_: str) -> None:
    """Nothing can move between partitions, and an index on the key serves."""
    made: dict[str, Sequence[Any]] = {
        "integer": (-1, 0, 7),
        "date": (date(1900, 1, 1), date(2013, 11, 3), date(2013, 11, 4)),
        "uuid": tuple(f"0000000{n}-0000-4000-8000-000000000000" for n in range(3)),
    }
    values = made[type_]
    true = [(value, n, n) for value in values for n in range(10)]
    world.tables(f"part {{{type_}}} NOT NULL, id {{integer}} NOT NULL, v {{integer}}, PRIMARY KEY (part, id)", true)
    held = [(part, n, v + (n == 3 and part == values[0])) for part, n, v in true if (part, n) != (values[1], 4)]
    world.target.insert("dst", held)
    cut = {"by": "column", "column": "part"}
    key = ("part", "id")
    whole = world.app(key=key).check("p", rows=0)
    app = world.app(key=key, partition=cut)
    report = app.check("p", rows=0)
    assert (found(report), figures(report)) == (found(whole), figures(whole))
    assert (report.missing, report.different) == (1, 1)
    assert [row["partition"] for row in report.partitions if not row["missing"] + row["different"]] == [
        values[2] if type_ != "date" else "2013-11-04"
    ]
    assert app.check("p", partitions=[values[2]]).verdict is Verdict.IN_SYNC
    assert app.check("p", partitions=[str(values[0])]).different == 1


def test_the_predicate_is_in_every_statement_and_an_index_serves(together: World) -> None:
    if together.pairing.source not in ("postgresql", "sqlite", "mysql"):
        assert together.pairing.source == "duckdb", "an adapter whose access path nobody looked at"
        return  # it keeps ranges of values for each group of rows, and has no plan to show
    count = 20_000
    true = [(n, n % 200, n) for n in range(count)]
    together.tables("id {integer} PRIMARY KEY NOT NULL, tenant {integer}, v {integer}", true, true)
    for table in ("src", "dst"):
        together.source.sql(f"CREATE INDEX {table}_tenant ON {table} (tenant)")
        together.source.analyze(table)
    app = together.app(partition=BY_TENANT, columns=("v",))
    binding = app.binding("p", writing=False)
    adapter: Any = app.pair(binding).source
    prefix = "EXPLAIN QUERY PLAN" if together.pairing.source == "sqlite" else "EXPLAIN"

    def plan(segment: Everything) -> str:
        statement = adapter.comparison(binding, segment)
        if together.pairing.source == "mysql":
            statement = statement.selects[0]
        with adapter.reading() as connection:
            return "\n".join(str(row) for row in adapter.explain(connection, prefix, statement))

    assert {"src_tenant", "dst_tenant"} <= {
        name for name in ("src_tenant", "dst_tenant") if name in plan(Everything(partition=Holding(value=7)))
    }
    assert "src_tenant" not in plan(Everything()), "or the index says nothing"
    assert app.check("p", partitions=[7]).source_rows == count // 200


# --- time ------------------------------------------------------------------------------------------------------------

ZONE = "America/New_York"
NIGHT = datetime(2013, 11, 3, 0, tzinfo=ZoneInfo(ZONE))


def at(moment: datetime) -> EngineClock:
    return EngineClock(FakeClock(moment.timestamp()))


def instants(world: World) -> bool:
    """SQLite has no type with a zone, and nothing else is compared with one."""
    return "sqlite" not in (world.pairing.source, world.pairing.target)


def timed(world: World, count: int = 150) -> list[Row]:
    """A row every 20 minutes over the night in which New York has the hour from one to two twice; two without time."""
    moments = [(NIGHT - timedelta(hours=20)).astimezone(UTC) + timedelta(minutes=20 * n) for n in range(count)]
    if not instants(world):
        moments = [moment.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None) for moment in moments]
    return [*((n, moment, n) for n, moment in enumerate(moments)), (9001, None, 1), (9002, None, 2)]


def time_tables(world: World) -> list[Row]:
    true = timed(world)
    held = [(n, moment, v + (n % 20 == 0)) for n, moment, v in true if n % 30 != 7]
    kind = "instant" if instants(world) else "timestamp"
    null = " NULL" if kind == "instant" else ""  # MariaDB gives a timestamp that may not be NULL otherwise
    world.tables(f"id {{integer}} PRIMARY KEY NOT NULL, at {{{kind}}}{null}, v {{integer}}", true, held)
    return true


def by_time(bucket: str, **more: Any) -> dict[str, Any]:
    return {"by": "time", "column": "at", "bucket": bucket, "zone": ZONE} | more


@pytest.mark.parametrize("bucket", ["1h", "1d", "1w", "1mo"])
def test_all_buckets_find_what_comparing_everything_finds(world: World, bucket: str) -> None:
    true = time_tables(world)
    clock = at(NIGHT + timedelta(days=100))
    whole = world.app(columns=("v",)).check("p", rows=0)
    report = world.app(columns=("v",), partition=by_time(bucket), clock=clock).check("p", rows=0)
    assert (found(report), figures(report)) == (found(whole), figures(whole))
    assert report.drifted > 5
    assert sum(row["source_rows"] for row in report.partitions) == len(true)
    assert sum(row["partition"] is None for row in report.partitions) == 1, (
        "rows without a time are in one of their own"
    )
    day = {row["partition"]: row["source_rows"] for row in report.partitions}
    if bucket == "1d":
        assert day["2013-11-03"] == 25 * 3, "the night was an hour longer"
    if bucket == "1h" and instants(world):
        assert {day[f"2013-11-03T01:00{offset}"] for offset in ("-04:00", "-05:00")} == {3}
    if bucket == "1h" and not instants(world):
        assert day["2013-11-03T01:00"] == 6, "a wall time does not say which of the two hours it is in"


def test_a_day_is_asked_for_by_name_and_a_utc_day_is_another(world: World) -> None:
    true = time_tables(world)
    clock = at(NIGHT + timedelta(days=100))
    app = world.app(columns=("v",), partition=by_time("1d"), clock=clock)
    report = app.check("p", partitions=["2013-11-03"], rows=0)
    there = ZoneInfo(ZONE)
    mine = {
        n
        for n, moment, _ in true
        if moment is not None and (moment.astimezone(there) if moment.tzinfo else moment).date() == date(2013, 11, 3)
    }
    wrong = {n for n in mine if n % 20 == 0 or n % 30 == 7}
    assert report.source_rows == len(mine)
    assert {row["key"]["id"] for row in report.drift} == wrong
    assert wrong
    if instants(world):  # the positive control: cut at midnight UTC, other rows are found
        naive = world.app(columns=("v",), partition=by_time("1d", zone="UTC"), clock=clock)
        other = naive.check("p", partitions=["2013-11-03"], rows=0)
        assert other.source_rows == 24 * 3
        assert {row["key"]["id"] for row in other.drift} != wrong


def test_dates(world: World) -> None:
    days = [date(2013, 10, 20) + timedelta(days=n) for n in range(30)]
    true = [(n, day, n) for n, day in enumerate(days)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, at {date}, v {integer}", true, [*true[:9], *true[10:]])
    app = world.app(partition=by_time("1w"), clock=at(NIGHT + timedelta(days=100)))
    report = app.check("p", rows=0)
    assert [row["partition"] for row in report.partitions if row["missing"]] == ["2013-10-28"]
    assert sorted(row["source_rows"] for row in report.partitions) == [1, 1, 7, 7, 7, 7], "weeks begin on Monday"
    with pytest.raises(ConfigError, match="no hours"):
        world.app(partition=by_time("1h")).check("p")


def test_open_buckets_are_not_compared_and_the_report_says_which(world: World) -> None:
    """What is written while the day goes on is no drift, until the day is over and `lateness` with it."""
    days = [date(2013, 11, n) for n in (1, 2, 3, 4)]
    true = [(n, day, 1) for n, day in enumerate(days)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, at {date}, v {integer}", true)  # nothing has arrived
    noon = datetime(2013, 11, 3, 12, tzinfo=ZoneInfo(ZONE))
    clock = at(noon)
    app = world.app(partition=by_time("1d", lateness="14h"), limits=UNLIMITED, clock=clock)
    report = app.check("p", rows=0)
    assert [row["at"] for row in (row["expected"] for row in report.drift)] == ["2013-11-01"]
    open_ = {row["partition"]: row["closes"] for row in report.open_partitions}
    assert set(open_) == {"2013-11-02", "2013-11-03"}
    assert datetime.fromisoformat(open_["2013-11-02"]) == datetime(2013, 11, 3, 18, tzinfo=UTC)
    assert "still open" in report.strategy
    with pytest.raises(UsageError, match="still open"):
        app.check("p", partitions=["2013-11-02"])
    clock.wait(2 * 3600)
    assert app.check("p", rows=0).drifted == 2
    window = world.app(partition=by_time("1d", window="1d"), clock=at(noon + timedelta(days=2)))
    assert [row["partition"] for row in window.check("p").partitions] == ["2013-11-04"]
    assert window.check("p", partitions=["2013-11-01"]).missing == 1, "what is asked for is looked at"


def test_by_the_sources_time_a_bucket_that_may_still_grow_is_not_compared(world: World) -> None:
    """A pipeline that stopped three days ago has made no drift of what it has not delivered."""
    days = [date(2013, 11, n) for n in (1, 2, 3)]
    true = [(n, day, 1) for n, day in enumerate(days)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, at {date}, v {integer}", true[:2], true)
    clock = at(datetime(2013, 11, 6, 12, tzinfo=ZoneInfo(ZONE)))
    by_clock = world.app(partition=by_time("1d"), clock=clock).check("p", rows=0)
    assert {row["partition"] for row in by_clock.partitions} == {"2013-11-01", "2013-11-02", "2013-11-03"}
    assert by_clock.extra == 1
    assert [row["partition"] for row in by_clock.open_partitions] == ["2013-11-06"]
    by_source = world.app(partition=by_time("1d", watermark="source"), clock=clock).check("p", rows=0)
    assert [row["partition"] for row in by_source.partitions] == ["2013-11-01"]
    assert (by_source.drifted, "2013-11-02 is still open" in by_source.strategy) == (0, True)
    assert by_source.open_partitions == [], "the clock's are not what was left out"


def test_times_that_are_spelt_in_another_way_are_not_lost(world: World) -> None:
    """SQLite orders texts: a time that is not spelt as the borders are would fall into the wrong bucket, or none."""
    kind = "timestamp"
    world.tables(f"id {{integer}} PRIMARY KEY NOT NULL, at {{{kind}}}, v {{integer}}")
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.sql(f"INSERT INTO {table} VALUES (1, '2013-11-03 01:00:00', 1)")
        place.sql(f"INSERT INTO {table} VALUES (2, '2013-11-03T02:00:00', 1)")
    app = world.app(columns=("v",), partition=by_time("1d"))
    if "sqlite" in (world.pairing.source, world.pairing.target):
        with pytest.raises(DesignProblem, match="not how it spells a timestamp"):
            app.check("p")
    else:
        assert app.check("p").source_rows == 2


@pytest.mark.parametrize("columns", [("v",), ("tenant", "v")], ids=["not compared", "compared"])
def test_a_null_that_says_nothing_is_counted_once_where_its_row_moved(world: World, columns: tuple[str, ...]) -> None:
    """It is a row of the partition that the source has it in, and of no other."""
    world.tables(
        COLUMNS,
        [(1, "a", None), (2, "a", None), (3, "a", 3), (4, "a", 4), (5, "a", 5), (6, "b", None), (7, "b", None)],
        [(1, "a", 1), (2, "b", 2), (3, "b", 3), (4, "b", None), (5, "b", 0), (6, "a", None), (7, "c", 7)],
    )
    whole = world.app(columns=columns, nulls={"v": "unknown"}).check("p", rows=0)
    app = world.app(columns=columns, nulls={"v": "unknown"}, partition=BY_TENANT)
    report = app.check("p", rows=0)
    assert found(report) == found(whole)
    assert report.not_compared == whole.not_compared == {"v": 4}
    assert [app.check("p", partitions=[part]).not_compared for part in "abc"] == [{"v": 3}, {"v": 1}, {}]


def test_partitions_by_a_boolean_can_be_asked_for(world: World) -> None:
    world.tables(
        "id {integer} PRIMARY KEY NOT NULL, tenant {boolean}, v {integer}",
        [(1, True, 1), (2, True, 2), (3, False, 3), (4, None, 4)],
        [(1, True, 0), (2, True, 2), (3, False, 0), (4, None, 0)],
    )
    app = world.app(columns=("v",), partition=BY_TENANT)
    for part, drift in ((True, {1}), (False, {3}), (None, {4}), ("1", {1}), ("0", {3})):
        report = app.check("p", partitions=[part])
        assert {row["key"]["id"] for row in report.drift} == drift
    shown = [row["partition"] for row in app.check("p").partitions]
    assert [app.check("p", partitions=[part]).drifted for part in shown] == [1, 1, 1]


# --- what was not looked at ------------------------------------------------------------------------------------------


def test_a_partition_is_repaired_and_the_others_are_left_alone(world: World) -> None:
    world.tables(COLUMNS, rows(), drifted())
    app = world.app(columns=("tenant", "v"), partition=BY_TENANT, on_extra="delete")
    before = app.check("p", rows=0)
    mine = {row["key"]["id"] for row in app.check("p", partitions=["a"], rows=0).drift}
    assert 0 < len(mine) < before.drifted
    done = app.run("p", partitions=["a"])
    assert (done.verdict, done.repaired) == (Verdict.REPAIRED, len(mine))
    known = {row.drift.key[0] for row in app.drift("p")}
    assert known == {row["key"]["id"] for row in before.drift} - mine, "what was not looked at is as wrong as before"
    after = app.check("p", rows=0)
    assert {row["key"]["id"] for row in after.drift} == known


def test_known_drift_is_cleared_where_it_was_looked_for(together: World) -> None:
    together.tables(COLUMNS, rows(), drifted())
    app = together.app(columns=("tenant", "v"), partition=BY_TENANT)
    app.check("p")
    known = {row.drift.key[0] for row in app.drift("p")}
    assert {3, 9, 24} <= known
    together.target.insert("dst", [row for row in rows() if row[0] == 3])  # tenant "b "
    together.target.sql("UPDATE dst SET v = 63 WHERE id = 9")  # tenant NULL
    app.check("p", partitions=["b "])
    assert {row.drift.key[0] for row in app.drift("p")} == known - {3}
    app.check("p", partitions=[None])
    assert {row.drift.key[0] for row in app.drift("p")} == known - {3, 9}


def test_a_row_that_went_elsewhere_is_not_taken_for_right(together: World) -> None:
    """It is in no partition that was looked at any more, and still wrong."""
    together.tables(COLUMNS, [(1, "a", 1), (2, "a", 2), (3, "b", 3)], [(1, "a", 0), (2, "a", 2), (3, "b", 3)])
    app = together.app(partition=BY_TENANT)
    app.check("p")
    together.source.sql("UPDATE src SET tenant = 'b' WHERE id = 1", "UPDATE dst SET tenant = 'b' WHERE id = 1")
    app.check("p", partitions=["a"])
    assert [row.drift.key for row in app.drift("p")] == [(1,)]


def test_some_partitions_are_judged_by_what_they_hold(together: World) -> None:
    """The source of one tenant is gone. In the whole table that is a few rows; of this tenant it is everything."""
    true = [(n, "big" if n < 900 else "small", n) for n in range(1000)]
    together.tables(COLUMNS, [row for row in true if row[1] == "big"], true)
    limits = Limits(rows=10**6, share="100%", deletes=10**6, collapse="50%")
    app = together.app(partition=BY_TENANT, on_extra="delete", limits=limits)
    assert app.run("p", partitions=["big"]).verdict is Verdict.IN_SYNC
    refused = app.run("p", partitions=["small"])
    assert refused.verdict is Verdict.REFUSED
    assert together.target.count("dst") == 1000
    share = together.app(partition=BY_TENANT, limits=Limits(share="10%"), on_different="update")
    together.target.sql("UPDATE dst SET v = -1 WHERE id < 50")
    assert share.check("p").different == 50
    together.target.sql("UPDATE dst SET tenant = 'few' WHERE id < 100")
    together.source.sql("UPDATE src SET tenant = 'few' WHERE id < 100")
    judged = share.run("p", partitions=["few"])
    assert judged.verdict is Verdict.REFUSED, "50 of 100 rows are beyond 10%, whatever the other 900 are"
    together.target.sql("UPDATE dst SET v = id WHERE id >= 5 AND id < 50")
    assert share.run("p", partitions=["few"]).repaired == 5


def test_some_partitions_say_nothing_of_the_whole(together: World) -> None:
    together.tables(COLUMNS, rows(), rows())
    app = together.app(partition=BY_TENANT)
    definition = app.definition("p")
    app.check("p", partitions=["a"])
    assert Coverage(app.ledger).last_source_rows("p", definition) is None
    app.check("p")
    assert Coverage(app.ledger).last_source_rows("p", definition) == 60
    app.check("p", partitions=["a"])
    assert Coverage(app.ledger).last_source_rows("p", definition) == 60


def test_a_run_that_was_cut_off_goes_on_with_its_partitions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tables(COLUMNS, rows(), drifted())
    whole = world.app(columns=("v",)).check("p", rows=0)
    app = world.app(columns=("v",), partition=BY_TENANT)
    kept = app.progress.narrowed
    monkeypatch.setattr(
        type(app.progress), "narrowed", lambda *_: setattr(app.stop_after_segment, "asked", True) or kept
    )
    with pytest.raises(Interrupted):
        app.check("p", rows=0)
    monkeypatch.undo()
    app.stop_after_segment.asked = False
    assert not app.check("p", partitions=["a"]).resumed, "another question is another run"
    open_ = [run for run in app.runs("p") if run.ended_at is None or run.state == "interrupted"]
    left = app.ledger.open_segments(open_[0].id, "narrow")  # type: ignore[arg-type]
    assert left
    assert all(partition_of(segment.span) is not None for segment in left)
    report = app.check("p", rows=0)
    assert report.resumed
    assert (found(report), figures(report)) == (found(whole), figures(whole))


# --- what is refused -------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_said_with_what_can(together: World) -> None:
    together.tables("id {integer} PRIMARY KEY NOT NULL, tenant {text}, v {float}", [(1, "a", 1.5)], [(1, "a", 1.5)])
    with pytest.raises(ConfigError, match=r"no column 'tenent'; did you mean 'tenant'"):
        together.app(partition={"by": "column", "column": "tenent"}).check("p")
    with pytest.raises(ConfigError, match="cannot tell partitions apart"):
        together.app(partition={"by": "column", "column": "v"}).check("p")
    with pytest.raises(ConfigError, match="cannot be cut by time"):
        together.app(partition={"by": "time", "column": "tenant", "bucket": "1d"}).check("p")
    with pytest.raises(ConfigError, match="names the partitions"):
        together.app(partition=BY_TENANT, sensitive=["tenant"]).check("p")
    app = together.app(partition=BY_TENANT)
    with pytest.raises(UsageError, match="keys or partitions, not both"):
        app.check("p", keys=[{"id": 1}], partitions=["a"])
    with pytest.raises(UsageError, match="declare one"):
        together.app().check("p", partitions=["a"])


def test_a_partition_that_nobody_has_is_no_answer(world: World) -> None:
    world.tables(COLUMNS, rows(), rows())
    app = world.app(partition=BY_TENANT)
    report = app.check("p", partitions=["a", "typing error"])
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "'typing error'" in report.reason
    assert app.check("p", partitions=["a"]).verdict is Verdict.IN_SYNC


def test_too_many_partitions(together: World, monkeypatch: pytest.MonkeyPatch) -> None:
    together.tables(COLUMNS, rows(), rows())
    monkeypatch.setattr(by_partition, "PARTITIONS_MAX", 5)
    assert together.app(partition=BY_TENANT).check("p").verdict is Verdict.IN_SYNC
    monkeypatch.setattr(by_partition, "PARTITIONS_MAX", 4)
    with pytest.raises(ConfigError, match="more than 4 values"):
        together.app(partition=BY_TENANT).check("p")


def test_a_column_has_its_name_on_each_side(world: World) -> None:
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL, customer {text}, v {integer}", rows())
    world.target.table("dst", COLUMNS, drifted())
    source = Side(database="a", table="src", columns={"tenant": "customer"})
    whole = world.app(source=source, columns=("tenant", "v")).check("p", rows=0)
    report = world.app(source=source, columns=("tenant", "v"), partition=BY_TENANT).check("p", rows=0)
    assert (found(report), figures(report)) == (found(whole), figures(whole))
    query = "SELECT id, customer AS tenant, v FROM src -- a comment"
    report = world.app(source=query, columns=("tenant", "v"), partition=BY_TENANT).check("p", rows=0)
    assert (found(report), figures(report)) == (found(whole), figures(whole))


def test_segments_are_partitions(world: World) -> None:
    world.tables(COLUMNS, rows(), rows())
    app = world.app(partition=BY_TENANT)
    chosen = app.explain("p").route
    assert [partition_of(s).label for s in chosen.segments] == ["A", "a", "b ", "Ä", "NULL"]  # type: ignore[union-attr]
    assert not any(isinstance(segment, Keys) for segment in chosen.segments)
    assert all(isinstance(s, Everything if world.together else Range) for s in chosen.segments)
    assert "5 partitions by tenant" in chosen.strategy


def test_the_command_line(together: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    together.tables(COLUMNS, rows(), drifted())
    config = tmp_path / "trueup.toml"
    config.write_text(
        f'[trueup]\nledger = "sqlite:///other.db"\n[databases.a]\nurl = "{together.source.url}"\n'
        "[projections.p]\nkey = 'id'\nsettle = 0\npartition = { by = 'column', column = 'tenant' }\n"
        "source = { database = 'a', table = 'src' }\ntarget = { database = 'a', table = 'dst' }\n"
    )
    ask = ["check", "p", "--partition", "a", "--partition", "NULL", "--config", str(config)]

    def told(*more: str) -> tuple[int, str]:
        code = command_line([*ask, *more], exit_on_error=False, result_action="return_value")
        return code, capsys.readouterr().out

    code, out = told("--json")
    (report,) = json.loads(out)["projections"]
    assert code == 1
    assert {row["partition"] for row in report["partitions"]} == {"a", None}
    assert report["source_rows"] == 24
    code, out = told()
    assert code == 1
    assert "NULL" in out


@pytest.mark.parametrize("columns", [("v",), ("tenant", "v"), ("day", "v")])
@pytest.mark.parametrize(
    "cut", [BY_TENANT, {"by": "time", "column": "day", "bucket": "1d"}], ids=["by tenant", "by day"]
)
def test_a_file_whose_columns_have_no_types(tmp_path: Path, columns: tuple[str, ...], cut: dict[str, Any]) -> None:
    """Text against SQLite's text: read as the times that it is cut by, and compared as such."""
    held = [(n, "ab"[n % 2], f"2013-11-0{1 + n % 3}", n) for n in range(10)]
    place = Sqlite(f"sqlite:///{tmp_path / 'target.db'}")
    place.table("dst", "id {integer} PRIMARY KEY, tenant {text}, day {date}, v {integer}", held)
    lines = [f"{n},{tenant},{day},{v + (n == 4)}\n" for n, tenant, day, v in held]
    (tmp_path / "src.csv").write_text("id,tenant,day,v\n" + "".join(lines))
    projection = Projection(
        name="p",
        source=Side(file=str(tmp_path / "src.csv")),
        target=Side(database="b", table="dst"),
        key=("id",),
        columns=columns,
        settle=0,
        partition=Partition(**cut),
    )
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Trueup(databases={"b": place.url}, projections=[projection], ledger=ledger) as app:
        report = app.check("p")
    assert (report.source_rows, report.target_rows) == (10, 10)
    assert [row["key"] for row in report.drift] == [{"id": 4}]
    assert sum(row["different"] for row in report.partitions) == 1


# --- values that a database does not tell apart ----------------------------------------------------------------------


def pair_of(pairing: Pairing, request: pytest.FixtureRequest, folder: Path) -> World:
    return World(pairing, *places(pairing, request), folder)


@pytest.mark.parametrize(
    "type_",
    [
        "varchar(20) CHARACTER SET latin1",
        "varchar(20) CHARACTER SET utf8mb3",
        "enum('Acme', 'ACME') COLLATE utf8mb4_nopad_bin",
        "set('Acme', 'ACME') COLLATE utf8mb4_bin",
    ],
)
def test_values_that_a_loose_collation_takes_for_one_are_partitions_each(
    request: pytest.FixtureRequest, tmp_path: Path, type_: str
) -> None:
    """MariaDB: DISTINCT by the column's own collation would leave all but one of them out, and their rows unread."""
    world = pair_of(Pairing(source="mysql", target="mysql", together=True), request, tmp_path)
    names = ["Acme", "ACME", "acme " if type_.startswith("varchar") else None]
    for place, table, off in ((world.source, "src", 0), (world.target, "dst", 1)):
        place.sql(f"CREATE TABLE {table} (id bigint PRIMARY KEY, tenant {type_}, v bigint)")
        place.insert(table, [(n, name, n + off) for n, name in enumerate(names)])
    app = world.app(columns=("v",), partition=BY_TENANT)
    report = app.check("p", rows=0)
    app.close()
    assert {row["partition"] for row in report.partitions} == set(names)
    assert report.different == len(names)


def test_a_misspelt_row_is_not_lost_where_one_partition_is_asked_for(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    world = pair_of(Pairing(source="sqlite", target="sqlite", together=True), request, tmp_path)
    columns = "id {integer} PRIMARY KEY NOT NULL, day {date}, v {integer}"
    world.tables(columns, [(1, "2024-01-05", 1)], [(1, "2024-01-05", 1)])
    app = world.app(columns=("v",), partition={"by": "time", "column": "day", "bucket": "1mo"})
    assert app.check("p", partitions=["2024-01"]).verdict is Verdict.IN_SYNC, "nothing is misspelt yet"
    world.source.insert("src", [(2, "2024-1-6", 1)])
    world.target.insert("dst", [(2, "2024-1-6", 2)])
    for asked in (None, ["2024-01"]):
        with pytest.raises(DesignProblem, match="'2024-1-6', which is not how it spells a date"):
            app.check("p", partitions=asked)
    app.close()


def test_digits_are_looked_for_as_they_are_typed_and_as_a_number(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """No column of a query says what its values are."""
    world = pair_of(Pairing(source="sqlite", target="sqlite", together=True), request, tmp_path)
    columns = "id {integer} PRIMARY KEY NOT NULL, zip, v {integer}"
    world.tables(
        columns, [(1, "01234", 1), (2, 99, 1), (3, b"\x01", 1)], [(1, "01234", 2), (2, 99, 2), (3, b"\x01", 2)]
    )
    cut = {"by": "column", "column": "zip"}
    app = world.app(source="SELECT id, zip, v FROM src", columns=("v",), partition=cut)
    assert app.check("p").different == 3, "an integer, a text and a blob are partitions of one column"
    for asked in ("01234", "99", 99):
        report = app.check("p", partitions=[asked])
        assert (report.different, report.source_rows) == (1, 1)
    world.target.sql("UPDATE dst SET v = 1")
    assert app.check("p", partitions=["01234"]).verdict is Verdict.IN_SYNC
    absent = app.check("p", partitions=["07"])
    assert absent.verdict is Verdict.INCONCLUSIVE
    assert "'07'" in absent.reason
    assert app.check("p", partitions=[1234]).verdict is Verdict.INCONCLUSIVE, "a number is no text"
    app.close()
