"""A value that cannot be read is the trouble of one row: it is found by halving, and the rest is compared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.worlds import EngineClock, Mysql, Place, Postgresql, Sqlite
from tests.live.harness import instead
from tests.servers import Pair
from trueup import Limits, Projection, Report, Side, Trueup, Verdict
from trueup import sweep as sweeping
from trueup.errors import DesignProblem

ROWS = 200
BAD = 77


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """A source and its copy; one row of the source holds what cannot be read."""

    source: Place
    target: Place
    #: The source as a query or a table.
    side: Side
    #: Makes the bad row good.
    mend: str

    def app(self, folder: Path, **declared: Any) -> Trueup:
        projection = Projection(
            **{
                "name": "p",
                "source": self.side,
                "target": Side(database="there", table="dst"),
                "key": "id",
                "columns": "v",
                "writers": "absolute",
                "settle": "0s",
                "limits": Limits(rows=1000, share=1, deletes=1000, collapse=0),
                **declared,
            }
        )
        return Trueup(
            databases={"here": self.source.url, "there": self.target.url},
            projections=[projection],
            ledger=f"sqlite:///{folder / 'ledger.db'}",
            clock=EngineClock(),
        )


def text_that_is_none(source: Place, target: Place) -> Trouble:
    """SQLite keeps bytes in a text column that are no UTF-8."""
    source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {text}", [(n, str(n)) for n in range(ROWS)])
    target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {text}", [(n, str(n)) for n in range(ROWS)])
    source.sql(f"UPDATE src SET v = CAST(x'ff' AS TEXT) WHERE id = {BAD}")
    mend = f"UPDATE src SET v = '{BAD}' WHERE id = {BAD}"
    return Trouble(source=source, target=target, side=Side(database="here", table="src"), mend=mend)


def date_before_christ(source: Place, target: Place) -> Trouble:
    """PostgreSQL holds years that Python's dates have not."""
    source.sql(
        "CREATE TABLE src(id bigint PRIMARY KEY, v date)",
        f"INSERT INTO src SELECT n, date '2020-01-01' + n::int FROM generate_series(0, {ROWS - 1}) n",
    )
    target.sql(
        "CREATE TABLE dst(id bigint PRIMARY KEY, v date)",
        f"INSERT INTO dst SELECT n, date '2020-01-01' + n::int FROM generate_series(0, {ROWS - 1}) n",
        f"UPDATE dst SET v = '2001-01-01' WHERE id = {BAD}",
    )
    source.sql(f"UPDATE src SET v = '0044-03-15 BC' WHERE id = {BAD}")
    mend = f"UPDATE src SET v = date '2020-01-01' + {BAD} WHERE id = {BAD}"
    return Trouble(source=source, target=target, side=Side(database="here", table="src"), mend=mend)


def number_that_is_none(source: Place, target: Place) -> Trouble:
    """The query casts text to a number, and one text is none."""
    source.table("raw", "id {integer} PRIMARY KEY NOT NULL, t {text}", [(n, str(n)) for n in range(ROWS)])
    target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(n, n) for n in range(ROWS)])
    source.sql(f"UPDATE raw SET t = 'n/a' WHERE id = {BAD}")
    query = "SELECT id, t::bigint AS v FROM raw"
    mend = f"UPDATE raw SET t = '{BAD}' WHERE id = {BAD}"
    return Trouble(source=source, target=target, side=Side(database="here", query=query), mend=mend)


def two_answers(source: Place, target: Place) -> Trouble:
    """A sub-select that gives two rows for one key."""
    source.table("raw", "id {integer} PRIMARY KEY NOT NULL", [(n,) for n in range(ROWS)])
    source.table("detail", "of {integer}, v {integer}", [(n, n) for n in range(ROWS)] + [(BAD, 5)])
    target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(n, n) for n in range(ROWS)])
    query = "SELECT id, (SELECT v FROM detail WHERE detail.of = raw.id) AS v FROM raw"
    mend = f"DELETE FROM detail WHERE of = {BAD} AND v = 5"
    return Trouble(source=source, target=target, side=Side(database="here", query=query), mend=mend)


CASES = {
    "sqlite, text that is none": ("sqlite_pair", Sqlite, text_that_is_none),
    "postgres, a date before Christ": ("postgres_pair", Postgresql, date_before_christ),
    "postgres, a number that is none": ("postgres_pair", Postgresql, number_that_is_none),
    "postgres, two answers": ("postgres_pair", Postgresql, two_answers),
    "mariadb, two answers": ("mariadb_pair", Mysql, two_answers),
}


@pytest.fixture(params=CASES)
def trouble(request: pytest.FixtureRequest) -> Trouble:
    fixture, place, made = CASES[request.param]
    pair: Pair = request.getfixturevalue(fixture)
    return made(place(pair.source), place(pair.target))


def spoil(trouble: Trouble, *keys: int) -> None:
    for key in keys:
        trouble.target.sql(f"DELETE FROM dst WHERE id = {key}")


def test_the_culprit_is_alone_and_the_rest_is_repaired(trouble: Trouble, tmp_path: Path) -> None:
    spoil(trouble, 3, 150)
    held = [row for row in trouble.target.rows("dst") if row[0] == BAD]
    with trouble.app(tmp_path, on_extra="delete", exact=True) as app:
        report = app.run("p")
        assert (report.verdict, report.exit_code) == (Verdict.INCONCLUSIVE, 3)
        assert (report.missing, report.repaired, report.left, report.quarantined) == (2, 2, 0, 1)
        (row,) = app.quarantine("p")
        assert (row.key, str(row.trouble)) == ((BAD,), "unreadable")
        assert f"'id': {BAD}" in report.reason
        assert report.segments["done"] > 1
        assert [row for row in trouble.target.rows("dst") if row[0] == BAD] == held  # untouched
        again = app.check("p")
        assert again.verdict is Verdict.INCONCLUSIVE
        assert app.quarantine("p")[0].attempts == 2
        trouble.source.sql(trouble.mend)
        mended = app.run("p")
        assert mended.verdict in (Verdict.REPAIRED, Verdict.IN_SYNC)
        assert app.quarantine("p") == []


def test_the_first_row_of_a_table_is_a_row_like_others(sqlite_pair: Pair, tmp_path: Path) -> None:
    """By its values SQLite's columns are told how dates are spelt in them."""
    trouble = text_that_is_none(Sqlite(sqlite_pair.source), Sqlite(sqlite_pair.target))
    trouble.source.sql("UPDATE src SET v = CAST(x'ff' AS TEXT) WHERE id = 0", trouble.mend)
    with trouble.app(tmp_path) as app:
        report = app.check("p")
        assert (report.verdict, report.quarantined) == (Verdict.INCONCLUSIVE, 1)
        assert "'id': 0" in report.reason


def test_where_a_row_is_known_it_is_cut_out_at_once(trouble: Trouble, tmp_path: Path) -> None:
    with trouble.app(tmp_path, exact=True) as app, counted() as cuts:
        app.check("p")
        first, cuts[:] = len(cuts), []
        app.check("p")
        assert first >= 6  # 200 rows, halved
        assert len(cuts) <= 3


def test_other_drift_makes_it_drift_and_names_the_row_too(trouble: Trouble, tmp_path: Path) -> None:
    spoil(trouble, 150)
    with trouble.app(tmp_path, exact=True) as app:
        report = app.check("p")
        assert (report.verdict, report.missing) == (Verdict.DRIFT, 1)
        assert f"'id': {BAD}" in report.reason


def test_in_one_database_and_for_explicit_keys(postgres: str, tmp_path: Path) -> None:
    place = Postgresql(postgres)
    trouble = number_that_is_none(place, place)
    spoil(trouble, 3)
    with trouble.app(tmp_path, source=trouble.side.model_copy(update={"database": "there"})) as app:
        assert (app.check("p").missing, len(app.quarantine("p"))) == (1, 1)
        report: Report = app.run("p", keys=[{"id": 3}, {"id": BAD}, {"id": 4}])
        assert (report.verdict, report.repaired, report.quarantined) == (Verdict.INCONCLUSIVE, 1, 1)
        assert app.run("p", keys=[{"id": 4}]).verdict is Verdict.IN_SYNC


def test_a_row_that_becomes_unreadable_between_two_looks(postgres_pair: Pair, tmp_path: Path) -> None:
    trouble = number_that_is_none(Postgresql(postgres_pair.source), Postgresql(postgres_pair.target))
    trouble.source.sql(trouble.mend)
    spoil(trouble, BAD, 80)
    with trouble.app(tmp_path, settle="10s", exact=True) as app:
        app.clock.fake.after(5, lambda: trouble.source.sql(f"UPDATE raw SET t = 'n/a' WHERE id = {BAD}"))  # type: ignore[attr-defined]
        report = app.run("p")
        assert (report.verdict, report.repaired, report.resolved) == (Verdict.INCONCLUSIVE, 1, 0)
        assert [row.key for row in app.quarantine("p")] == [(BAD,)]


@pytest.mark.parametrize("look", ["first", "second"])
def test_a_check_of_what_changed_does_not_take_it_for_unchanged(look: str, sqlite_pair: Pair, tmp_path: Path) -> None:
    """Nothing announces the row, and a run that read everything could not compare it."""
    source, target = Sqlite(sqlite_pair.source), Sqlite(sqlite_pair.target)
    for place, table in ((source, "src"), (target, "dst")):
        columns = "id {integer} PRIMARY KEY NOT NULL, v {text}, seen {integer} NOT NULL DEFAULT 0"
        place.table(table, columns, [(n, str(n), n) for n in range(ROWS)])
    trouble = Trouble(source=source, target=target, side=Side(database="here", table="src"), mend="")
    bad = f"UPDATE src SET v = CAST(x'ff' AS TEXT) WHERE id = {BAD}"
    changes = {"source": {"column": "seen"}, "overlap": 0}
    with trouble.app(tmp_path, settle="10s", changes=changes) as app:
        clock: Any = app.clock

        def check(**asked: Any) -> Report:
            clock.fake.sleep(60)
            return app.check("p", **asked)

        assert check().verdict is Verdict.IN_SYNC
        source.sql(f"UPDATE src SET v = '' WHERE id = {BAD}" if look == "second" else bad)
        clock.fake.after(65, lambda: source.sql(bad))
        assert check(full=True).verdict is Verdict.INCONCLUSIVE
        assert check().verdict is Verdict.INCONCLUSIVE
        source.sql(f"UPDATE src SET v = '{BAD}' WHERE id = {BAD}")
        assert check().verdict is Verdict.IN_SYNC
        assert app.quarantine("p") == []
        assert "taken as unchanged" in check().strategy


def test_where_no_key_can_be_told_a_range_is_what_was_not_compared(sqlite_pair: Pair, tmp_path: Path) -> None:
    """The bad value is in the key itself, so that keys cannot be read either."""
    source, target = Sqlite(sqlite_pair.source), Sqlite(sqlite_pair.target)
    for place in (source, target):
        place.table("t", "id {text} PRIMARY KEY NOT NULL, v {integer}", [(f"k{n}", n) for n in range(20)])
    source.sql("UPDATE t SET id = CAST(x'ff' AS TEXT) WHERE id = 'k7'")
    trouble = Trouble(source=source, target=target, side=Side(database="here", table="t"), mend="")
    with trouble.app(tmp_path, target=Side(database="there", table="t"), on_extra="delete") as app:
        report = app.run("p")
        assert (report.verdict, report.quarantined) == (Verdict.INCONCLUSIVE, 0)
        assert "could not be compared: all keys" in report.reason
    assert target.count("t") == 20


def test_so_many_unreadable_rows_are_no_single_rows(postgres_pair: Pair, tmp_path: Path) -> None:
    trouble = number_that_is_none(Postgresql(postgres_pair.source), Postgresql(postgres_pair.target))
    trouble.source.sql("UPDATE raw SET t = 'n/a' WHERE id % 7 = 0")
    with (
        trouble.app(tmp_path, on_extra="delete", exact=True) as app,
        instead(sweeping, "UNREADABLE_MAX", 5),
        pytest.raises(DesignProblem, match="more than 5 rows"),
    ):
        app.run("p")
    assert trouble.target.count("dst") == ROWS


@contextmanager
def counted() -> Iterator[list[int]]:
    """Each cut of a segment that could not be read."""
    cuts: list[int] = []
    isolate = sweeping.isolate

    def counting(*args: Any) -> Any:
        cuts.append(1)
        return isolate(*args)

    with instead(sweeping, "isolate", counting):
        yield cuts
