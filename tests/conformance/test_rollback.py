"""A run is undone: rows go back as they were where nobody changed them since, on every database that is repaired."""

from __future__ import annotations

import pytest

from tests.conformance.worlds import World
from trueup import Verdict

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {text}"
SOURCE = [(n, n * 10, f"row {n}") for n in range(1, 9)]
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


@pytest.mark.every_pairing
def test_rows_go_back_where_nobody_changed_them_since(repaired: World) -> None:
    undone = run(repaired)
    repaired.target.sql("UPDATE dst SET a = 77 WHERE id = 2")  # was different, is somebody else's by now
    repaired.target.sql("INSERT INTO dst VALUES (101, 5, 'again')")  # was deleted, and somebody made it again
    app = repaired.app(on_extra="delete")
    report = app.rollback(undone)
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 3, 2)
    assert repaired.target.rows("dst") == {*TARGET} - {TARGET[0], TARGET[-1]} | {(2, 77, "row 2"), (101, 5, "again")}
    decided = {item.decision.drift.key[0]: item.decision.reason for item in app.decisions(report.run)}
    assert {key for key, reason in decided.items() if reason} == {2, 101}
    # What was put back is known to be wrong, and the next run repairs it.
    assert {row.drift.key[0] for row in app.drift("p")} == {1, 3, 100}
    assert app.run("p").repaired == 5
    assert repaired.target.rows("dst") == {*SOURCE}
