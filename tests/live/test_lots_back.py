"""A rollback of what was written in lots goes in lots, and ends as one row by row does: rows that were made, changed
or taken away come back; one that somebody wrote since is left, and listed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.live.harness import Db, around, instead
from tests.live.test_lots import counters, engine_of, lots_of
from trueup import Limits, Report, Trueup, undo
from trueup.adapters._postgresql_lots import PostgresqlPacker, _Statement
from trueup.core.states import Outcome, Verdict
from trueup.store.lots import Lots

OLD = "SELECT id, n FROM copy ORDER BY id"


@pytest.fixture
def db(postgres: str) -> Db:
    return Db(postgres)


def shape_of(engine: Trueup, report: Report) -> tuple[int, list[tuple[str, int]]]:
    """Decisions about single rows, and lots: what is done, to how many rows."""
    kept = engine.ledger
    return len(kept.decision_rows(report.run)), [(str(lot.action), lot.count) for lot in kept.lots.of(report.run)]


def all_kinds(db: Db) -> None:
    """Rows to make, to change and to take away, with values that need quoting."""
    for table in ("truth", "copy"):
        db.sql(f"CREATE TABLE {table} (id bigint PRIMARY KEY, n numeric(9,2), note text)")
    db.sql(r"INSERT INTO truth SELECT g, g / 3.0, E'a\\b\n\"' || g FROM generate_series(1, 40) g")
    db.sql("INSERT INTO copy SELECT id, n + 1, note || '!' FROM truth WHERE id > 12")
    db.sql("INSERT INTO copy SELECT g, NULL, NULL FROM generate_series(101, 110) g", "ANALYZE truth", "ANALYZE copy")


@pytest.mark.parametrize("in_lots", [True, False])
def test_rows_of_all_kinds_come_back(db: Db, tmp_path: Path, in_lots: bool) -> None:
    all_kinds(db)
    before = db.sql("SELECT * FROM copy ORDER BY id")
    with lots_of(8), engine_of(db, tmp_path / "l.db") as engine, instead(undo, "_in_lots", lambda *_: in_lots):
        run = engine.run("p").run
        after = db.sql("SELECT * FROM copy ORDER BY id")
        back = engine.rollback(run)
        assert (back.verdict, back.repaired, back.left) == (Verdict.REPAIRED, 50, 0)
        assert (back.missing, back.different, back.extra) == (10, 28, 12)
        assert back.different_by_column == {"n": 28, "note": 28}
        assert db.sql("SELECT * FROM copy ORDER BY id") == before
        alone, lots = shape_of(engine, back)
        assert (alone, sum(count for _, count in lots)) == ((0, 50) if in_lots else (50, 0))
        assert len(engine.drift("p")) == 50
        again = engine.rollback(back.run)  # a rollback is a run like any
        assert (again.verdict, again.repaired) == (Verdict.REPAIRED, 50)
        assert db.sql("SELECT * FROM copy ORDER BY id") == after
        assert engine.audit.verify().problems == []


def test_no_more_than_a_lot_is_in_memory(db: Db, tmp_path: Path) -> None:
    """However many there are, each is read, put back and let go before the next."""
    counters(db, 80)
    with lots_of(8), engine_of(db, tmp_path / "l.db") as engine:
        run = engine.run("p").run
        sizes: list[int] = []
        changes = undo.changes

        def watched(outcomes: Any) -> Any:
            found = changes(outcomes)
            sizes.append(len(found))
            return found

        with instead(undo, "changes", watched):
            assert engine.rollback(run).repaired == 80
        assert max(sizes) == 8


def test_rows_that_moved_since_are_left_and_listed(db: Db, tmp_path: Path) -> None:
    """Before the rollback looks, and between its look and its write; one that is as it was needs nothing."""
    counters(db)
    with (
        lots_of(8),
        engine_of(db, tmp_path / "l.db") as engine,
    ):
        run = engine.run("p").run
        db.sql(
            "UPDATE copy SET n = 7 WHERE id = 3", "UPDATE copy SET n = 41 WHERE id = 4", "DELETE FROM copy WHERE id = 5"
        )
        moves = around(PostgresqlPacker, "carry_out", before=lambda: db.sql("UPDATE copy SET n = 9 WHERE id = 12"))
        with moves:
            back = engine.rollback(run)
        assert (back.verdict, back.repaired, back.left) == (Verdict.DRIFT, 36, 3)
        rows = dict(db.sql(OLD))
        assert {key: rows.pop(key, None) for key in (3, 4, 5, 12)} == {3: 7, 4: 41, 5: None, 12: 9}
        assert rows == {key: key * 10 + 1 for key in rows}
        listed = {row["key"]["id"]: row.get("outcome", row.get("reason", "")) for row in back.drift}
        assert listed[12] == "cas_lost"
        assert listed[3] == listed[5] == f"changed since {run} wrote it"
        last = {o.key: o for o in engine.outcomes(back.run)}
        assert (last[12,].outcome, last[13,].outcome) == (Outcome.CAS_LOST, Outcome.APPLIED)


def test_control_without_the_version_it_is_overwritten(db: Db, tmp_path: Path) -> None:
    counters(db)
    with lots_of(8), engine_of(db, tmp_path / "l.db") as engine, instead(_Statement, "_unmoved", lambda *_: sa.true()):
        run = engine.run("p").run
        with around(PostgresqlPacker, "carry_out", before=lambda: db.sql("UPDATE copy SET n = 9 WHERE id = 3")):
            engine.rollback(run)
    assert dict(db.sql(OLD))[3] == 31


def test_a_row_of_a_lot_that_was_written_once_more_goes_back_all_the_way(db: Db, tmp_path: Path) -> None:
    """What the lot did to it and what came after are one change."""
    counters(db)
    db.sql("ALTER TABLE copy ADD CHECK (n <> 30)")
    with lots_of(8), engine_of(db, tmp_path / "l.db") as engine:
        dropped = around(Lots, "close_unit", before=lambda: db.sql("ALTER TABLE copy DROP CONSTRAINT copy_n_check"))
        with dropped:  # the first lot is refused, and its rows are written one by one
            run = engine.run("p").run
        assert {o.key for o in engine.ledger.outcome_rows(run)} == {(key,) for key in range(1, 9)}
        back = engine.rollback(run)
        assert (back.verdict, back.repaired) == (Verdict.REPAIRED, 40)
        assert dict(db.sql(OLD)) == {key: key * 10 + 1 for key in range(1, 41)}
        alone, lots = shape_of(engine, back)
        assert (alone, sum(count for _, count in lots)) == (8, 32)


def test_some_rows_go_first_where_that_is_asked_for(db: Db, tmp_path: Path) -> None:
    counters(db)
    with lots_of(8), engine_of(db, tmp_path / "l.db", limits=Limits(rows=40, share=1, collapse=0)) as engine:
        run = engine.run("p").run
        back = engine.rollback(run, canary=5)
        assert (back.verdict, back.repaired) == (Verdict.REPAIRED, 40)
        alone, lots = shape_of(engine, back)
        assert (alone, sum(count for _, count in lots)) == (5, 35)


def test_beyond_the_limits_it_is_a_plan_and_chosen_rows_go_by_themselves(db: Db, tmp_path: Path) -> None:
    counters(db)
    ledger = tmp_path / "l.db"
    with lots_of(8), engine_of(db, ledger) as engine:
        run = engine.run("p").run
        chosen = engine.rollback(run, keys=[{"id": 7}])
        assert (chosen.repaired, shape_of(engine, chosen)) == (1, (1, []))
    with lots_of(8), engine_of(db, ledger, limits=Limits(rows=30, share=1, collapse=0)) as engine:
        refused = engine.rollback(run)
        assert (refused.verdict, engine.find_plan(refused.plan).changes) == (Verdict.REFUSED, 39)
        db.sql("UPDATE copy SET n = 7 WHERE id = 3")
        engine.approve(refused.plan, reason="it was wrong", by=None)
        back = engine.apply(refused.plan)
        assert (back.verdict, back.repaired, back.left) == (Verdict.DRIFT, 38, 1)
        assert dict(db.sql(OLD)) == {key: 7 if key == 3 else key * 10 + 1 for key in range(1, 41)}
        assert engine.audit.verify().problems == []
