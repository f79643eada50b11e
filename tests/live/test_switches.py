"""Stop, pause and takeover while a repair is under way, at the moments that count.

`stop` is exact: it returns when the last open unit has ended, and none commits after that. The controls take the fence
out and show that the same schedule then does write.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import (
    PATIENCE_S,
    Background,
    Counters,
    QuickClock,
    around,
    blocked,
    instead,
    keys_per_segment,
    until,
)
from tests.live.mariadb import MariaCounters
from trueup import Refused, Trueup
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Verdict
from trueup.observe import Silent

POSTS = 12


@pytest.fixture(params=["postgres", "sqlite_url"])
def app(request: pytest.FixtureRequest) -> Iterator[Counters]:
    """Twelve wrong counters, in units of three."""
    make = MariaCounters if request.param == "mariadb" else Counters
    counters = make(request.getfixturevalue(request.param))
    counters.fill(dict.fromkeys(range(POSTS), (2, 9)))
    with keys_per_segment(3):
        yield counters


class Gate:
    """Holds a thread at one place until it is let through."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()

    def __call__(self) -> None:
        self.reached.set()
        assert self.open.wait(PATIENCE_S), "nobody opened the gate"

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_S), "the gate was not reached"


@pytest.fixture
def engines(app: Counters, tmp_path: Path) -> Iterator[Any]:
    """Engines as of two processes: own connections, one ledger."""
    with ExitStack() as stack:
        often = {"times": 0}  # the same rows are repaired again and again here
        yield lambda **how: stack.enter_context(app.engine(tmp_path, recurring=often, **how))


def written(app: Counters) -> list[tuple[int]]:
    """Rows that a repair has put right; nobody else writes here."""
    return app.db.sql("SELECT post FROM counter WHERE n = 2 ORDER BY post")


# --- stop ------------------------------------------------------------------------------------------------------------


def test_stop_waits_for_the_open_unit_and_lets_no_other_begin(app: Counters, engines) -> None:
    working, stopping = engines(), engines()
    gate = Gate()
    with around(UnitTransaction, "sign_marker", before=gate, nth=2):
        running = Background(lambda: working.run("counter"))
        gate.wait()  # the second unit has written and not committed
        stop = Background(lambda: stopping.stop("counter", reason="test"))
        if not app.db.sqlite:
            blocked(app.db, who="trueup")
        until(lambda: stopping.standing.control("counter").state == "stopped", "the switch to be set")
        assert not stop.done
        assert len(written(app)) == 3
        gate.open.set()
        stop.join()
        at_return = (written(app), app.db.marked())
        with pytest.raises(Refused, match="stopped"):
            running.join()
    assert at_return == (written(app), app.db.marked())
    assert len(at_return[0]) == 6
    # Nothing begins either, until it is allowed again; then the same run goes on.
    with pytest.raises(Refused, match="stopped"):
        working.run("counter")
    stopping.resume("counter")
    report = working.run("counter")
    assert (report.verdict, report.resumed, report.repaired) == (Verdict.REPAIRED, True, POSTS)
    assert app.wrong() == {}


def test_stop_between_the_runs_look_at_the_switch_and_its_fence(app: Counters, engines) -> None:
    """The run saw no switch, then raises the fence itself: the stop in the fence must outlive that."""
    working, stopping = engines(), engines()
    with (
        around(type(working._adapter("app")), "raise_fence", before=lambda: stopping.stop("counter")),
        pytest.raises(Refused, match="stopped"),
    ):
        working.run("counter")
    assert written(app) == []


@pytest.mark.parametrize("app", ["postgres", "mariadb", "sqlite_url"], indirect=True)
def test_control_without_the_fence_a_stopped_run_writes_on(app: Counters, engines) -> None:
    """What looking at the switch alone is worth: the run passed its border before it was set."""
    working, stopping = engines(), engines()
    after: list[int] = []

    def stop() -> None:
        stopping.stop("counter")
        after.append(len(written(app)))

    with (
        instead(UnitTransaction, "hold_fence", lambda _: None),
        around(type(working.ledger), "open_unit", before=stop, nth=2),
        pytest.raises(Refused, match="stopped"),
    ):
        working.run("counter")
    assert len(written(app)) > after[0]


@pytest.mark.parametrize("app", ["postgres", "mariadb", "sqlite_url"], indirect=True)
def test_stop_after_the_border_is_held_by_the_fence(app: Counters, engines) -> None:
    working, stopping = engines(), engines()
    after: list[int] = []

    def stop() -> None:
        stopping.stop("counter")
        after.append(len(written(app)))

    with (
        around(type(working.ledger), "open_unit", before=stop, nth=2),
        pytest.raises(Refused, match="stopped"),
    ):
        working.run("counter")
    assert len(written(app)) == after[0] == 3


def test_stop_while_writers_and_a_repair_are_at_work(app: Counters, engines) -> None:
    """No gates: stop falls where it falls, ten times over."""
    from contextlib import closing

    from tests.tools import hammer

    def write(worker: int, c: Any) -> None:
        c.execute(app.db.begin)
        app.add_edge(c, 100 + worker)
        app.upsert(c, 100 + worker)
        c.execute("COMMIT")
        threading.Event().wait(0.002)

    working, stopping = engines(clock=QuickClock()), engines(clock=QuickClock())
    with hammer(write, 3, each=lambda _: closing(app.db.connect())) as writing:
        writing.wait(10)
        for _ in range(10):
            app.db.sql(f"UPDATE counter SET n = 9 WHERE post < {POSTS}")
            running = Background(lambda: _run(working))
            units = app.db.marked() if _has_markers(app) else 0
            until(lambda at=units, run=running: run.done or _marked(app) > at, "a unit to commit")
            stopping.stop("counter")
            at_return = (written(app), app.db.marked())
            running.join()
            assert at_return == (written(app), app.db.marked())
            stopping.resume("counter")
        app.db.sql(f"UPDATE counter SET n = 9 WHERE post < {POSTS}")
        while (report := working.run("counter")).resumed:
            pass
    assert report.verdict in (Verdict.REPAIRED, Verdict.IN_SYNC)
    assert app.wrong() == {}


def _run(engine: Trueup) -> str:
    try:
        return str(engine.run("counter").verdict)
    except Refused:
        return "stopped"


def _has_markers(app: Counters) -> bool:
    catalog = "sqlite_master WHERE name" if app.db.sqlite else "pg_tables WHERE tablename"
    return bool(app.db.sql(f"SELECT 1 FROM {catalog} = 'trueup_applied'"))


def _marked(app: Counters) -> int:
    return app.db.marked() if _has_markers(app) else 0


# --- pause -----------------------------------------------------------------------------------------------------------


class Pausing(Silent):
    """Somebody who pauses after the first segment and goes on when the run says that it is paused."""

    def __init__(self) -> None:
        self.engine: Trueup | None = None
        self.at_pause: list[int] = []
        self.app: Counters | None = None

    def repaired(self, at: int, of: int, outcomes: object) -> None:
        if at == 1:
            self.engine.pause("counter", reason="lunch")

    def paused(self, why: str) -> None:
        assert "lunch" in why
        self.at_pause.append(len(written(self.app)))


def test_pause_halts_at_a_border_and_resume_goes_on(app: Counters, engines) -> None:
    told = Pausing()
    told.engine, told.app = engines(), app
    clock = QuickClock(lambda: None, lambda: told.engine.resume("counter"))  # at the second look
    report = engines(clock=clock, progress=told).run("counter")
    assert told.at_pause == [3]
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, POSTS)
    assert app.wrong() == {}


# --- takeover --------------------------------------------------------------------------------------------------------


def takeover(app: Counters, engines) -> tuple[int, BaseException | None]:
    """A run is held up between two units, its token is raised, it goes on. Rows written after that, and its end."""
    working, other = engines(), engines()
    gate = Gate()
    with around(type(working.ledger), "open_unit", after=gate, nth=2):
        running = Background(lambda: working.run("counter"))
        gate.wait()
        other._adapter("app").raise_fence("counter")
        before = len(written(app))
        gate.open.set()
        try:
            running.join()
            end = None
        except Refused as refused:
            end = refused
    return len(written(app)) - before, end


def test_a_run_that_was_taken_over_writes_no_more(app: Counters, engines) -> None:
    wrote, end = takeover(app, engines)
    assert wrote == 0
    assert "taken over" in str(end)
    assert app.db.marked() == 1


def test_control_without_the_fence_it_does(app: Counters, engines) -> None:
    with instead(UnitTransaction, "hold_fence", lambda _: None):
        wrote, end = takeover(app, engines)
    assert wrote > 0
    assert end is None


def test_a_second_run_of_the_same_projection_is_refused(app: Counters, engines) -> None:
    working, other = engines(), engines()
    gate = Gate()
    with around(type(working.ledger), "open_unit", after=gate):
        running = Background(lambda: working.run("counter"))
        gate.wait()
        with pytest.raises(Refused, match="another process"):
            other.run("counter")
        gate.open.set()
        assert running.join().verdict is Verdict.REPAIRED


# --- the marker tables -----------------------------------------------------------------------------------------------


def test_two_first_runs_make_the_marker_tables_at_once(postgres: str, tmp_path: Path) -> None:
    """Two projections of one target run for the first time: neither may fail, or lose its markers, over the other."""
    app = Counters(postgres)
    app.fill({1: (2, 9)})
    other = app.db.connect()
    with app.engine(tmp_path) as engine:
        other.execute("BEGIN")
        other.execute(
            "CREATE TABLE trueup_applied(unit varchar(64) PRIMARY KEY, closed boolean NOT NULL, images text NOT NULL, "
            "at timestamptz NOT NULL DEFAULT now())"
        )
        other.execute(
            "CREATE TABLE trueup_fence(fence varchar(200) PRIMARY KEY, token bigint NOT NULL, stop boolean NOT NULL)"
        )
        running = Background(lambda: engine.run("counter"))
        blocked(app.db, who="trueup")
        other.execute("COMMIT")
        other.close()
        assert running.join().verdict is Verdict.REPAIRED
        assert engine._adapter("app").markers
    assert app.db.marked() == 1
