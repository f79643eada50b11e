"""What a rollback takes on, and what it refuses: the engine's own part, on one database."""

from __future__ import annotations

import pytest

from tests.conformance.worlds import World
from trueup import Outcome, Refused, Verdict
from trueup.errors import UsageError

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {text}"
SOURCE = [(n, n * 10, f"row {n}") for n in range(1, 9)]
FEW = ("sqlite-alone",)
#: 1 is missing, 2 and 3 are different, 100 and 101 are extra.
TARGET = [(2, 0, "row 2"), (3, None, "ROW 3"), *SOURCE[3:], (100, 1, "above"), (101, 2, "above")]


@pytest.fixture
def repaired(world: World) -> World:
    world.tables(COLUMNS, SOURCE, TARGET)
    return world


def run(world: World, **declared: str) -> str:
    report = world.app(on_extra="delete", **declared).run("p")
    assert (report.verdict, world.target.rows("dst")) == (Verdict.REPAIRED, set(SOURCE))
    return report.run


def test_a_rollback_is_undone_like_any_run(repaired: World) -> None:
    app = repaired.app(on_extra="delete")
    undone = run(repaired)
    first = app.rollback(undone)
    assert (first.verdict, first.repaired, first.left) == (Verdict.REPAIRED, 5, 0)
    assert repaired.target.rows("dst") == {*TARGET}
    again = app.rollback(undone)
    assert (again.verdict, again.repaired, again.resolved) == (Verdict.IN_SYNC, 0, 5)
    back = app.rollback(first.run)
    assert (back.verdict, back.repaired) == (Verdict.REPAIRED, 5)
    assert repaired.target.rows("dst") == {*SOURCE}


def test_some_of_its_rows(repaired: World) -> None:
    undone = run(repaired)
    app = repaired.app(on_extra="delete")
    report = app.rollback(undone, keys=[{"id": 2}, {"id": 100}])
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
    assert repaired.target.rows("dst") == {*SOURCE} - {SOURCE[1]} | {TARGET[0], TARGET[-2]}
    with pytest.raises(UsageError, match="did not change the row 5"):
        app.rollback(undone, keys=[{"id": 5}])


def test_as_a_plan(repaired: World) -> None:
    undone = run(repaired)
    app = repaired.app(on_extra="delete")
    plan = app.rollback(undone, only_plan=True)
    assert (plan.verdict, plan.drifted) == (Verdict.DRIFT, 5)
    assert repaired.target.rows("dst") == {*SOURCE}
    repaired.target.sql("UPDATE dst SET b = 'mine' WHERE id = 3")
    report = app.apply(plan)
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 4, 1)
    assert {o.key[0]: o.outcome for o in app.outcomes(report.run)}[3] is Outcome.CAS_LOST
    with pytest.raises(Refused, match="applied already"):
        app.apply(plan)


def test_reset_rows_get_their_values_back(repaired: World) -> None:
    app = repaired.app(absent={"a": 0, "b": "none"})
    report = app.run("p")
    assert (100, 0, "none") in repaired.target.rows("dst")
    assert app.rollback(report.run).repaired == 5
    assert repaired.target.rows("dst") == {*TARGET}


def test_a_wrong_source_is_what_it_is_for(repaired: World) -> None:
    """The declaration of the source was wrong; it is mended, or its database is gone, before the run is undone."""
    undone = run(repaired)
    repaired.source.sql("ALTER TABLE src RENAME TO other")
    app = repaired.app(source="SELECT id, a, 'x' AS b FROM nowhere", on_extra="report")
    assert app.rollback(undone).repaired == 5
    assert repaired.target.rows("dst") == {*TARGET}


def test_only_where_it_wrote(repaired: World) -> None:
    undone = run(repaired)
    repaired.target.table("elsewhere", COLUMNS, SOURCE)
    with pytest.raises(Refused, match="written elsewhere now"):
        repaired.app(target="elsewhere", on_extra="delete").rollback(undone)
    repaired.target.sql("ALTER TABLE dst RENAME COLUMN b TO c")
    with pytest.raises(Refused, match="not what it was"):
        repaired.app(on_extra="delete").rollback(undone)


def test_what_wrote_nothing_is_not_undone(repaired: World) -> None:
    app = repaired.app(on_extra="delete")
    with pytest.raises(UsageError, match="changed no row"):
        app.rollback(app.check("p").run)
    with pytest.raises(UsageError, match="no run"):
        app.rollback("r-none")


def test_limits_hold_for_a_rollback_too(repaired: World) -> None:
    undone = run(repaired)
    app = repaired.app(on_extra="delete", limits={"rows": 4, "share": "100%"})
    report = app.rollback(undone)
    assert (report.verdict, report.exit_code) == (Verdict.REFUSED, 4)
    assert "limits.rows = 4" in report.reason
    assert repaired.target.rows("dst") == {*SOURCE}
    app.approve(report.plan, reason="undo it")
    assert app.apply(report.plan).repaired == 5
    assert repaired.target.rows("dst") == {*TARGET}
