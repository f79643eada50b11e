"""The ledger cannot be written, or the target: a clean error, and nothing is done that is not written down first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.live.harness import Counters, around, keys_per_segment
from trueup.core.states import Outcome, Verdict
from trueup.errors import LedgerFailed, TrueupError
from trueup.store.ledger import Ledger

#: The ledger's writes of a run, in order.
STEPS = ["start_run", "commit_narrowed", "set_stage", "commit_confirmed", "open_unit", "close_unit", "close_segment"]
FAULTS = {"disk full": "PRAGMA max_page_count = 1", "read only": "PRAGMA query_only = ON"}


class Fault:
    """Breaks an SQLite database for one engine of ours, as a full or read-only disk does, until it is mended."""

    def __init__(self, engine: sa.Engine, pragma: str) -> None:
        self.pragma = pragma
        self.broken = False
        sa.event.listen(engine, "before_cursor_execute", self._before)

    def _before(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if self.broken and not statement.startswith(("SELECT", "BEGIN")):
            # As the disk would: a page more than there are, or any page at all, cannot be written.
            driver = connection.connection.dbapi_connection
            driver.execute(self.pragma)
            if "max_page" in self.pragma:
                driver.execute("CREATE TABLE IF NOT EXISTS one_page_more(x)")

    def break_it(self) -> None:
        self.broken = True


@contextmanager
def counters(url: str) -> Iterator[Counters]:
    app = Counters(url)
    app.fill(dict.fromkeys(range(1, 5), (5, 7)))
    with keys_per_segment(2):
        yield app


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS)
def test_the_ledger_cannot_be_written(sqlite_url: str, tmp_path: Path, step: str, fault: str) -> None:
    with counters(sqlite_url) as app:
        with app.engine(tmp_path) as engine:
            broken = Fault(engine.ledger.engine, FAULTS[fault])
            with around(Ledger, step, before=broken.break_it), pytest.raises(LedgerFailed) as told:
                engine.run("counter")
        assert "ledger" in str(told.value)
        written = set(app.drift()) - set(app.wrong())
        with app.engine(tmp_path) as engine:
            intended = {key[0] for *_, keys in engine.ledger.open_units("counter") for key in keys}
            known = {o.key[0] for run in engine.runs("counter") for o in engine.outcomes(run.id)}
            assert written <= intended | known, "a row was written without an intent"
            if STEPS.index(step) <= STEPS.index("open_unit"):
                assert not written
            report = engine.run("counter")
            applied = sorted(o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED)
        assert report.verdict is Verdict.REPAIRED
        assert applied == [1, 2, 3, 4]
        assert app.wrong() == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_target_cannot_be_written(sqlite_url: str, tmp_path: Path, fault: str) -> None:
    with counters(sqlite_url) as app:
        with app.engine(tmp_path) as engine:
            broken = Fault(engine._adapter("app").engine, FAULTS[fault])
            with around(Ledger, "open_unit", after=broken.break_it), pytest.raises(TrueupError):
                engine.run("counter")
            assert len(app.wrong()) == 4
        with app.engine(tmp_path) as engine:
            engine.resume("counter")  # of a disk that is full the engine pauses it
            report = engine.run("counter")
            words = [o.outcome for o in engine.outcomes(report.run)]
        assert (report.verdict, report.resumed) == (Verdict.REPAIRED, True)
        assert words.count(Outcome.APPLIED) == 4
        assert app.wrong() == {}


def test_a_ledger_that_is_a_broken_file_is_said_so(sqlite_url: str, tmp_path: Path) -> None:
    app = Counters(sqlite_url)
    app.fill({1: (5, 7)})
    (tmp_path / "ledger.db").write_bytes(b"this is no database, and was none yesterday" * 100)
    with app.engine(tmp_path) as engine, pytest.raises(TrueupError, match="ledger"):
        engine.run("counter")
    assert app.wrong() == {1: 2}


# --- the ledger on PostgreSQL ----------------------------------------------------------------------------------------


def test_losing_the_lock_does_not_fail_a_run_that_did_its_work(postgres: str, tmp_path: Path) -> None:
    """The session that holds the run's lock is killed: the fence keeps the repair safe, and an answer is given."""
    app = Counters(postgres)
    app.fill({1: (5, 7)})
    kill = (
        "SELECT pg_terminate_backend(l.pid) FROM pg_locks l WHERE l.locktype = 'advisory' "
        "AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    with app.engine(tmp_path, ledger=postgres) as engine:
        with around(Ledger, "open_unit", after=lambda: app.db.sql(kill)):
            report = engine.run("counter")
        assert report.verdict is Verdict.REPAIRED
        assert engine.run("counter").verdict is Verdict.IN_SYNC
    assert app.wrong() == {}


def test_the_ledgers_server_goes_away_between_intent_and_outcome(postgres: str, tmp_path: Path) -> None:
    app = Counters(postgres)
    app.fill(dict.fromkeys(range(1, 5), (5, 7)))
    target = Counters(f"sqlite:///{tmp_path / 'target.db'}")
    target.fill(dict.fromkeys(range(1, 5), (5, 7)))
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    )
    with keys_per_segment(2):
        away = around(Ledger, "close_unit", before=lambda: app.db.sql(kill))
        with target.engine(tmp_path, ledger=postgres) as engine, away, pytest.raises(TrueupError):
            engine.run("counter")
        assert len(target.wrong()) == 2
        with target.engine(tmp_path, ledger=postgres) as engine:
            report = engine.run("counter")
            applied = sorted(o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED)
    assert (report.verdict, report.resumed) == (Verdict.REPAIRED, True)
    assert applied == [1, 2, 3, 4]
    assert target.wrong() == {}
    with closing(app.db.connect()) as c:
        assert c.execute("SELECT count(*) FROM trueup_units WHERE closed_at IS NULL").fetchone() == (0,)
