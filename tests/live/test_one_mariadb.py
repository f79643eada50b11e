"""Edges and their counter in one MariaDB database, the application committing both together, a repair in between.

Each interleaving is forced: a writer stands at a chosen step of the unit, or InnoDB says that somebody waits.
The naive repairs come first: if they were right here, the interleavings would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pymysql
import pytest

from tests.live import stress
from tests.live.harness import Background, around, instead
from tests.live.mariadb import MariaCounters, Session, blocked
from trueup import work
from trueup.adapters._steps import UnitTransaction
from trueup.adapters.mysql import MysqlAdapter
from trueup.core.states import Outcome, Verdict

#: Longer than any test: what waits, waits until it is let go on.
PATIENT = {"lock_timeout": "60s"}
#: Both kinds of writers are repaired the same way here, as no row has a version.
both = pytest.mark.parametrize("declared", ["same_transaction", "mutex"])


@pytest.fixture
def declared() -> str:
    return "same_transaction"


@pytest.fixture
def app(mariadb: str, declared: str) -> MariaCounters:
    return MariaCounters(mariadb, declared)


@pytest.fixture
def open_connection(app: MariaCounters) -> Iterator[Callable[[], Session]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(app.db.connect()))


def outcomes(engine: Any, run: str) -> dict[int, str]:
    return {outcome.key[0]: str(outcome.outcome) for outcome in engine.outcomes(run)}


# --- the naive repairs are wrong -------------------------------------------------------------------------------------


def test_control_read_then_set_loses_the_writers_increment(app: MariaCounters) -> None:
    app.fill({1: (5, 7)})
    edges = app.db.one("SELECT count(*) FROM edges WHERE post = 1")
    app.write(1)
    app.db.sql(f"UPDATE counter SET n = {edges} WHERE post = 1")
    assert app.wrong() == {1: -1}


@pytest.mark.parametrize("level", ["REPEATABLE READ", "READ COMMITTED"])
def test_control_a_snapshot_older_than_the_lock_misses_a_commit(
    app: MariaCounters, open_connection: Callable[[], Session], level: str
) -> None:
    """Lock first, but with a look at anything before it: InnoDB's usual isolation goes on with that old read view."""
    app.fill({1: (5, 7)})
    repair = open_connection()
    repair.execute(f"SET SESSION TRANSACTION ISOLATION LEVEL {level}")
    repair.execute("BEGIN")
    repair.execute("SELECT 1 FROM counter LIMIT 1").fetchall()
    app.write(1)
    repair.execute("SELECT n FROM counter WHERE post = 1 FOR UPDATE").fetchall()
    edges = repair.execute("SELECT count(*) FROM edges WHERE post = 1").fetchone()[0]
    repair.execute(f"UPDATE counter SET n = {edges} WHERE post = 1")
    repair.execute("COMMIT")
    assert app.wrong() == ({1: -1} if level == "REPEATABLE READ" else {})


def test_control_counting_under_locks_kills_the_application(
    app: MariaCounters, open_connection: Callable[[], Session]
) -> None:
    """One UPDATE with a sub-select is right here, and at the usual isolation it makes the application the victim."""
    app.fill({1: (200, 202)})
    writer, repair = open_connection(), open_connection()
    writer.execute("BEGIN")
    app.add_edge(writer, 1)
    repair.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    count = "(SELECT count(*) FROM edges e WHERE e.post = c.post)"
    repairing = Background(lambda: repair.execute(f"UPDATE counter c SET n = {count} WHERE c.post = 1"))
    blocked(app.db)  # the repair holds the counter and waits for the edge
    with pytest.raises(pymysql.err.OperationalError, match="Deadlock"):
        app.increment(writer, 1)
    repairing.join()


def test_control_an_unversioned_row_proves_nothing_by_being_unchanged(app: MariaCounters, tmp_path: Path) -> None:
    """Take the guard out that asks for a version, and the snapshot's value is written over the writer's."""
    app.fill({1: (5, 7)})
    vouched = instead(work.Work, "vouched", lambda work, suspect: work.fresh and work.proven(suspect))
    with app.engine(tmp_path) as engine, vouched, around(UnitTransaction, "lock", before=lambda: app.write(1)):
        engine.run("counter")
        assert app.db.one("SELECT n FROM counter") == 6, "verified, found wrong, and repaired under the lock after all"
        first = engine.outcomes(engine.runs("counter")[0].id)[0]
    assert (first.before, first.after) == ((8,), (5,))  # the lost increment


# --- ours is right ---------------------------------------------------------------------------------------------------


@both
def test_a_writer_that_waits_on_our_lock_adds_to_what_we_wrote(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session]
) -> None:
    app.fill({1: (5, 7)})
    writer = open_connection()
    waiting: list[Background] = []

    def write() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        waiting.append(Background(lambda: (app.increment(writer, 1), writer.execute("COMMIT"))))
        blocked(app.db)

    with app.engine(tmp_path) as engine, around(UnitTransaction, "lock", after=write):
        report = engine.run("counter")
    waiting[0].join()
    assert report.verdict is Verdict.REPAIRED
    assert app.db.sql("SELECT n FROM counter") == [(6,)]
    assert app.wrong() == {}


@both
def test_a_commit_before_our_lock_is_counted(app: MariaCounters, tmp_path: Path) -> None:
    """Judged at +2, and the application wrote since: what is written is f(source), not what was judged."""
    app.fill({1: (5, 7)})
    with app.engine(tmp_path) as engine:
        with around(UnitTransaction, "lock", before=lambda: app.write(1)):
            report = engine.run("counter")
        (outcome,) = engine.outcomes(report.run)
    assert (outcome.outcome, outcome.before, outcome.after) == (Outcome.APPLIED, (8,), (6,))
    assert app.wrong() == {}


def test_a_commit_between_lock_and_count_is_counted(app: MariaCounters, tmp_path: Path) -> None:
    """The count is a new statement with a new read view: one as old as the lock would miss this edge."""
    app.fill({1: (5, 7)})

    def bulk_load() -> None:  # edges without the counter: outside the declared writers, and still seen
        app.db.sql("INSERT INTO edges(post) VALUES (1)")

    step = around(UnitTransaction, "read_source_here", before=bulk_load)
    with app.engine(tmp_path) as engine, step:
        engine.run("counter")
    assert app.db.sql("SELECT n FROM counter") == [(6,)]


def test_control_in_an_older_read_view_it_would_be_missed(
    app: MariaCounters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MysqlAdapter, "writing_options", MysqlAdapter.reading_options | {"trueup_begin": SNAPSHOT})
    app.fill({1: (5, 7)})
    step = around(UnitTransaction, "read_source_here", before=lambda: app.db.sql("INSERT INTO edges(post) VALUES (1)"))
    with app.engine(tmp_path) as engine, step:
        engine.run("counter")
        first = engine.outcomes(engine.runs("counter")[0].id)[0]
    assert first.after == (5,)


SNAPSHOT = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE"


@both
def test_a_busy_row_is_passed_over_and_then_waited_for_alone(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session]
) -> None:
    app.fill(dict.fromkeys(range(1, 6), (5, 7)))
    writer, other = open_connection(), open_connection()
    writer.execute("BEGIN")
    writer.execute("SELECT 1 FROM counter WHERE post = 3 FOR UPDATE")
    app.add_edge(writer, 3)
    app.increment(writer, 3)
    seen: list[dict[int, int]] = []

    def commit_when_waited_for() -> None:
        blocked(app.db, who="trueup")
        seen.append(app.wrong())
        # What the repair holds while it waits: nothing that the application could want.
        other.execute("SET innodb_lock_wait_timeout = 1")
        other.execute("UPDATE counter SET n = n WHERE post <> 3")
        other.execute("INSERT INTO counter VALUES (99, 0)")
        writer.execute("COMMIT")

    with app.engine(tmp_path, settings=PATIENT) as engine:
        committing = Background(commit_when_waited_for)
        report = engine.run("counter")
        committing.join()
        assert outcomes(engine, report.run) == dict.fromkeys(range(1, 6), "applied")
    # The judge sees the writer's transaction only after its commit: +2 of drift, all other rows right already.
    assert seen == [{3: 2}]
    assert app.wrong() == {}
    assert app.db.sql("SELECT n FROM counter WHERE post = 3") == [(6,)]


# --- rows that are not there -----------------------------------------------------------------------------------------


@both
def test_an_upsert_that_comes_after_the_placeholder_adds_to_it(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session]
) -> None:
    app.fill({1: (5, None)})
    writer = open_connection()
    waiting: list[Background] = []

    def write() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        waiting.append(Background(lambda: (app.upsert(writer, 1), writer.execute("COMMIT"))))
        blocked(app.db)

    with app.engine(tmp_path) as engine, around(UnitTransaction, "insert_placeholders", after=write):
        report = engine.run("counter")
        assert outcomes(engine, report.run) == {1: "applied"}
    waiting[0].join()
    assert app.db.sql("SELECT n FROM counter") == [(6,)]


@both
def test_an_upsert_that_came_before_the_placeholder_is_waited_for_and_counted(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session]
) -> None:
    app.fill({1: (5, None)})
    writer = open_connection()
    committing: list[Background] = []

    def commit_when_waited_for() -> None:
        blocked(app.db, who="trueup")
        writer.execute("COMMIT")

    def write() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        app.upsert(writer, 1)
        committing.append(Background(commit_when_waited_for))

    with app.engine(tmp_path, settings=PATIENT) as engine:
        with around(UnitTransaction, "insert_placeholders", before=write):
            report = engine.run("counter")
        committing[0].join()
        assert report.verdict is Verdict.REPAIRED
        *_, outcome = engine.outcomes(report.run)
    assert (outcome.outcome, outcome.before, outcome.after) == (Outcome.APPLIED, (1,), (6,))
    assert app.wrong() == {}


def test_a_missing_row_does_not_keep_the_application_from_inserting_others(app: MariaCounters, tmp_path: Path) -> None:
    """At the usual isolation the gap around a missing key would be locked, and every insert into it would wait."""
    app.fill({1: (5, 5), 500: (5, None), 900: (5, 5)})

    def write() -> None:
        with closing(app.db.connect(timeout_s=1)) as c:
            c.execute("BEGIN")
            app.add_edge(c, 777)
            app.upsert(c, 777)
            c.execute("COMMIT")

    with app.engine(tmp_path) as engine, around(UnitTransaction, "lock", after=write):
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}


def test_who_finds_the_row_there_already_holds_it_and_meets_nobody_in_a_deadlock(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session]
) -> None:
    """INSERT IGNORE would share the row's lock with others, and each of them would then want it for itself."""
    app.fill({1: (5, None)})
    writer = open_connection()
    waiting: list[Background] = []

    def queue() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        waiting.append(Background(lambda: (app.upsert(writer, 1), writer.execute("COMMIT"))))
        blocked(app.db)

    inserting = around(UnitTransaction, "insert_placeholders", before=lambda: app.write(1), after=queue)
    with app.engine(tmp_path, settings=PATIENT) as engine, inserting:
        report = engine.run("counter")
        assert report.verdict is Verdict.REPAIRED
    waiting[0].join()  # a victim of a deadlock would raise here
    assert app.wrong() == {}
    assert app.db.sql("SELECT n FROM counter") == [(7,)]


# --- rows that should not be there -----------------------------------------------------------------------------------


@pytest.mark.parametrize("policy", [{"absent": {"n": 0}}, {"on_extra": "delete"}], ids=["reset", "delete"])
def test_an_extra_row_whose_first_edge_waits_for_us(
    app: MariaCounters, tmp_path: Path, open_connection: Callable[[], Session], policy: dict[str, Any]
) -> None:
    app.fill({1: (0, 7)})
    writer = open_connection()
    waiting: list[Background] = []

    def write() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        waiting.append(Background(lambda: (app.upsert(writer, 1), writer.execute("COMMIT"))))
        blocked(app.db)

    with app.engine(tmp_path, **policy) as engine, around(UnitTransaction, "lock", after=write):
        assert engine.run("counter").verdict is Verdict.REPAIRED
    waiting[0].join()
    assert app.db.sql("SELECT post, n FROM counter") == [(1, 1)]


def test_a_row_that_the_application_deleted_meanwhile_is_not_brought_back(app: MariaCounters, tmp_path: Path) -> None:
    app.fill({1: (5, 7), 2: (5, 7)})

    def remove() -> None:
        app.db.together("DELETE FROM edges WHERE post = 1", "DELETE FROM counter WHERE post = 1")

    with app.engine(tmp_path) as engine, around(UnitTransaction, "lock", before=remove):
        report = engine.run("counter")
    assert report.verdict is Verdict.REPAIRED
    assert app.db.sql("SELECT post, n FROM counter") == [(2, 5)]


# --- under load ------------------------------------------------------------------------------------------------------


def test_hot_rows(app: MariaCounters, tmp_path: Path) -> None:
    def repaired() -> set[int]:
        report = engine.run("counter")
        return {o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED}

    with app.engine(tmp_path, on_extra="delete") as engine:
        figures = stress.one_database(
            app, repaired, name="mariadb", writers=4, rounds=8, enough=lambda so_far: so_far.repairs >= 8
        )
        assert figures.wrong == 0, figures
        assert figures.repairs >= 8, figures
        assert engine.run("counter").verdict in (Verdict.REPAIRED, Verdict.IN_SYNC)
    assert app.wrong() == {}


def test_control_hot_rows(app: MariaCounters) -> None:
    figures = stress.one_database(
        app,
        lambda: stress.read_then_set(app),
        name="mariadb",
        writers=4,
        rounds=1,
        enough=lambda so_far: so_far.wrong > 0,
    )
    assert figures.wrong > 0, figures
