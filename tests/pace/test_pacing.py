"""Governors begin and end with the jobs that work on their databases, whatever the ledger does meanwhile."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.live.harness import until
from trueup import Projection, Side, Trueup
from trueup.core.projection import Database
from trueup.errors import LedgerFailed
from trueup.pace import governor
from trueup.pace.admission import Worker
from trueup.store.paces import Paces

SIDE = Side(database="app", table="t")
PROJECTION = Projection(name="p", source=SIDE, target=SIDE, key=["id"])
ANN = Worker(name="ann")


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Trueup]:
    with closing(sqlite3.connect(tmp_path / "app.db")) as made:
        made.execute("CREATE TABLE t (id INTEGER PRIMARY KEY)")
    app = Database.model_validate({"url": f"sqlite:///{tmp_path / 'app.db'}", "protect": "10%"})
    with Trueup(databases={"app": app}, projections=[PROJECTION], ledger=f"sqlite:///{tmp_path / 'l.db'}") as made:
        yield made


def away(*_: object, **__: object) -> None:
    raise LedgerFailed("the server is away")


def notes(engine: Trueup) -> list[str]:
    engine.audit.seal()
    told = [str(line["act"]) for line in reversed(engine.audit.lines(limit=0))]
    return [act for act in told if act.startswith("pace.") and act != "pace.set"]


def test_a_job_that_cannot_begin_does_not_keep_the_next_one_from_it(
    engine: Trueup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was still counted as one that works, so nobody began the governor, and nothing was ever permitted."""
    pair = engine.pair(engine.binding("p", writing=False))
    with monkeypatch.context() as patched:
        patched.setattr(Paces, "renew", away)
        with pytest.raises(LedgerFailed), engine.pacing.working(pair, ANN):
            raise AssertionError("it began")
    with engine.pacing.working(pair, ANN):
        gate = engine.pacing._governors["app"].gate
        until(lambda: gate.u > 0, "something to be permitted")


def test_repairs_keep_to_what_a_statement_may_take_by_now(engine: Trueup) -> None:
    """They kept to what held when the job was made, which is before anybody looks at the database."""
    pair = engine.pair(engine.binding("p", writing=False))
    hold_s = engine._common("repair", pair, None)["hold_s"]
    assert hold_s() is None
    with engine.pacing.working(pair, ANN):
        assert hold_s() == 0.02
        engine.set_pace("app", statement="40ms")
        until(lambda: hold_s() == 0.04, "a statement to take longer")


def test_a_change_that_the_ledger_does_not_take_ends_nothing_and_is_noted_later(
    engine: Trueup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that looks ended with it, and what was permitted last was permitted for ever."""
    for name in ("TICK_S", "RENEW_S"):
        monkeypatch.setattr(governor, name, 0.05)
    pair = engine.pair(engine.binding("p", writing=False))
    with engine.pacing.working(pair, ANN):
        gate = engine.pacing._governors["app"].gate
        until(lambda: gate.u > 0, "something to be permitted")
        with monkeypatch.context() as patched:
            patched.setattr(Paces, "note", away)
            engine.set_pace("app", pause=True)
            until(lambda: gate.u == 0, "the pause to be followed")
            engine.set_pace("app")
            until(lambda: gate.u > 0, "its end to be followed")
        assert notes(engine) == []
        engine.set_pace("app", pause=True)
        until(lambda: gate.u == 0, "another pause to be followed")
        until(lambda: len(notes(engine)) == 3, "all of it to be noted")
    assert notes(engine) == ["pace.paused", "pace.recovery", "pace.paused"]
    assert engine.pacing.caused()["app"].changes == {"paused": 2, "recovery": 1}
