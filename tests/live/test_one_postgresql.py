"""Edges and their counter in one PostgreSQL database, the application committing both together, a repair in between.

Each interleaving is forced: a writer stands at a chosen step of the unit, or PostgreSQL says that somebody waits.
The naive repairs come first: if they were right here, the interleavings would prove nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.live.harness import Background, Counters, around, blocked
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Outcome, Verdict


@pytest.fixture
def declared() -> str:
    return "same_transaction"


@pytest.fixture
def app(postgres: str, declared: str) -> Counters:
    return Counters(postgres, declared)


#: The two ways to repair: onto the version that was judged, and by reading the source again under the lock.
both_ways = pytest.mark.parametrize("declared", ["same_transaction", "mutex"])


@pytest.fixture
def open_connection(app: Counters) -> Iterator[Callable[[], Any]]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(closing(app.db.connect()))


def outcomes(engine: Any, run: str) -> dict[int, str]:
    return {outcome.key[0]: str(outcome.outcome) for outcome in engine.outcomes(run)}


# --- the naive repairs are wrong -------------------------------------------------------------------------------------


def test_control_read_then_set_loses_the_writers_increment(app: Counters) -> None:
    app.fill({1: (5, 7)})
    edges = app.db.one("SELECT count(*) FROM edges WHERE post = 1")
    app.write(1)
    app.db.sql(f"UPDATE counter SET n = {edges} WHERE post = 1")
    assert app.wrong() == {1: -1}


@pytest.mark.parametrize(
    "repair",
    [
        "UPDATE counter c SET n = (SELECT count(*) FROM edges e WHERE e.post = c.post) WHERE c.post = 1",
        "WITH l AS MATERIALIZED (SELECT post FROM counter WHERE post = 1 FOR UPDATE) UPDATE counter c "
        "SET n = (SELECT count(*) FROM edges e WHERE e.post = c.post) FROM l WHERE c.post = l.post",
    ],
    ids=["one update with a sub-select", "lock and count in one statement"],
)
def test_control_one_statement_counts_in_the_snapshot_from_before_its_wait(
    app: Counters, repair: str, open_connection: Callable[[], Any]
) -> None:
    app.fill({1: (5, 7)})
    writer = open_connection()
    writer.execute("BEGIN")
    app.add_edge(writer, 1)
    app.increment(writer, 1)
    repairing = Background(lambda: app.db.sql(repair))
    blocked(app.db)
    writer.execute("COMMIT")
    repairing.join()
    assert app.wrong() == {1: -1}


def test_control_locking_a_missing_row_locks_nothing(app: Counters, open_connection: Callable[[], Any]) -> None:
    app.fill({1: (5, None)})
    repair = open_connection()
    repair.execute("BEGIN")
    repair.execute("SELECT 1 FROM counter WHERE post = 1 FOR UPDATE")
    edges = repair.execute("SELECT count(*) FROM edges WHERE post = 1").fetchone()[0]
    app.write(1)
    repair.execute(f"INSERT INTO counter VALUES (1, {edges}) ON CONFLICT (post) DO UPDATE SET n = excluded.n")
    repair.execute("COMMIT")
    assert app.wrong() == {1: -1}


def test_control_a_snapshot_older_than_the_lock_misses_what_a_mutex_writer_did(
    app: Counters, open_connection: Callable[[], Any]
) -> None:
    app.fill({1: (5, 7)})
    writer, repair = open_connection(), open_connection()
    writer.execute("BEGIN")
    writer.execute("SELECT 1 FROM counter WHERE post = 1 FOR UPDATE")
    app.add_edge(writer, 1)

    def old_snapshot() -> None:
        repair.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        repair.execute("SELECT n FROM counter WHERE post = 1 FOR UPDATE")
        edges = repair.execute("SELECT count(*) FROM edges WHERE post = 1").fetchone()[0]
        repair.execute(f"UPDATE counter SET n = {edges} WHERE post = 1")
        repair.execute("COMMIT")

    repairing = Background(old_snapshot)
    blocked(app.db)
    writer.execute("COMMIT")
    repairing.join()
    assert app.wrong() == {1: -1}


# --- ours is right ---------------------------------------------------------------------------------------------------


@both_ways
def test_a_writer_that_waits_on_our_lock_adds_to_what_we_wrote(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
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


def test_a_row_that_moved_since_it_was_judged_is_judged_again(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7)})
    with app.engine(tmp_path) as engine:
        with around(type(engine.ledger), "open_unit", after=lambda: app.write(1)):
            report = engine.run("counter")
        assert [o.outcome for o in engine.outcomes(report.run)] == [Outcome.CAS_LOST, Outcome.APPLIED]
    assert app.wrong() == {}


def test_a_commit_between_lock_and_count_is_counted(app: Counters, tmp_path: Path) -> None:
    """The count is a new statement with a new snapshot: one that was as old as the lock would miss this edge."""
    app.fill({1: (5, 7)})

    def bulk_load() -> None:  # edges without the counter: outside the declared writers, and still seen
        app.db.sql("INSERT INTO edges(post) VALUES (1)")

    step = around(UnitTransaction, "read_source_here", before=bulk_load)
    with app.engine(tmp_path, writers="mutex") as engine, step:
        engine.run("counter")
    assert app.db.sql("SELECT n FROM counter") == [(6,)]
    assert app.wrong() == {}


@both_ways
@pytest.mark.parametrize("mutex", [False, True], ids=["increments", "only locks"])
def test_a_busy_row_is_passed_over_and_then_waited_for_alone(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any], *, mutex: bool
) -> None:
    app.fill(dict.fromkeys(range(1, 6), (5, 7)))
    writer, other = open_connection(), open_connection()
    writer.execute("BEGIN")
    writer.execute("SELECT 1 FROM counter WHERE post = 3 FOR UPDATE")
    app.add_edge(writer, 3)
    if not mutex:
        app.increment(writer, 3)
    seen: list[dict[int, int]] = []

    def commit_when_waited_for() -> None:
        blocked(app.db, who="trueup")
        seen.append(app.wrong())
        # What the repair holds while it waits: nothing that the application could want.
        other.execute("SET lock_timeout = '1ms'")
        other.execute("UPDATE counter SET n = n WHERE post <> 3")
        other.execute("INSERT INTO counter VALUES (99, 0)")
        writer.execute("COMMIT")

    with app.engine(tmp_path, settings={"lock_timeout": "60s"}) as engine:
        committing = Background(commit_when_waited_for)
        report = engine.run("counter")
        committing.join()
        assert outcomes(engine, report.run) == dict.fromkeys(range(1, 6), "applied")
    # The judge sees the writer's transaction only after its commit: +2 of drift, all other rows right already.
    assert seen == [{3: 2}]
    assert app.wrong() == {}
    assert app.db.sql("SELECT n FROM counter WHERE post = 3") == [(6,)]


@both_ways
def test_a_row_that_stays_locked_is_left_and_said_so(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
) -> None:
    app.fill({1: (5, 7), 2: (5, 7)})
    writer = open_connection()
    writer.execute("BEGIN")
    writer.execute("SELECT 1 FROM counter WHERE post = 2 FOR UPDATE")
    with app.engine(tmp_path, settings={"lock_timeout": "5ms"}) as engine:
        report = engine.run("counter")
        assert report.verdict is Verdict.DRIFT
        assert (report.repaired, report.left) == (1, 1)
        assert [row.drift.key for row in engine.drift("counter")] == [(2,)]
        assert "lock timeout" in engine.drift("counter")[0].reason
        # The ledger has a word on every decision, this one too.
        assert outcomes(engine, report.run) == {1: "applied", 2: "not_applied"}
        writer.execute("ROLLBACK")
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}


# --- rows that are not there -----------------------------------------------------------------------------------------


@both_ways
def test_an_upsert_that_comes_after_the_placeholder_adds_to_it(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
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


@both_ways
def test_an_upsert_that_came_before_the_placeholder_is_waited_for_and_counted(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
) -> None:
    app.fill({1: (5, None)})
    writer = open_connection()

    def commit_when_waited_for() -> None:
        blocked(app.db, who="trueup")
        writer.execute("COMMIT")

    def write() -> None:
        writer.execute("BEGIN")
        app.add_edge(writer, 1)
        app.upsert(writer, 1)
        committing.append(Background(commit_when_waited_for))

    committing: list[Background] = []
    with app.engine(tmp_path, settings={"lock_timeout": "60s"}) as engine:
        with around(UnitTransaction, "insert_placeholders", before=write):
            report = engine.run("counter")
        committing[0].join()
        assert report.verdict is Verdict.REPAIRED
        *_, outcome = engine.outcomes(report.run)
    assert (outcome.outcome, outcome.before, outcome.after) == (Outcome.APPLIED, (1,), (6,))
    assert app.wrong() == {}


@both_ways
def test_a_row_that_appeared_and_is_locked_is_busy_not_missing(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
) -> None:
    """Inserted and committed by one writer, locked by the next: neither ours to insert nor ours to lock."""
    app.fill({1: (5, None), 2: (5, 7)})
    writer = open_connection()

    def write() -> None:
        app.write(1)
        writer.execute("BEGIN")
        writer.execute("SELECT 1 FROM counter WHERE post = 1 FOR UPDATE")  # an insert of ours does not wait for that
        app.add_edge(writer, 1)

    def commit_when_waited_for() -> None:
        blocked(app.db, who="trueup")
        app.increment(writer, 1)
        writer.execute("COMMIT")

    with app.engine(tmp_path, settings={"lock_timeout": "60s"}) as engine:
        committing = Background(commit_when_waited_for)
        with around(UnitTransaction, "insert_placeholders", before=write):
            report = engine.run("counter")
        committing.join()
    assert report.verdict is Verdict.REPAIRED
    assert app.wrong() == {}


def test_limit_a_bare_update_does_not_touch_a_row_that_is_being_inserted(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any]
) -> None:
    """Where rows can be missing, writers have to upsert: an UPDATE neither sees our insert nor waits for it.

    What it then does to the source without touching the row is drift of its own making; the next run finds it.
    """
    app.fill({1: (5, None)})
    writer = open_connection()

    def remove_an_edge() -> None:
        writer.execute("BEGIN")
        writer.execute("DELETE FROM edges WHERE id = (SELECT min(id) FROM edges)")
        assert writer.execute("UPDATE counter SET n = n - 1 WHERE post = 1").rowcount == 0

    with app.engine(tmp_path) as engine:
        with around(UnitTransaction, "insert_placeholders", after=remove_an_edge):
            engine.run("counter")
        writer.execute("COMMIT")
        assert app.wrong() == {1: 1}
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}


# --- rows that should not be there -----------------------------------------------------------------------------------


@both_ways
@pytest.mark.parametrize("policy", [{"absent": {"n": 0}}, {"on_extra": "delete"}], ids=["reset", "delete"])
def test_an_extra_row_whose_first_edge_waits_for_us(
    app: Counters, tmp_path: Path, open_connection: Callable[[], Any], policy: dict[str, Any]
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


@both_ways
@pytest.mark.parametrize("policy", [{"absent": {"n": 0}}, {"on_extra": "delete"}], ids=["reset", "delete"])
def test_an_extra_row_whose_first_edge_came_before_us(app: Counters, tmp_path: Path, policy: dict[str, Any]) -> None:
    app.fill({1: (0, 7)})
    with app.engine(tmp_path, **policy) as engine:
        with around(UnitTransaction, "lock", before=lambda: app.write(1)):
            report = engine.run("counter")
        outcome = engine.outcomes(report.run)[-1]
    # It is no longer extra: what is wrong with it now is decided under the lock, from what is there now.
    assert (outcome.action, outcome.before, outcome.after) == ("update", (8,), (1,))
    assert app.db.sql("SELECT post, n FROM counter") == [(1, 1)]


@both_ways
def test_a_row_that_the_application_deleted_meanwhile_is_not_brought_back(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7), 2: (5, 7)})

    def remove() -> None:
        app.db.together("DELETE FROM edges WHERE post = 1", "DELETE FROM counter WHERE post = 1")

    with app.engine(tmp_path) as engine, around(UnitTransaction, "lock", before=remove):
        report = engine.run("counter")
    assert report.verdict is Verdict.REPAIRED
    assert app.db.sql("SELECT post, n FROM counter") == [(2, 5)]


def test_our_lock_does_not_stop_writers_that_refer_to_the_row(app: Counters, tmp_path: Path) -> None:
    """A foreign key takes a key-share lock on the row: it must neither wait for us nor make us pass the row over."""
    app.fill({1: (5, 7)})
    app.db.sql("CREATE TABLE liked(post INT REFERENCES counter(post))")
    with closing(app.db.connect()) as child:
        child.execute("BEGIN")
        child.execute("INSERT INTO liked VALUES (1)")  # its key-share lock is held while the repair begins
        second = around(
            UnitTransaction,
            "lock",
            after=lambda: app.db.sql("SET lock_timeout = '1ms'; INSERT INTO liked VALUES (1)"),
        )
        with app.engine(tmp_path) as engine, second as tries:
            assert engine.run("counter").verdict is Verdict.REPAIRED
        assert len(tries) == 1
        child.execute("COMMIT")
    assert app.wrong() == {}


def test_control_the_lock_timeout_used_here_does_time_out(app: Counters, open_connection: Callable[[], Any]) -> None:
    app.fill({1: (5, 7)})
    holder = open_connection()
    holder.execute("BEGIN")
    holder.execute("SELECT 1 FROM counter WHERE post = 1 FOR UPDATE")
    with pytest.raises(psycopg.errors.LockNotAvailable):
        app.db.sql("SET lock_timeout = '1ms'; UPDATE counter SET n = n WHERE post = 1")
    holder.execute("ROLLBACK")
