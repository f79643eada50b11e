"""Counters that are corrected by what they are off by, while writers go on and others repair too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import Counters, QuickClock, around, instead
from tests.live.mariadb import MariaCounters
from trueup import Report, Trueup, Verdict, repair, work
from trueup.adapters._sql import SqlAdapter
from trueup.adapters._steps import UnitTransaction
from trueup.core.compare import Suspect
from trueup.core.states import Outcome
from trueup.errors import DataProblem
from trueup.store.ledger import Ledger

DELTA: dict[str, Any] = {"on_different": "delta", "settle": "10s"}


@pytest.fixture(params=["postgres", "mariadb", "sqlite_url"])
def app(request: pytest.FixtureRequest) -> Counters:
    url = request.getfixturevalue(request.param)
    return MariaCounters(url) if request.param == "mariadb" else Counters(url)


once = SqlAdapter.repair


def twice(adapter: SqlAdapter, *given: Any) -> Any:
    """A unit that is carried out once more."""
    done = once(adapter, *given)
    with suppress(DataProblem):
        once(adapter, *given)
    return done


def why(engine: Trueup, report: Report) -> list[tuple[Outcome, str]]:
    return [(o.outcome, o.evidence) for o in engine.outcomes(report.run)]


def test_writers_between_measuring_and_writing_lose_nothing(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7), 2: (5, 4)})
    writing = QuickClock(lambda: app.write(1))
    with app.engine(tmp_path, clock=writing, **DELTA) as engine:
        with around(type(engine.ledger), "open_unit", after=lambda: [app.write(1) for _ in range(3)]):
            report = engine.run("counter")
        assert why(engine, report)[0] == (Outcome.APPLIED, "it was off by +2, which was subtracted")
    assert report.verdict is Verdict.REPAIRED
    assert app.wrong() == {}
    assert app.db.one("SELECT n FROM counter WHERE post = 1") == 9


def test_the_source_is_not_read_while_the_row_is_locked(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7)})

    def unread(*_: object) -> Any:
        raise AssertionError("the source was read inside the unit")

    with app.engine(tmp_path, **DELTA) as engine, instead(UnitTransaction, "read_source_here", unread):
        assert engine.run("counter").verdict is Verdict.REPAIRED


@pytest.mark.parametrize("marked", [True, False], ids=["marker", "control: none"])
def test_a_difference_is_subtracted_once(app: Counters, tmp_path: Path, *, marked: bool) -> None:
    """The unit is carried out twice: by a retry, or a statement of a dead client that the server still executes."""
    app.fill({1: (5, 7)})
    unmarked = nullcontext() if marked else instead(UnitTransaction, "leave_marker", lambda _steps: None)
    with app.engine(tmp_path, **DELTA) as engine, instead(SqlAdapter, "repair", twice), unmarked:
        engine.run("counter")
    assert app.wrong() == ({} if marked else {1: -2})


def test_drift_that_grows_is_reported_and_not_repaired(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7), 2: (5, 7)})
    broken = QuickClock(lambda: app.db.sql("UPDATE counter SET n = n + 3 WHERE post = 1"))
    with app.engine(tmp_path, clock=broken, **DELTA) as engine:
        report = engine.run("counter")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 1)
    (row,) = [row for row in report.drift if row["key"] == {"post": 1}]
    assert row["reason"] == "the drift is growing: off by +2, then by +5; find who makes it"
    assert app.wrong() == {1: 5}


def test_what_was_seen_long_ago_is_measured_twice_as_well(
    app: Counters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an interruption: each look is old at once here."""
    monkeypatch.setattr(work, "PROOF_S", -1.0)
    test_drift_that_grows_is_reported_and_not_repaired(app, tmp_path)


@contextmanager
def not_measured_again() -> Iterator[None]:
    """The guard taken out: what was judged once is believed."""
    judged: dict[Any, Suspect] = {}
    by_difference = repair._by_difference

    def remember(work: Any, segment: int, drift: list[Suspect]) -> Any:
        judged.update({suspect.key: suspect for suspect in drift})
        with instead(repair, "look", lambda _work, keys: {key: judged[key] for key in keys}):
            return by_difference(work, segment, drift)

    with instead(repair, "_by_difference", remember):
        yield


@pytest.mark.parametrize("guard", [True, False], ids=["guard", "control: without"])
def test_what_somebody_else_corrected_is_not_subtracted_again(app: Counters, tmp_path: Path, *, guard: bool) -> None:
    """A plan is carried out after a run, of another ledger, has repaired the same row."""
    app.fill({1: (5, 7)})
    (tmp_path / "other").mkdir()
    with app.engine(tmp_path, **DELTA) as engine, app.engine(tmp_path / "other", **DELTA) as other:
        plan = engine.plan("counter")
        assert other.run("counter").verdict is Verdict.REPAIRED
        with nullcontext() if guard else not_measured_again():
            report = engine.apply(plan)
        assert [outcome for outcome, _ in why(engine, report)] == [Outcome.SUPERSEDED if guard else Outcome.APPLIED]
    assert app.wrong() == ({} if guard else {1: -2})


def test_rows_that_are_missing_are_written_under_the_lock(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, None), 2: (3, 4)})
    with app.engine(tmp_path, **DELTA) as engine, around(Ledger, "open_unit", after=lambda: app.write(1)):
        assert engine.run("counter").verdict is Verdict.REPAIRED
    assert app.wrong() == {}


# --- rollback --------------------------------------------------------------------------------------------------------


def test_a_difference_goes_back_as_one_whatever_was_written_since(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7), 2: (5, 4)})
    with app.engine(tmp_path, **DELTA) as engine:
        run = engine.run("counter").run
        for _ in range(3):
            app.write(1)
        meanwhile = around(Ledger, "open_unit", after=lambda: app.write(2))
        with meanwhile:
            report = engine.rollback(run)
        assert (report.verdict, report.repaired, app.wrong()) == (Verdict.REPAIRED, 2, {1: 2, 2: -1})
        assert why(engine, report)[0][1] == "+2 had been subtracted, and was added again"
        again = engine.rollback(run)
        assert (again.verdict, again.resolved, app.wrong()) == (Verdict.IN_SYNC, 2, {1: 2, 2: -1})
        app.write(1)
        assert engine.rollback(report.run).repaired == 2  # the rollback is undone
        assert app.wrong() == {}
        assert engine.rollback(run).repaired == 2
    assert app.wrong() == {1: 2, 2: -1}


@pytest.mark.parametrize("marked", [True, False], ids=["marker", "control: none"])
def test_a_difference_is_given_back_once(app: Counters, tmp_path: Path, *, marked: bool) -> None:
    """The unit that gives it back is carried out twice."""
    app.fill({1: (5, 7)})
    unmarked = nullcontext() if marked else instead(UnitTransaction, "leave_marker", lambda _steps: None)
    with app.engine(tmp_path, **DELTA) as engine:
        run = engine.run("counter").run
        with instead(SqlAdapter, "repair", twice), unmarked:
            engine.rollback(run)
    assert app.wrong() == ({1: 2} if marked else {1: 4})


def test_a_rollback_that_dies_after_its_commit_gives_nothing_back_twice(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7)})

    def die() -> None:
        raise KeyboardInterrupt

    with app.engine(tmp_path, **DELTA) as engine:
        run = engine.run("counter").run
        with suppress(KeyboardInterrupt), around(Ledger, "close_unit", before=die):
            engine.rollback(run)
        app.write(1)
        report = engine.rollback(run)
        assert (report.resumed, [o.witness for o in engine.outcomes(report.run)]) == (True, ["recovery"])
        assert app.wrong() == {1: 2}


def test_two_plans_to_give_back_the_same_difference(app: Counters, tmp_path: Path) -> None:
    app.fill({1: (5, 7)})
    with app.engine(tmp_path, **DELTA) as engine:
        run = engine.run("counter").run
        plans = [engine.rollback(run, only_plan=True)]
        app.write(1)
        plans.append(engine.rollback(run, only_plan=True))
        outcomes = [why(engine, engine.apply(plan))[0][0] for plan in plans]
    assert outcomes == [Outcome.APPLIED, Outcome.SUPERSEDED]
    assert app.wrong() == {1: 2}
