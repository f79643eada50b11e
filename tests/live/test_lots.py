"""Many rows at once in one PostgreSQL database: what lots do is what rows by themselves would have had done to them, by
the target, the ledger and its log; and a row that somebody writes meanwhile is not overwritten.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.audit.shop import verified
from tests.live.harness import WIDE, Background, Db, QuickClock, around, blocked, instead, until
from trueup import Database, Limits, Projection, Side, Trueup, by_lot, undo
from trueup.adapters import _postgresql_survey
from trueup.adapters._postgresql_lots import PostgresqlPacker, _Statement
from trueup.core import lot
from trueup.core.audit_settings import AuditSettings
from trueup.core.states import Outcome, Verdict

#: Columns of every kind that lots take, with the SQL of a value that depends on `g` and a random number `r`.
COLUMNS = {
    "id": ("bigint NOT NULL", "g"),
    "part": ("text NOT NULL", "'k\"\\' || (g % 3)"),
    "n": ("integer", "CASE WHEN g % 7 > 0 THEN r END"),
    "amount": ("numeric(12,2)", "r / 7.0"),
    "note": ("text", "CASE WHEN g % 5 > 0 THEN 'x, \"é\" {} \\ ' || r END"),
    "ratio": ("double precision", "r / 3.0::float"),
    "active": ("boolean", "r % 2 = 0"),
    "token": ("uuid", "md5(r::text)::uuid"),
}


@contextmanager
def lots_of(rows: int, at_once: int = 1) -> Iterator[None]:
    """Lots of so many rows, however few there are, in several segments, so many at a time."""
    with ExitStack() as stack:
        for owner, name, value in (
            (lot, "LOT_ROWS", rows),
            (lot, "LOT_MIN", 2),
            (by_lot, "LOTS_AT_ONCE", at_once),
            (undo, "FIRST", 0),
            (_postgresql_survey, "COST_PER_SEGMENT", 60.0),
            (_postgresql_survey, "RANGES_PAY_BELOW", 1e6),
            (_postgresql_survey, "SERVED_BELOW", 1e6),
        ):
            stack.enter_context(instead(owner, name, value))
        yield


@pytest.fixture
def db(postgres: str) -> Db:
    return Db(postgres)


def engine_of(db: Db, ledger: Path, table: str = "copy", **declared: Any) -> Trueup:
    given = {"on_extra": "delete", "limits": WIDE, "writers": "same_transaction", "key": "id", **declared}
    projection = Projection(
        name="p", source=Side(database="here", table="truth"), target=Side(database="here", table=table), **given
    )
    return Trueup(
        databases={"here": Database.model_validate({"url": db.url})},
        projections=[projection],
        ledger=f"sqlite:///{ledger}",
        audit=AuditSettings.model_validate({"origin": "here", "heads": [f"file:{ledger.with_suffix('.heads')}"]}),
        clock=QuickClock(),
    )


def counters(db: Db, rows: int = 40, *, off: int = 1) -> None:
    """A number and its copy, which is off."""
    for table in ("truth", "copy"):
        db.sql(f"CREATE TABLE {table} (id bigint PRIMARY KEY, n bigint NOT NULL)")
    db.sql(f"INSERT INTO truth SELECT g, g * 10 FROM generate_series(1, {rows}) g")
    db.sql(f"INSERT INTO copy SELECT id, n + {off} FROM truth", "ANALYZE truth", "ANALYZE copy")


def wrong(db: Db) -> list[Any]:
    return db.sql(
        "SELECT id, t.n, c.n FROM truth t FULL JOIN copy c USING (id) WHERE t.n IS DISTINCT FROM c.n ORDER BY id"
    )


def write(db: Db, key: int) -> None:
    """What the application does: source and copy in one transaction."""
    db.together(f"UPDATE truth SET n = n + 100 WHERE id = {key}", f"UPDATE copy SET n = n + 100 WHERE id = {key}")


# --- the same as row by row ------------------------------------------------------------------------------------------


def told(engine: Trueup, run: str) -> dict[str, Any]:
    """What the ledger says of a run's rows, without what differs each time."""
    decided = {
        d.decision.drift.key: (d.decision.action, d.decision.drift.kind, d.decision.drift.pair)
        for d in engine.decisions(run)
    }
    happened = {o.key: (o.outcome, o.action, o.before, o.after, bool(o.token)) for o in engine.outcomes(run)}
    return {"decided": decided, "happened": happened}


@pytest.mark.parametrize("seed", [1])
def test_lots_do_what_rows_by_themselves_would_have_had_done(db: Db, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    shape = ", ".join(f"{name} {kind}" for name, (kind, _) in COLUMNS.items())
    values = ", ".join(value for _, value in COLUMNS.values())
    for table in ("truth", "copy", "other"):
        db.sql(f"CREATE TABLE {table} ({shape}, PRIMARY KEY (id, part))")
    rows = f"SELECT g, g * {chance.randint(2, 9)} % 101 AS r FROM generate_series(1, 90) g"
    db.sql(f"INSERT INTO truth SELECT {values} FROM ({rows}) s")
    db.sql("INSERT INTO copy SELECT * FROM truth")
    for name, to in (("n", "n + 1"), ("amount", "-amount"), ("note", "note || '!'"), ("active", "NOT active")):
        db.sql(f"UPDATE copy SET {name} = {to} WHERE id % {chance.randint(2, 5)} = 0")
    db.sql(f"UPDATE copy SET note = NULL, ratio = 'NaN', token = NULL WHERE id % {chance.randint(3, 6)} = 0")
    db.sql(f"DELETE FROM copy WHERE id % {chance.randint(4, 8)} = 1")
    db.sql(f"INSERT INTO copy SELECT id + 1000, part, n FROM truth WHERE id % {chance.randint(3, 6)} = 2")
    db.sql("INSERT INTO other SELECT * FROM copy", "ANALYZE truth", "ANALYZE copy", "ANALYZE other")
    before = db.sql("SELECT c::text FROM copy c ORDER BY id")
    reports, ledgers = [], []
    for table, takes in (("copy", None), ("other", lambda *_: False)):
        with ExitStack() as stack:
            stack.enter_context(lots_of(4))
            if takes:
                stack.enter_context(instead(PostgresqlPacker, "takes", takes))
            engine = stack.enter_context(engine_of(db, tmp_path / f"{table}.db", table, key=("id", "part")))
            report = engine.run("p")
            assert report.verdict is Verdict.REPAIRED
            assert bool(engine.ledger.lots.of(report.run)) == (takes is None)
            shown = report.to_dict()
            reports.append(
                {k: v for k, v in shown.items() if k not in ("run", "seconds", "drift", "causes", "strategy")}
            )
            ledgers.append(told(engine, report.run))
            assert engine.audit.verify().problems == []
            export = tmp_path / f"{table}.jsonl"
            engine.audit.export(export)
            assert verified(export, tmp_path / f"{table}.heads", "here")[0] == 0
            engine.rollback(report.run)
        assert db.sql(f"SELECT t::text FROM {table} t ORDER BY id") == before
    assert reports[0] == reports[1]
    assert ledgers[0] == ledgers[1]


# --- writers meanwhile -----------------------------------------------------------------------------------------------


def test_a_row_that_moved_since_it_was_seen_is_left_out_and_repaired_by_itself(db: Db, tmp_path: Path) -> None:
    counters(db)
    with (
        lots_of(8),
        engine_of(db, tmp_path / "l.db") as engine,
        around(PostgresqlPacker, "carry_out", before=lambda: write(db, 3), nth=1),
    ):
        report = engine.run("p")
        assert (report.verdict, report.repaired, report.left) == (Verdict.REPAIRED, 40, 0)
        last = {o.key: o for o in engine.outcomes(report.run)}
        assert last[3,].before == (131,)
        assert wrong(db) == []
        assert engine.audit.verify().problems == []


def test_control_without_the_version_it_is_overwritten(db: Db, tmp_path: Path) -> None:
    counters(db)
    with (
        lots_of(8),
        instead(_Statement, "_unmoved", lambda *_: sa.true()),
        engine_of(db, tmp_path / "l.db") as engine,
        around(PostgresqlPacker, "carry_out", before=lambda: write(db, 3), after=lambda: seen.extend(wrong(db)), nth=1),
    ):
        seen: list[Any] = []
        engine.run("p")
    assert (3, 130, 30) in seen


def _held_by_a_writer(db: Db, tmp_path: Path) -> list[Any]:
    """A run while a writer holds a row of the first lot, and commits when the engine waits for it, or has passed it."""
    counters(db)
    with closing(db.connect()) as writer, lots_of(8), engine_of(db, tmp_path / "l.db") as engine:
        passed = threading.Event()
        writer.execute("UPDATE truth SET n = n + 100 WHERE id = 3")
        writer.execute("UPDATE copy SET n = n + 100 WHERE id = 3")
        with around(PostgresqlPacker, "_write", after=passed.set, nth=1):
            run = Background(lambda: engine.run("p"))
            if not passed.wait(0.1):
                waits = Background(lambda: blocked(db))
                while not (passed.is_set() or waits.done):
                    passed.wait(0.01)
            writer.commit()
            run.join()
        return wrong(db)


def test_a_row_that_a_writer_holds_is_passed_over(db: Db, tmp_path: Path) -> None:
    assert _held_by_a_writer(db, tmp_path) == []


def test_writers_keep_their_rows_right_while_lots_are_repaired(db: Db, tmp_path: Path) -> None:
    counters(db, 120)
    stop, done = threading.Event(), []

    def application() -> None:
        chance = random.Random(7)
        with closing(db.connect()) as c:
            while not stop.is_set():
                key = chance.choice([chance.randint(1, 120), 5])
                c.execute(f"UPDATE truth SET n = n + 1 WHERE id = {key}")
                c.execute(f"UPDATE copy SET n = n + 1 WHERE id = {key}")
                c.commit()
                done.append(key)

    with lots_of(30, at_once=2), engine_of(db, tmp_path / "l.db", recurring={"times": 0}) as engine:
        writers = [Background(application) for _ in range(2)]
        try:
            reports = [engine.run("p")]
            for _ in range(2):
                db.sql("UPDATE copy SET n = n - 7 WHERE id % 2 = 0")
                reports.append(engine.run("p"))
            until(lambda: len(done) > 20, "the writers to have written something")
        finally:
            stop.set()
        for writer in writers:
            writer.join()
        assert engine.run("p").verdict in (Verdict.IN_SYNC, Verdict.REPAIRED)
        assert wrong(db) == []
        said = [o for report in reports for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED]
        assert all(o.before is not None and o.after is not None for o in said)
        assert engine.audit.verify().problems == []


# --- what a lot cannot do --------------------------------------------------------------------------------------------


def test_a_row_that_the_database_refuses_is_found_and_the_others_are_repaired(db: Db, tmp_path: Path) -> None:
    counters(db)
    db.sql("ALTER TABLE copy ADD CHECK (n <> 135)", "UPDATE truth SET n = 135 WHERE id = 3")
    with lots_of(8, at_once=2), engine_of(db, tmp_path / "l.db") as engine:
        report = engine.run("p")
        assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 39, 1)
        assert [row.key for row in engine.quarantine("p")] == [(3,)]
        assert engine.run("p").repaired == 0  # with a row in quarantine each is looked at by itself
        assert engine.audit.verify().problems == []


def test_a_column_too_narrow_for_its_source_fails_as_it_does_row_by_row(db: Db, tmp_path: Path) -> None:
    db.sql("CREATE TABLE truth (id bigint PRIMARY KEY, n numeric)", "CREATE TABLE copy (id bigint PRIMARY KEY, n int)")
    db.sql(
        "INSERT INTO truth SELECT g, g + 0.5 FROM generate_series(1, 9) g", "INSERT INTO copy SELECT id, 0 FROM truth"
    )
    with lots_of(4), engine_of(db, tmp_path / "l.db") as engine:
        report = engine.run("p")
    assert (report.verdict, report.repaired) == (Verdict.DRIFT, 0)
    assert db.one("SELECT count(*) FROM copy WHERE n = 0") == 9


def test_beyond_the_limits_lots_become_a_plan_that_can_be_applied(db: Db, tmp_path: Path) -> None:
    counters(db)
    with lots_of(8), engine_of(db, tmp_path / "l.db", limits=Limits(rows=39, share=1, collapse=0)) as engine:
        refused = engine.run("p")
        assert refused.verdict is Verdict.REFUSED
        plan = engine.find_plan(refused.plan)
        assert (plan.changes, plan.deletes) == (40, 0)
        assert len(engine.drift("p")) == 40
        assert engine.run("p").plan == plan.id  # the same rows are the same plan
        engine.approve(plan.id, reason="they are right", by=None)
        report = engine.apply(plan.id)
        assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 40)
        assert wrong(db) == []
        assert engine.drift("p") == []


def test_rows_that_recur_are_known_though_lots_repaired_them(db: Db, tmp_path: Path) -> None:
    counters(db)
    with lots_of(8), engine_of(db, tmp_path / "l.db", recurring={"times": 2, "within": "1h"}) as engine:
        for _ in range(2):
            assert engine.run("p").repaired > 0
            db.sql("UPDATE copy SET n = n + 1 WHERE id <= 3")
        db.sql("UPDATE copy SET n = n + 1 WHERE id = 40")
        report = engine.run("p")
        assert wrong(db) == [(1, 10, 11), (2, 20, 21), (3, 30, 31)]
        assert sorted(row.key for row in engine.quarantine("p")) == [(1,), (2,), (3,)]
        assert report.repaired == 1


def test_the_log_shows_what_was_changed_in_a_lot(db: Db, tmp_path: Path) -> None:
    counters(db)
    with lots_of(8), engine_of(db, tmp_path / "l.db") as engine:
        engine.run("p")
        for statement in (
            "UPDATE trueup_lots SET content = replace(content, '11', '12') WHERE id = 1",
            "UPDATE trueup_lot_outcomes SET token = '1' WHERE id = 2",
            "DELETE FROM trueup_lot_outcomes WHERE id = 3",
        ):
            with engine.ledger.begin() as c:
                c.execute(sa.text(statement))
        assert len(engine.audit.verify().problems) == 3
