"""A run that died in the middle: the next one goes on, and both together do everything once."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.live.harness import (
    PATIENCE_S,
    WIDE,
    Background,
    Counters,
    Docs,
    QuickClock,
    around,
    blocked,
    instead,
    keys_per_segment,
    until,
)
from tests.servers import Pair
from tests.tools import hammer
from trueup import Limits
from trueup import run as running
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Outcome, RunState, Verdict
from trueup.observe import Silent
from trueup.store import lock
from trueup.store.ledger import Ledger
from trueup.store.records import OutcomeRow


class Died(BaseException):
    """As good as a kill for whatever is decided in this process: nothing of the engine catches it."""


@contextmanager
def dies(owner: object, step: str, *, before: bool = False, nth: int = 1, last: Callable[[], object] = lambda: None):
    """The engine dies at a step."""

    def die() -> None:
        last()
        raise Died

    with around(owner, step, nth=nth, **{"before" if before else "after": die}), pytest.raises(Died):
        yield


class TomorrowsClock(QuickClock):
    """Of a process that begins much later."""

    def now(self) -> datetime:
        return super().now() + timedelta(hours=20)


@pytest.mark.parametrize("step", ["commit_narrowed", "set_stage"])
@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_what_was_proof_before_a_crash_is_looked_at_again(
    command: str, step: str, postgres: str, tmp_path: Path
) -> None:
    """In one database one look is enough; many hours later the row may have been put right, or moved on."""
    app = Counters(postgres)
    app.fill({1: (5, 7), 2: (5, 7), 3: (5, 7)})
    with app.engine(tmp_path) as engine, dies(Ledger, step):
        getattr(engine, command)("counter")
    with closing(app.db.connect()) as c:
        app.put(c, 1, 5)
    app.write(2)
    with app.engine(tmp_path, clock=TomorrowsClock()) as engine:
        report = getattr(engine, command)("counter")
        known = [row.drift.key for row in engine.drift("counter")]
    assert report.resumed
    assert {row["key"]["post"]: row["observed"] for row in report.drift} == {2: {"n": 8}, 3: {"n": 7}}
    assert known == ([] if command == "run" else [(2,), (3,)])
    assert app.wrong() == ({} if command == "run" else {2: 2, 3: 2})


@pytest.mark.parametrize("command", ["check", "plan"])
def test_what_was_judged_before_a_crash_is_not_reported_long_after_it(
    command: str, sqlite_pair: Pair, tmp_path: Path
) -> None:
    docs = Docs(*sqlite_pair)
    for key in range(1, 5):
        docs.put(docs.source, key, 5)
    with keys_per_segment(2):
        with docs.engine(tmp_path, settle="10s") as engine, dies(Ledger, "commit_confirmed"):
            getattr(engine, command)("doc")
        docs.put(docs.target, 1, 5)
        with docs.engine(tmp_path, settle="10s", clock=TomorrowsClock()) as engine:
            report = getattr(engine, command)("doc")
    assert sorted(row["key"]["id"] for row in report.drift) == [2, 3, 4]
    assert not report.resumed


def test_an_insert_whose_source_went_away_during_the_crash_is_withdrawn(postgres_pair: Pair, tmp_path: Path) -> None:
    """Only what the ledger says tells the resumed run that the row is its own."""
    docs = Docs(*postgres_pair)
    docs.put(docs.source, 1, 5)
    with docs.engine(tmp_path) as engine, dies(Ledger, "close_unit", last=lambda: docs.put(docs.source, 1, None)):
        engine.run("doc")
    assert docs.state() == (None, 5)
    with docs.engine(tmp_path) as engine:
        report = engine.run("doc")
    assert (report.verdict, report.resumed) == (Verdict.REPAIRED, True)
    assert docs.state() == (None, None)


def test_what_was_left_before_a_crash_is_still_said_after_it(sqlite_url: str, tmp_path: Path) -> None:
    app = Counters(sqlite_url)
    app.fill({1: (5, 7), 2: (0, 3), 3: (5, 7), 4: (5, 7)})  # 2 should not be there, and is only reported
    with keys_per_segment(2):
        for step in ("found", "settled"):
            with app.engine(tmp_path) as engine, dies(type(engine.standing), step):
                engine.run("counter")
        with app.engine(tmp_path) as engine:
            report = engine.run("counter")
            assert [row.drift.key for row in engine.drift("counter")] == [(2,)]
    assert (report.verdict, report.resumed) == (Verdict.DRIFT, True)
    assert app.wrong() == {2: 3}


def test_a_row_that_had_moved_is_tried_again_after_a_crash(postgres: str, tmp_path: Path) -> None:
    """Between its two tries it has an outcome, the first one's: that must not be taken for its last."""
    app = Counters(postgres)
    app.fill({1: (5, 7)})
    write = around(Ledger, "open_unit", after=lambda: app.write(1))
    with app.engine(tmp_path) as engine, dies(Ledger, "open_unit", before=True, nth=2), write:
        engine.run("counter")
    with app.engine(tmp_path) as engine:
        report = engine.run("counter")
    assert (report.verdict, report.resumed, report.repaired) == (Verdict.REPAIRED, True, 1)
    assert app.wrong() == {}


def test_why_a_row_failed_is_still_known_after_a_crash(postgres: str, tmp_path: Path) -> None:
    app = Counters(postgres)
    app.fill({1: (5, 7)})
    app.db.sql("ALTER TABLE counter ADD CHECK (n > 6)")
    with app.engine(tmp_path) as engine, dies(type(engine.standing), "found", before=True):
        engine.run("counter")
    with app.engine(tmp_path) as engine:
        report = engine.run("counter")
        (row,) = engine.drift("counter")
    assert (report.verdict, report.resumed) == (Verdict.DRIFT, True)
    assert "check constraint" in row.reason


def test_open_units_are_settled_even_by_a_run_that_finds_nothing_to_do(sqlite_url: str, tmp_path: Path) -> None:
    """Whoever asks the ledger later must not find a unit of unknown outcome that nobody will ever look at again."""
    app = Counters(sqlite_url)
    app.fill({1: (5, 7)})
    with app.engine(tmp_path) as engine, dies(Ledger, "close_unit", before=True):
        engine.run("counter")
    with app.engine(tmp_path, on_extra="delete") as engine:
        engine.run("counter")
        (crashed,) = [run for run in engine.runs("counter") if str(run.state) == "abandoned"]  # the definition differs
        assert engine.ledger.open_units("counter") == []
        assert [(o.key[0], o.outcome, o.witness) for o in engine.outcomes(crashed.id)] == [
            (1, Outcome.APPLIED, "recovery")
        ]


class Listening(Silent):
    """Hears which runs are not gone on with, which units were settled, and which could not be."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def abandoned(self, run: str, why: str) -> None:
        self.heard.append(f"abandoned: {why}")

    def recovered(self, unit: str, outcomes: Sequence[OutcomeRow]) -> None:
        self.heard += [f"recovered: {outcome.outcome}" for outcome in outcomes]

    def elsewhere(self, unit: str, run: str) -> None:
        self.heard.append("elsewhere")


@pytest.mark.parametrize("limits", [WIDE, WIDE.model_copy(update={"rows": 0})], ids=["repairs", "is refused"])
def test_a_run_of_another_definition_settles_what_was_left_open(
    sqlite_url: str, tmp_path: Path, limits: Limits
) -> None:
    """Killed after a commit; the declaration is changed before the next run, which may even have to refuse."""
    app = Counters(sqlite_url)
    app.fill({1: (5, 7), 2: (5, 7)})
    with keys_per_segment(1), app.engine(tmp_path) as engine, dies(Ledger, "close_unit", before=True):
        engine.run("counter")
    told = Listening()
    with app.engine(tmp_path, settle="1s", limits=limits, progress=told) as engine:
        report = engine.run("counter")
        first, second = sorted(engine.runs("counter"), key=lambda run: run.id != report.run)
        assert (second.state, second.reason) == (RunState.ABANDONED, "the definition changed")
        assert engine.ledger.open_units("counter") == []
        assert [(o.key, o.outcome) for o in engine.outcomes(second.id)] == [((1,), Outcome.APPLIED)]
        assert not report.resumed
        assert first.id == report.run
    assert told.heard == ["abandoned: the definition changed", "recovered: applied"]
    assert app.wrong() == ({} if limits == WIDE else {2: 2})


def test_what_was_written_to_another_target_is_not_called_not_applied(sqlite_url: str, tmp_path: Path) -> None:
    """Its marker is in the database that the target was in: here it would be claimed, and the ledger would lie."""
    app, other = Counters(sqlite_url), Counters(f"sqlite:///{tmp_path / 'other.db'}")
    for each in (app, other):
        each.fill({1: (5, 7)})
    with app.engine(tmp_path) as engine, dies(Ledger, "close_unit", before=True):
        engine.run("counter")
    told = Listening()
    with other.engine(tmp_path, progress=told) as engine:
        assert engine.run("counter").verdict is Verdict.REPAIRED
        assert len(engine.ledger.open_units("counter")) == 1
    assert told.heard == ["abandoned: the definition changed", "elsewhere"]
    with app.engine(tmp_path) as engine:
        assert engine.run("counter").verdict is Verdict.IN_SYNC
        assert engine.ledger.open_units("counter") == []


# --- two runs, because the lock was lost -----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite_url", "postgres"])
@pytest.mark.parametrize("late", [False, True], ids=["while the second works", "after the second has ended it"])
def test_a_zombie_run_and_its_successor(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, *, late: bool
) -> None:
    """The first run stands still with an open unit and has lost its lock; the second takes over and waits for it.

    Then the first goes on: while the second works, or when nothing is left that it could be refused.
    """
    from contextlib import nullcontext

    app = Counters(request.getfixturevalue(kind))
    app.fill(dict.fromkeys(range(1, 7), (5, 7)))
    reached, go = threading.Event(), threading.Event()

    def stand_still() -> None:
        reached.set()
        assert go.wait(PATIENCE_S), "nobody woke the zombie"

    def run(name: str) -> tuple[str, Any]:
        with app.engine(tmp_path) as engine:
            try:
                return name, engine.run("counter")
            except Exception as error:
                return name, error

    nothing = lock.Held(url=sa.make_url("sqlite://"), names=frozenset())
    unlocked = instead(running.lock, "hold", lambda *_, **__: nullcontext(nothing))
    still = around(UnitTransaction, "sign_marker", after=stand_still)
    zombies: list[int] = []
    successors: list[Background] = []
    close_unit = Ledger.close_unit

    def overtaken(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() in zombies:
            until(lambda: _tokens(app)[0][0] > 1, "the second's fence")
            until(lambda: not late or successors[0].done, "the second's end")
        close_unit(*args, **kwargs)

    def zombie() -> tuple[str, Any]:
        zombies.append(threading.get_ident())
        return run("first")

    with keys_per_segment(2), unlocked, still, instead(Ledger, "close_unit", overtaken):
        first = Background(zombie)
        assert reached.wait(PATIENCE_S), "the first run did not get to its unit"
        second = Background(lambda: run("second"))
        successors.append(second)
        if app.db.sqlite:
            until(lambda: len(_tokens(app)) == 1, "the fence")
        else:
            blocked(app.db, who="trueup")  # on the fence that the zombie's unit holds
        assert not second.done
        go.set()
        ends = dict([first.join(), second.join()])
    report = ends["second"]
    assert not isinstance(report, Exception), ends
    assert report.verdict is Verdict.REPAIRED
    assert app.wrong() == {}
    with app.engine(tmp_path) as engine:
        applied = [o.key[0] for o in engine.outcomes(report.run) if o.outcome is Outcome.APPLIED]
        assert engine.ledger.run(report.run).state == "done"
    assert sorted(applied) == [1, 2, 3, 4, 5, 6]
    assert "taken over" in str(ends["first"])


def _tokens(app: Counters) -> list[Any]:
    return app.db.sql("SELECT token FROM trueup_fence")


# --- the command line, killed for real -------------------------------------------------------------------------------

CONFIG = """
[trueup]
ledger = "sqlite:///ledger.db"
[databases.app]
url = "{url}"
[projections.counter]
source = {{ database = "app", query = "SELECT post, count(*) AS n FROM edges GROUP BY post" }}
target = {{ database = "app", table = "counter" }}
key = "post"
writers = "{writers}"
limits = {{ rows = 100000, share = "100%" }}
"""


@pytest.mark.parametrize(("kind", "writers"), [("postgres", "same_transaction"), ("sqlite_url", "same_transaction")])
def test_the_command_killed_under_live_writes_is_resumed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str, writers: str
) -> None:
    app = Counters(request.getfixturevalue(kind))
    posts = range(1, 2501)  # several units, so that it is killed between two of them
    with closing(app.db.connect()) as c:
        c.execute(app.db.begin)
        for post in posts:
            app.add_edge(c, post)
        c.execute("INSERT INTO counter SELECT DISTINCT post, 9 FROM edges")
        c.execute("COMMIT")
    (tmp_path / "trueup.toml").write_text(CONFIG.format(url=app.db.url, writers=writers))
    command = [sys.executable, "-m", "trueup", "run", "counter", "--rows", "1"]

    def write(worker: int, c: Any) -> None:
        c.execute(app.db.begin)
        app.add_edge(c, worker + 1)
        app.upsert(c, worker + 1)
        c.execute("COMMIT")
        threading.Event().wait(0.01)

    with hammer(write, 3, each=lambda _: closing(app.db.connect())) as writing:
        writing.wait(10)
        with (tmp_path / "first.err").open("w") as err:
            first = subprocess.Popen(command, cwd=tmp_path, stdout=err, stderr=err)
        try:
            until(lambda: first.poll() is not None or _marked(app) >= 1, "a unit to commit")
            assert first.poll() is None, f"it was over too soon: {(tmp_path / 'first.err').read_text()}"
        finally:
            first.kill()
            first.wait()
        assert app.wrong(), "it was over too soon: there is nothing left to resume"
        second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert second.returncode == 0, second.stderr
        writing.wait(writing.count + 10)
    resumed = re.findall(r"resuming (r-\w+)", second.stderr)
    assert len(resumed) == 1, second.stderr
    assert app.wrong() == {}
    with closing(app.db.connect()) as c:
        (pending,) = c.execute("SELECT count(*) FROM trueup_applied WHERE closed").fetchone()
    with app.engine(tmp_path) as engine:
        (run,) = engine.runs("counter")
        assert (run.id, str(run.state)) == (resumed[0], "done")
        applied = [o.key[0] for o in engine.outcomes(run.id) if o.outcome is Outcome.APPLIED]
        open_units = engine.ledger.open_units("counter")
    assert sorted(applied) == list(posts)  # each once, by either of the two
    assert (open_units, pending <= 1) == ([], True)


def _marked(app: Counters) -> int:
    try:
        return app.db.marked()
    except Exception:  # the table is not there yet
        return 0


def test_control_dying_is_seen(sqlite_url: str, tmp_path: Path) -> None:
    app = Counters(sqlite_url)
    app.fill({1: (5, 7)})
    with app.engine(tmp_path) as engine, dies(UnitTransaction, "lock"):
        engine.run("counter")
    assert app.wrong() == {1: 2}
