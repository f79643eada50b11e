"""Bounded in time: statements that run too long, rows that somebody else holds locked."""

from __future__ import annotations

from contextlib import closing

import pytest

from tests.conformance.worlds import EngineClock, World
from trueup import Outcome, Verdict
from trueup.adapters import sqlite
from trueup.errors import Busy, StatementTimeout
from trueup.repair import BUSY_TRIES

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}"

#: Adapters of databases whose writers wait for a row, not for a file.
ROW_LOCKS = ("mysql", "postgresql")

#: Runs for minutes if it is let; returns the rows of `src` while the table `slow` is empty.
SLOW = {
    "postgresql": "SELECT id, v FROM src UNION ALL SELECT n, (SELECT 1 FROM pg_sleep(300)) FROM slow",
    "mysql": "SELECT id, v FROM src UNION ALL SELECT n, (SELECT sleep(300)) FROM slow",
    "duckdb": "SELECT id, v FROM src UNION ALL SELECT n, (SELECT count(*) FROM range(1000000000000) r(i) "
    "WHERE (i + n) % 7 = 3) FROM slow",
    "sqlite": "SELECT id, v FROM src UNION ALL SELECT n, (WITH RECURSIVE c(i) AS "
    "(SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < 1000000000) SELECT count(*) FROM c) FROM slow",
}


def no_row_locks(world: World) -> None:
    if world.target.engine not in ROW_LOCKS:
        pytest.skip("no row locks")
    if world.target.engine == "mysql" and not world.together:
        pytest.skip("each try waits a whole second there: once is enough")


def slow(world: World) -> str:
    world.tables(COLUMNS, [(n, n) for n in range(10)], [(n, n + (n == 3)) for n in range(10)])
    world.source.table("slow", "n {integer}", [(100,)])
    return SLOW[world.source.engine]


def test_a_statement_that_runs_too_long_is_no_answer(world: World) -> None:
    app = world.app(source=slow(world), source_database={"statement_timeout": "0.3s"}, on_extra="delete")
    with pytest.raises(StatementTimeout) as caught:
        app.run("p")
    assert caught.value.exit_code == 3
    last = app.status()[0].last
    assert last is not None
    assert (last.state, last.verdict) == ("failed", None)
    assert world.target.count("dst") == 10
    assert app.drift("p") == []
    # Nothing is wrong with the engine: once the source answers, the same run goes on.
    world.source.sql("DELETE FROM slow")
    app.resume("p")  # the engine paused it
    report = app.run("p")
    assert (report.verdict, report.repaired, report.resumed, report.run) == (Verdict.REPAIRED, 1, True, last.id)


def test_a_timeout_is_not_tried_again(world: World) -> None:
    """It would take as long again; only locks and lost connections are worth another try."""
    clock = EngineClock()
    app = world.app(source=slow(world), source_database={"statement_timeout": "0.3s"}, clock=clock)
    with pytest.raises(StatementTimeout):
        app.check("p")
    assert clock.fake.sleeps == []


@pytest.fixture
def wrong(world: World) -> World:
    world.tables(COLUMNS, [(n, n) for n in range(10)], [(n, n + 100 * (n in (2, 5, 7))) for n in range(10)])
    return world


def test_a_locked_row_is_left_and_the_others_are_repaired(wrong: World) -> None:
    no_row_locks(wrong)
    clock = EngineClock()
    app = wrong.app(clock=clock, target_database={"lock_timeout": "20ms"})
    with wrong.target.holding("UPDATE dst SET v = v + 1 WHERE id = 5"):
        report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 2, 1)
    assert wrong.target.rows("dst") == {(n, n + 100 * (n == 5)) for n in range(10)}
    (left,) = [o for o in app.outcomes(report.run) if o.key == (5,)]
    assert (left.outcome, "contended" in left.evidence) == (Outcome.NOT_APPLIED, True)
    assert [row.drift.key for row in app.drift("p")] == [(5,)]
    assert len(clock.fake.sleeps) <= BUSY_TRIES + 10
    assert sum(clock.fake.sleeps) < 10
    again = app.run("p")
    assert (again.verdict, again.repaired) == (Verdict.REPAIRED, 1)


def test_a_row_lock_of_a_foreign_key_does_not_stop_a_repair(wrong: World) -> None:
    """A child row being inserted holds a key-share lock on its parent: a counter on the parent is still repaired."""
    if wrong.target.engine != "postgresql":
        pytest.skip("no row locks, or none that a child's insert and a repair can hold together")
    wrong.target.sql("CREATE TABLE child (id bigint REFERENCES dst)")
    app = wrong.app()
    with wrong.target.holding("INSERT INTO child VALUES (5)"):
        report = app.run("p")
        assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 3)


def test_a_missing_row_that_somebody_is_inserting_is_left(world: World) -> None:
    no_row_locks(world)
    world.tables(COLUMNS, [(1, 1), (2, 2)], [])
    app = world.app(target_database={"lock_timeout": "20ms"})
    with world.target.holding("INSERT INTO dst VALUES (1, 77)", commit=True):
        report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    assert world.target.rows("dst") == {(1, 77), (2, 2)}


def test_a_write_lock_on_the_whole_file_is_waited_for_in_bounds(wrong: World, monkeypatch: pytest.MonkeyPatch) -> None:
    if wrong.target.engine != "sqlite":
        pytest.skip("no lock on a whole database")
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    app = wrong.app()
    wrong.target.sql("PRAGMA journal_mode=WAL")  # so that the holder does not keep readers out
    with closing(wrong.target.connect()) as holder:  # type: ignore[attr-defined]
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy):
            app.run("p")
        holder.execute("ROLLBACK")
    app.resume("p")  # the engine paused it
    report = app.run("p")
    assert (report.verdict, report.repaired, report.resumed) == (Verdict.REPAIRED, 3, True)


@pytest.mark.parametrize("many", [260, 900])
def test_a_row_of_several_hundred_columns(together: World, many: int) -> None:
    """One statement about all of them was too long or too deep for the database."""
    columns = "id {integer} PRIMARY KEY NOT NULL, " + ", ".join(f"c{n} {{small}}" for n in range(many))
    rows = [(id_, *range(many)) for id_ in range(1, 6)]
    together.tables(columns, rows, [rows[0], (*rows[1][:-1], -1), *rows[2:4], (6, *range(many))])
    report = together.app().run("p", rows=0)
    found = {(row["kind"], row["key"]["id"]) for row in report.drift}
    assert found == {("different", 2), ("missing", 5), ("extra", 6)}
    assert together.app().check("p").verdict is Verdict.DRIFT, "rows too many are left"
    assert together.target.sql(f"SELECT c{many - 1} FROM dst WHERE id IN (2, 5) ORDER BY id") == [(many - 1,)] * 2
