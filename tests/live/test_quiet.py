"""Increments that are sent after the commit, by writers that die or are paused in between."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Counters, around, instead
from trueup import Verdict
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._when_quiet import WhenQuiet

BOUND: dict[str, Any] = {
    "writers": "increments",
    "bound": "60s",
    "events": {"table": "edges", "column": "happened"},
}


@pytest.fixture
def app(postgres: str) -> Counters:
    made = Counters(postgres)
    made.db.sql("ALTER TABLE edges ADD happened timestamptz DEFAULT clock_timestamp()")
    return made


def age(app: Counters) -> None:
    """Time goes by: every event is older than the bound now."""
    app.db.sql("UPDATE edges SET happened = happened - interval '1 hour'")


def send(app: Counters) -> None:
    with closing(app.db.connect()) as c:
        app.increment(c, 1)


def test_a_young_event_is_waited_for(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 3)})
    age(app)
    app.db.sql("INSERT INTO edges(post) VALUES (1)")  # committed, and its increment on its way
    with app.engine(tmp_path, **BOUND) as engine:
        report = engine.run("counter")
        assert (report.verdict, report.guarantee, app.db.one("SELECT n FROM counter")) == (
            Verdict.DRIFT,
            "EXACT-IF(60s)",
            3,
        )
        send(app)
        age(app)
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}


def test_control_an_increment_that_is_later_than_the_bound_is_counted_twice(app: Counters, tmp_path: Path) -> None:
    """What the class is exact *if*."""
    app.fill({1: (5, 3)})
    app.db.sql("INSERT INTO edges(post) VALUES (1)")
    age(app)
    with app.engine(tmp_path, **BOUND) as engine:
        assert engine.run("counter").verdict is Verdict.REPAIRED
    send(app)
    assert app.wrong() == {1: 1}


@pytest.mark.parametrize("guard", [True, False], ids=["guard", "control: without"])
def test_an_event_that_comes_after_the_clock_was_read(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    """It is in the count, and its increment is not in the row."""
    app.fill({1: (5, 3)})
    age(app)
    event = around(UnitTransaction, "read_source_here", before=lambda: app.db.sql("INSERT INTO edges(post) VALUES (1)"))
    hasty = instead(WhenQuiet, "read", lambda way, steps: way.inner.read(steps))
    with app.engine(tmp_path, **BOUND) as engine, event, nullcontext() if guard else hasty:
        report = engine.run("counter")
    assert report.repaired == (0 if guard else 1)
    send(app)
    assert app.wrong() == ({1: -2} if guard else {1: 1})


def test_the_increment_of_an_old_event_is_in_the_row_that_is_read(app: Counters, tmp_path: Path) -> None:
    """It arrives at the last moment: after our look, before our lock."""
    app.fill({1: (5, 3)})
    age(app)
    with app.engine(tmp_path, **BOUND) as engine, around(UnitTransaction, "hold_fence", before=lambda: send(app)):
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}
