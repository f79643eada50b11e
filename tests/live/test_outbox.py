"""Edges with an outbox: a worker applies the increments to the counter. What is queued is no drift, and counts once."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live import mariadb
from tests.live.harness import Background, Counters, around, blocked
from tests.live.mariadb import MariaCounters, MariaDb
from trueup import Verdict
from trueup.store.ledger import Ledger

OUTBOX: dict[str, Any] = {
    "writers": "outbox",
    "absent": {"n": 0},
    "pending": {"table": "outbox", "columns": {"n": "delta"}},
}
#: What a repair believes that knows of no queue.
BLIND: dict[str, Any] = {"writers": "same_transaction", "absent": {"n": 0}}


def with_outbox(request: pytest.FixtureRequest) -> Counters:
    url = request.getfixturevalue(request.param)
    made = MariaCounters(url) if request.param == "mariadb" else Counters(url)
    made.db.sql("CREATE TABLE outbox(post INT NOT NULL, delta INT NOT NULL)")
    return made


@pytest.fixture(params=["postgres", "mariadb", "sqlite_url"])
def app(request: pytest.FixtureRequest) -> Counters:
    return with_outbox(request)


@pytest.fixture(params=["postgres", "mariadb"])
def locking(request: pytest.FixtureRequest) -> Counters:
    """Where somebody can be half way; on SQLite there is one writer at a time."""
    return with_outbox(request)


def write(app: Counters, post: int) -> None:
    """The writer: the edge and its event."""
    app.db.together(f"INSERT INTO edges(post) VALUES ({post})", f"INSERT INTO outbox VALUES ({post}, 1)")


def drain(app: Counters) -> None:
    """The worker: everything that is queued, event by event."""
    for post, delta in app.db.sql("SELECT post, delta FROM outbox"):
        with closing(app.db.connect()) as c:
            c.execute(app.db.begin)
            app.upsert(c, post, delta)
            c.execute("COMMIT")
    app.db.sql("DELETE FROM outbox")


@pytest.mark.parametrize("pending", [True, False], ids=["pending", "control: blind"])
def test_what_is_queued_is_counted_once(app: Counters, tmp_path: Path, *, pending: bool) -> None:
    app.fill({1: (5, 8)})
    write(app, 1)
    write(app, 1)
    with app.engine(tmp_path, **(OUTBOX if pending else BLIND)) as engine:
        assert engine.run("counter").verdict is Verdict.REPAIRED
    drain(app)
    assert app.wrong() == ({} if pending else {1: 2})


def test_a_worker_that_has_ended_the_event_and_not_touched_the_row(locking: Counters, tmp_path: Path) -> None:
    app = locking
    app.fill({1: (5, 7)})
    write(app, 1)
    with closing(app.db.connect()) as worker:
        worker.execute("BEGIN")
        worker.execute("DELETE FROM outbox")
        with app.engine(tmp_path, **OUTBOX) as engine:
            assert engine.run("counter").verdict is Verdict.REPAIRED
        app.upsert(worker, 1)
        worker.execute("COMMIT")
    assert app.wrong() == {}


def test_a_worker_that_holds_the_row_is_waited_for(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7)})
    write(app, 1)
    with (
        closing(app.db.connect()) as worker,
        app.engine(tmp_path, settings={"lock_timeout": "60s"}, **OUTBOX) as engine,
    ):
        worker.execute(app.db.begin)
        app.upsert(worker, 1)
        worker.execute("DELETE FROM outbox")
        run = Background(lambda: engine.run("counter"))
        if isinstance(app.db, MariaDb):
            mariadb.blocked(app.db, who="trueup")
        elif not app.db.sqlite:
            blocked(app.db, who="trueup")
        worker.execute("COMMIT")
        assert run.join().verdict is Verdict.REPAIRED
    assert app.wrong() == {}


def test_what_comes_while_the_row_is_locked(app: Counters, tmp_path: Path) -> None:
    """Its edge and its event are one commit, so the statement that counts sees both or neither."""
    app.fill({1: (5, 7)})
    with app.engine(tmp_path, **OUTBOX) as engine, around(Ledger, "open_unit", after=lambda: write(app, 1)):
        assert engine.run("counter").verdict is Verdict.REPAIRED
    drain(app)
    assert app.wrong() == {}
