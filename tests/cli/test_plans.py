"""approve, plans, and runs that leave a plan: who may permit what, how it is refused, and what is then written."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.shop import Ran, Shop

SOURCE = [(n, n) for n in range(1, 9)]
TARGET = [(n, 0) for n in range(1, 7)] + [(99, 9)]
RIGHT = [(n, n, None) for n in range(1, 9)]


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    declare(shop)
    shop.fill(SOURCE, TARGET)
    return shop


def declare(shop: Shop, **changes: Any) -> None:
    shop.declare(**{"on_extra": "delete", "limits": {"rows": 3}} | changes)


def identify(shop: Shop) -> None:
    """People are known by TRUEUP_ACTOR: all tests run under one account."""
    shop.settings = {"identity": "variable"}
    shop.write()


def as_(person: str) -> dict[str, str]:
    return {"TRUEUP_ACTOR": person}


def left(ran: Ran) -> str:
    """The plan that a refused run leaves."""
    assert (ran.code, ran.json["verdict"]) == (4, "refused")
    plan = str(ran.report["plan"])
    assert f"trueup approve {plan} --reason" in ran.report["reason"]
    return plan


def ledger(shop: Shop, statement: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(shop.folder / "trueup.db")) as c, c:
        return c.execute(statement).fetchall()


# --- beyond the limits -----------------------------------------------------------------------------------------------


def test_a_run_beyond_its_limits_leaves_a_plan_that_can_be_approved(drifted: Shop) -> None:
    before = drifted.target
    plan = left(drifted.run("run", "p", "--json"))
    assert drifted.target == before
    refused = drifted.run("apply", plan)
    assert refused.code == 4
    assert "needs 1 approval" in refused.err
    assert "limits.rows = 3" in refused.err
    said = drifted.run("approve", plan, "--reason", "ticket 7", "--json")
    assert (said.code, said.json["plan_state"], said.json["approvals"]) == (0, "ready", 1)
    (row,) = said.json["said"]
    assert (row["reason"], row["actor_by"]) == ("ticket 7", "os")
    assert row["actor"]
    assert row["host"]
    ran = drifted.run("apply", plan, "--json")
    assert (ran.code, ran.report["repaired"]) == (0, 9)
    assert drifted.target == RIGHT
    assert [row["plan_state"] for row in drifted.run("plans", "p", "--json").json["plans"]] == ["applied"]


def test_what_was_approved_is_a_ceiling(drifted: Shop) -> None:
    """Rows that are new since, moved since, or mean something else by now are not touched."""
    plan = left(drifted.run("run", "p", "--json"))
    drifted.run("approve", plan, "--reason", "go")
    drifted.sql("UPDATE tgt SET n = 55 WHERE id = 1", "UPDATE src SET n = 22 WHERE id = 2")
    drifted.sql("INSERT INTO src VALUES (50, 50, NULL)")
    ran = drifted.run("apply", plan, "--json")
    assert (ran.code, ran.report["repaired"], ran.report["left"]) == (1, 7, 2)
    rows = dict(row[:2] for row in drifted.target)
    assert (rows[1], rows[2], 50 in rows) == (55, 0, False)
    assert [row["key"] for row in ran.report["drift"] if row["outcome"] == "cas_lost"] == [{"id": 1}, {"id": 2}]


def test_a_run_that_comes_back_leaves_one_plan(drifted: Shop) -> None:
    first = left(drifted.run("run", "p", "--json"))
    assert left(drifted.run("run", "p", "--json")) == first
    drifted.run("approve", first, "--reason", "go")
    ran = drifted.run("run", "p", "--json")
    assert (ran.code, ran.report["plan"]) == (4, first)
    assert f"may be applied: trueup apply {first}" in ran.report["reason"]
    drifted.sql("UPDATE tgt SET n = 5 WHERE id = 1")
    assert left(drifted.run("run", "p", "--json")) != first


def test_a_plan_within_the_limits_needs_nobody(drifted: Shop) -> None:
    declare(drifted, limits={"rows": 100})
    ran = drifted.run("plan", "p", "--json")
    assert ran.code == 1
    plan = ran.report["plan"]
    refused = drifted.run("approve", plan, "--reason", "go")
    assert (refused.code, "needs no approval" in refused.err) == (4, True)
    declare(drifted, limits={"rows": 3})  # lowered meanwhile: now it does
    assert drifted.run("apply", plan).code == 4
    declare(drifted, limits={"rows": 100})
    assert drifted.run("apply", plan).code == 0


def test_deletes_have_a_cap_of_their_own(drifted: Shop) -> None:
    declare(drifted, limits={"rows": 100, "deletes": 0})
    ran = drifted.run("run", "p", "--json")
    left(ran)
    assert "1 rows would be deleted; limits.deletes = 0" in ran.report["reason"]


def test_limits_of_a_day_count_all_runs(drifted: Shop) -> None:
    declare(drifted, limits={"rows": 100, "daily": 10})
    assert drifted.run("run", "p", "--json").report["repaired"] == 9
    drifted.sql("UPDATE tgt SET n = 0 WHERE id < 3")
    ran = drifted.run("run", "p", "--json")
    plan = left(ran)
    assert "2 rows would be changed, and 9 were within the last 24 hours; limits.daily = 10" in ran.report["reason"]
    assert drifted.run("run", "p", "--key", "id=1").code == 0
    assert drifted.run("run", "p", "--key", "id=2").code == 4
    drifted.run("approve", plan, "--reason", "go")
    assert drifted.run("apply", plan, "--json").report["repaired"] == 1


def test_limits_of_a_day_hold_for_plans_that_were_made_before(drifted: Shop) -> None:
    declare(drifted, limits={"rows": 100, "daily": 10})
    plan = drifted.run("plan", "p", "--json").report["plan"]
    drifted.run("run", "p")
    drifted.fill(SOURCE, TARGET)
    refused = drifted.run("apply", plan)
    assert (refused.code, "limits.daily = 10" in refused.err) == (4, True)
    assert drifted.run("approve", plan, "--reason", "go").code == 0
    assert drifted.run("apply", plan).code == 0


# --- approval = one, two ---------------------------------------------------------------------------------------------


def test_one_approval_for_everything(drifted: Shop) -> None:
    declare(drifted, limits={"rows": 100}, approval="one")
    ran = drifted.run("run", "p", "--json")
    plan = left(ran)
    assert 'approval = "one"' in ran.report["reason"]
    assert drifted.run("approve", plan, "--reason", "go").code == 0
    assert drifted.run("apply", plan).code == 0
    assert drifted.run("run", "p").code == 0  # nothing to write: nothing to approve


def test_two_people_and_neither_is_the_one_who_asked(drifted: Shop) -> None:
    identify(drifted)
    declare(drifted, approval={"within": "none", "beyond": "two"})
    plan = left(drifted.run("run", "p", "--json", environment=as_("Ann")))
    own = drifted.run("approve", plan, "--reason", "mine", environment=as_("ann "))
    assert (own.code, "asked for it" in own.err) == (4, True)
    first = drifted.run("approve", plan, "--reason", "looks right", environment=as_("bob"))
    assert (first.code, "approvals: 1 of 2" in first.out) == (0, True)
    twice = drifted.run("approve", plan, "--reason", "again", environment=as_("BOB"))
    assert (twice.code, "approved it already" in twice.err) == (4, True)
    assert drifted.run("apply", plan, environment=as_("Ann")).code == 4
    assert drifted.run("approve", plan, "--reason", "yes", environment=as_("cem")).code == 0
    assert drifted.run("apply", plan, environment=as_("Ann")).code == 0
    shown = drifted.run("show", plan, environment=as_("ann")).out
    assert "approved by bob (variable)" in shown
    # Few enough rows need nobody.
    drifted.sql("UPDATE tgt SET n = 0 WHERE id = 1")
    assert drifted.run("run", "p", environment=as_("Ann")).code == 0


def test_nobody_in_particular_may_not_ask(drifted: Shop) -> None:
    identify(drifted)
    ran = drifted.run("run", "p")
    assert (ran.code, "TRUEUP_ACTOR" in ran.err) == (2, True)


def test_the_account_is_no_environment_variable(drifted: Shop) -> None:
    plan = left(drifted.run("run", "p", "--json", environment={"USER": "x", "LOGNAME": "x", "TRUEUP_ACTOR": "x"}))
    drifted.run("approve", plan, "--reason", "go", environment={"USER": "y", "LOGNAME": "y", "TRUEUP_ACTOR": "y"})
    assert not {"x", "y"} & {name for (name,) in ledger(drifted, "SELECT actor FROM trueup_approvals")}
    assert not {"x", "y"} & {name for (name,) in ledger(drifted, "SELECT requester FROM trueup_plans")}


# --- no --------------------------------------------------------------------------------------------------------------


def test_a_rejected_plan_is_over(drifted: Shop) -> None:
    plan = left(drifted.run("run", "p", "--json"))
    drifted.run("approve", plan, "--reason", "go")
    assert drifted.run("approve", plan, "--reject", "--reason", "wrong source").code == 0
    for command in (("apply", plan), ("approve", plan, "--reason", "go")):
        refused = drifted.run(*command)
        assert (refused.code, "rejected" in refused.err) == (4, True)
    assert left(drifted.run("run", "p", "--json")) != plan


def test_what_expired_is_over(drifted: Shop) -> None:
    plan = left(drifted.run("run", "p", "--json"))
    drifted.run("approve", plan, "--reason", "go")
    ledger(drifted, "UPDATE trueup_approvals SET expires_at = '2020-01-01 00:00:00.000000'")
    refused = drifted.run("apply", plan)
    assert (refused.code, "has 0" in refused.err) == (4, True)
    ledger(drifted, "UPDATE trueup_plans SET expires_at = '2020-01-01 00:00:00.000000'")
    for command in (("apply", plan), ("approve", plan, "--reason", "go")):
        refused = drifted.run(*command)
        assert (refused.code, "expired at 2020-01-01" in refused.err) == (4, True)


@pytest.mark.parametrize("command", ["approve", "apply"])
def test_a_plan_whose_rows_were_changed_is_refused(drifted: Shop, command: str) -> None:
    plan = left(drifted.run("run", "p", "--json"))
    if command == "apply":
        drifted.run("approve", plan, "--reason", "go")
    ledger(drifted, "UPDATE trueup_decisions SET after = replace(after, '3', '4')")
    refused = drifted.run(command, plan, *(("--reason", "go") if command == "approve" else ()))
    assert (refused.code, "not those that its hash was made of" in refused.err) == (4, True)
    assert drifted.target == sorted((*row, None) for row in TARGET)


def test_a_plan_of_another_declaration_is_refused(drifted: Shop) -> None:
    plan = left(drifted.run("run", "p", "--json"))
    declare(drifted, columns=["n"])
    refused = drifted.run("approve", plan, "--reason", "go")
    assert (refused.code, "declaration of p changed" in refused.err) == (4, True)


def test_words_about_plans_that_are_not_there_or_over(drifted: Shop) -> None:
    assert drifted.run("approve", "p-none", "--reason", "go").code == 2
    assert drifted.run("plans", "q").code == 2
    plan = left(drifted.run("run", "p", "--json"))
    assert drifted.run("approve", plan).code == 2
    assert drifted.run("approve", plan, "--reason", " ").code == 2
    drifted.run("approve", plan, "--reason", "go")
    drifted.run("apply", plan)
    late = drifted.run("approve", plan, "--reason", "go")
    assert (late.code, "applied already" in late.err) == (4, True)


# --- all at once -----------------------------------------------------------------------------------------------------


def test_stop_all(drifted: Shop) -> None:
    drifted.declare("q")
    assert drifted.run("stop").code == 2
    assert drifted.run("stop", "p", "--all").code == 2
    ran = drifted.run("stop", "--all", "--reason", "fire")
    assert (ran.code, ran.out.count("no write is in flight")) == (0, 2)
    for name in ("p", "q"):
        assert drifted.run("run", name).code == 4
        drifted.run("resume", name)
    assert drifted.run("run", "q", "--json").report["repaired"] == 8


def test_stop_all_goes_on_where_a_database_does_not_answer(drifted: Shop) -> None:
    """The others are stopped all the same, and the one that may not be is named."""
    drifted.databases["away"] = {"url": "sqlite:////nowhere/at/all.db"}
    drifted.declare("a", target={"database": "away", "table": "tgt"}, writers="absolute")
    ran = drifted.run("stop", "--all")
    assert (ran.code, "1 of 2 are stopped for certain" in ran.err, "a: " in ran.err) == (3, True, True)
    assert drifted.run("run", "p").code == 4
