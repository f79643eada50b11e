"""Rollback while the application writes: what is newer than the repair is never overwritten.

The application keeps edges and counter in one transaction, so only a repair or a rollback changes how far a counter is
off: a row that went back is off by as much as before its repair, one that was left by nothing. Anything else is a lost
write. The controls put before-images back by hand, and lose some.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Counters, QuickClock, around, instead, keys_per_segment
from tests.live.mariadb import MariaCounters
from tests.tools import hammer
from trueup import Outcome, Trueup, Verdict
from trueup.adapters import _outcomes, _restoring
from trueup.adapters._outcomes import HeldRow, left
from trueup.adapters._steps import UnitTransaction

POSTS = 12
#: What each counter is off by before its repair; the last has no row.
OFF = 7


@pytest.fixture(params=["postgres", "mariadb", "sqlite_url"])
def app(request: pytest.FixtureRequest) -> Iterator[Counters]:
    make = MariaCounters if request.param == "mariadb" else Counters
    counters = make(request.getfixturevalue(request.param))
    counters.fill(dict.fromkeys(range(POSTS), (2, 2 + OFF)))
    with keys_per_segment(3):
        yield counters


@pytest.fixture
def engine(app: Counters, tmp_path: Path) -> Iterator[Trueup]:
    often = {"times": 0}  # the same rows are repaired again and again here
    with app.engine(tmp_path, clock=QuickClock(), recurring=often) as engine:
        yield engine


def write(app: Counters, post: int) -> None:
    app.write(post)


def test_a_row_that_was_written_since_is_left(app: Counters, engine: Trueup) -> None:
    run = engine.run("counter").run
    write(app, 3)
    report = engine.rollback(run)
    assert (report.repaired, report.left) == (POSTS - 1, 1)
    assert app.wrong() == {post: OFF for post in range(POSTS) if post != 3}


def test_control_before_images_put_back_by_hand(app: Counters, engine: Trueup) -> None:
    run = engine.run("counter").run
    write(app, 3)
    for outcome in engine.outcomes(run):
        app.db.sql(f"UPDATE counter SET n = {outcome.before[0]} WHERE post = {outcome.key[0]}")
    assert app.wrong()[3] == OFF - 1  # an increment is lost


def test_a_row_that_is_written_after_it_was_looked_at_is_left(app: Counters, engine: Trueup) -> None:
    """Between the decision and the lock: only the compare-and-set under the lock sees it."""
    run = engine.run("counter").run
    with around(type(engine.ledger), "open_unit", after=lambda: write(app, 1)):
        report = engine.rollback(run)
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, POSTS - 1, 1)
    assert {o.outcome for o in engine.outcomes(report.run) if o.key == (1,)} == {Outcome.CAS_LOST}
    assert app.wrong() == {post: OFF for post in range(POSTS) if post != 1}


def test_control_without_comparing_under_the_lock(app: Counters, engine: Trueup) -> None:
    """The look alone, right before: the write in between is lost."""

    def trusting(unit: Any, suspect: Any, now: HeldRow | None) -> Any:
        if now is None:
            return left(suspect, now, Outcome.CAS_LOST, "busy", busy=True)
        seen = HeldRow(values=suspect.observed, token=suspect.token)
        return _outcomes.restored(unit, suspect, seen)

    run = engine.run("counter").run
    with (
        instead(_restoring, "restored", trusting),
        around(type(engine.ledger), "open_unit", after=lambda: write(app, 1)),
    ):
        engine.rollback(run)
    assert app.wrong()[1] == OFF - 1


def test_while_writers_write_and_the_repair_is_done_again_and_again(app: Counters, engine: Trueup) -> None:
    """No schedule: three writers on half of the rows, which are repaired and put back by turns."""
    calls = [0, 0, 0]

    def hit(worker: int, c: Any) -> None:
        post = calls[worker] % (POSTS // 2)
        calls[worker] += 1
        c.execute(app.db.begin)
        app.add_edge(c, post)
        app.upsert(c, post)
        c.execute("COMMIT")

    put_back = left_alone = 0
    with hammer(hit, 3, each=lambda _: closing(app.db.connect())) as writing:
        for turn in range(1, 100):
            writing.wait(20 * turn)
            report = engine.rollback(engine.run("counter").run)
            put_back, left_alone = put_back + report.repaired, left_alone + report.left
            if turn >= 4 and left_alone and put_back >= POSTS // 2:  # a slow machine may need more
                break
    drift = app.drift()
    assert set(drift.values()) <= {0, OFF}, drift
    assert put_back >= POSTS // 2
    assert left_alone > 0


@pytest.mark.parametrize("app", ["postgres", "mariadb"], indirect=True)
def test_rows_that_are_locked_are_tried_again(app: Counters, engine: Trueup) -> None:
    run = engine.run("counter").run
    holding = app.db.connect()
    holding.execute("BEGIN")
    holding.execute("UPDATE counter SET n = n WHERE post = 0")
    with around(UnitTransaction, "lock", nth=2, before=lambda: holding.execute("ROLLBACK")):
        report = engine.rollback(run)
    holding.close()
    assert report.repaired == POSTS
    assert app.wrong() == dict.fromkeys(range(POSTS), OFF)
