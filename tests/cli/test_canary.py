"""A few rows first: the others follow when these are right, and are not touched otherwise."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from tests.cli.shop import Shop

SOURCE = [(n, n) for n in range(1, 21)]
TARGET = [(n, 0) for n in range(1, 21)]
WRONG = [(n, 0, None) for n in range(1, 21)]
#: The target does not keep what is written to it.
TRIGGER = "CREATE TRIGGER t AFTER UPDATE OF n ON tgt BEGIN UPDATE tgt SET n = 99 WHERE id = new.id; END"


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    shop.declare(limits={"rows": 100, "share": "100%"})
    shop.fill(SOURCE, TARGET)
    return shop


def stages(shop: Shop) -> list[tuple[str, int]]:
    """Stages of the last run that wrote, and rows in each."""
    with closing(sqlite3.connect(shop.folder / "trueup.db")) as c:
        rows = c.execute(
            "SELECT stage, sum(json_array_length(span, '$.keys')) FROM trueup_segments "
            "WHERE run = (SELECT run FROM trueup_units ORDER BY opened_at DESC LIMIT 1) "
            "AND stage IN ('canary', 'repair') GROUP BY stage ORDER BY stage"
        )
        return list(rows)


@pytest.mark.parametrize(("canary", "rows"), [("4", 4), ("10%", 2)])
def test_the_others_follow(drifted: Shop, canary: str, rows: int) -> None:
    ran = drifted.run("run", "p", "--canary", canary, "--json")
    assert (ran.code, ran.report["repaired"]) == (0, 20)
    assert drifted.target == [(n, n, None) for n in range(1, 21)]
    assert stages(drifted) == [("canary", rows), ("repair", 20 - rows)]


def test_the_others_are_not_touched(drifted: Shop) -> None:
    drifted.sql(TRIGGER)
    drifted.declare(limits={"rows": 100, "share": "100%"}, canary={"rows": 3})
    ran = drifted.run("run", "p", "--json")
    assert (ran.code, ran.json["verdict"], ran.report["repaired"], ran.report["left"]) == (4, "refused", 0, 20)
    assert "canary: 3 of 3 rows are wrong after their repair" in ran.report["reason"]
    assert f"trueup rollback {ran.report['run']}" in ran.report["reason"]
    assert drifted.target == WRONG
    assert stages(drifted) == [("canary", 3)]
    assert len(drifted.run("drift", "p", "--json").json["drift"]) == 20


def test_of_a_plan_and_of_a_rollback(drifted: Shop) -> None:
    plan = drifted.run("plan", "p", "--json").report["plan"]
    run = drifted.run("apply", plan, "--canary", "5", "--json").report["run"]
    assert stages(drifted) == [("canary", 5), ("repair", 15)]
    back = drifted.run("rollback", run, "--canary", "5", "--json")
    assert (back.code, back.report["repaired"], back.report["undoes"]) == (0, 20, run)
    assert stages(drifted) == [("canary", 5), ("repair", 15)]
    assert drifted.target == WRONG


def test_a_canary_that_had_moved_on_says_nothing(drifted: Shop) -> None:
    plan = drifted.run("plan", "p", "--json").report["plan"]
    drifted.sql("UPDATE tgt SET n = -1 WHERE id IN (1, 11)")
    ran = drifted.run("apply", plan, "--canary", "2", "--json")
    assert (ran.code, "none of its 2 rows could be written" in ran.report["reason"]) == (4, True)
    assert [row[1] for row in drifted.target] == [-1 if n in (1, 11) else 0 for n in range(1, 21)]


def test_all_rows_are_no_canary(drifted: Shop) -> None:
    assert drifted.run("run", "p", "--canary", "20").code == 0
    assert stages(drifted) == [("repair", 20)]


@pytest.mark.parametrize("canary", ["x", "0", "-1", "200%", ""])
def test_a_wrong_canary_is_two(drifted: Shop, canary: str) -> None:
    ran = drifted.run("run", "p", "--canary", canary)
    assert (ran.code, drifted.target) == (2, WRONG)
