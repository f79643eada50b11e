"""check, run, plan, apply, show: what is answered, what is written, and the exit code."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.cli.shop import Shop

#: One row of each kind of drift beside rows that are right.
SOURCE = [(1, 10), (2, 20), (3, 30), (5, 50)]
TARGET = [(1, 10), (2, 99), (4, 40), (5, 50)]
RIGHT = [(1, 10, None), (2, 20, None), (3, 30, None), (5, 50, None)]

#: The contract with users: INTERFACE.md, "Commands".
FIELDS = {
    "projection": str,
    "run": str,
    "verdict": str,
    "guarantee": str,
    "strategy": str,
    "source_rows": int,
    "target_rows": int,
    "missing": int,
    "extra": int,
    "different": int,
    "in_flight": int,
    "resolved": int,
    "accepted": int,
    "repaired": int,
    "quarantined": int,
    "different_by_column": dict,
    "duplicate_keys": dict,
    "null_keys": dict,
    "segments": dict,
    "seconds": float,
    "drift": list,
}


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    shop.declare(on_extra="delete")
    shop.fill(SOURCE, TARGET)
    return shop


# --- check -----------------------------------------------------------------------------------------------------------


def test_in_sync_is_zero(shop: Shop) -> None:
    shop.fill(SOURCE, SOURCE)
    ran = shop.run("check", "p", "--json")
    assert ran.code == 0
    assert ran.json["verdict"] == "in_sync"
    assert (ran.report["source_rows"], ran.report["target_rows"], ran.report["drift"]) == (4, 4, [])


def test_drift_is_one_and_the_document_is_the_contract(drifted: Shop) -> None:
    ran = drifted.run("check", "--json")
    assert ran.code == 1
    assert ran.json["verdict"] == "drift"
    report = ran.report
    for name, kind in FIELDS.items():
        assert isinstance(report[name], kind), name
    assert {key: report[key] for key in ("missing", "extra", "different")} == {"missing": 1, "extra": 1, "different": 1}
    assert report["different_by_column"] == {"n": 1}
    assert report["duplicate_keys"] == report["null_keys"] == {"source": 0, "target": 0}
    assert report["segments"] == {"planned": 1, "done": 1}
    assert report["guarantee"] == "EXACT"
    assert (report["projection"], report["verdict"]) == ("p", "drift")
    rows = {row["kind"]: row for row in report["drift"]}
    assert rows["different"]["key"] == {"id": 2}
    assert rows["different"]["expected"] == {"n": 20, "email": None}
    assert rows["different"]["observed"] == {"n": 99, "email": None}
    assert (rows["missing"]["key"], rows["missing"]["observed"]) == ({"id": 3}, None)
    assert (rows["extra"]["key"], rows["extra"]["expected"]) == ({"id": 4}, None)


def test_check_writes_nothing(drifted: Shop) -> None:
    before = (drifted.folder / "app.db").read_bytes()
    assert drifted.run("check").code == 1
    assert (drifted.folder / "app.db").read_bytes() == before


def test_two_projections_are_one_document_and_the_worst_exit_code(drifted: Shop) -> None:
    drifted.sql("CREATE TABLE copy AS SELECT * FROM src")
    drifted.declare("q", target={"database": "app", "table": "copy"})
    ran = drifted.run("check", "--json")
    assert ran.code == 1
    assert {report["projection"]: report["verdict"] for report in ran.json["projections"]} == {
        "p": "drift",
        "q": "in_sync",
    }
    assert drifted.run("check", "q").code == 0


def test_rows_bounds_the_list_and_not_the_counts(shop: Shop) -> None:
    shop.fill([(n, n) for n in range(150)], [(n, -1) for n in range(150)])

    def listed(*arguments: str) -> int:
        report = shop.run("check", "--json", *arguments).report
        assert report["different"] == 150
        return len(report["drift"])

    assert listed() == 100
    assert listed("--rows", "7") == 7
    assert listed("--rows", "0") == 150


@pytest.mark.parametrize(
    "arguments", [("check", "--rows", "-1"), ("drift", "p", "--rows", "-1"), ("runs", "--limit", "-1")]
)
def test_a_negative_number_of_rows_is_refused(drifted: Shop, arguments: tuple[str, ...]) -> None:
    assert drifted.run(*arguments).code == 2


# --- --key -----------------------------------------------------------------------------------------------------------


def test_one_key(drifted: Shop) -> None:
    ran = drifted.run("check", "p", "--key", "id=2", "--json")
    assert ran.code == 1
    assert [row["key"] for row in ran.report["drift"]] == [{"id": 2}]
    assert (ran.report["source_rows"], ran.report["target_rows"]) == (1, 1)
    assert drifted.run("check", "p", "--key", "id=1").code == 0
    assert len(drifted.run("check", "p", "--key", "id=2", "--key", "id=3", "--json").report["drift"]) == 2


def test_run_with_a_key_repairs_that_row_only(drifted: Shop) -> None:
    ran = drifted.run("run", "p", "--key", "id=2", "--json")
    assert (ran.code, ran.json["verdict"], ran.report["repaired"]) == (0, "repaired", 1)
    assert drifted.target == [(1, 10, None), (2, 20, None), (4, 40, None), (5, 50, None)]


def test_a_composite_key_and_commas_in_its_values(shop: Shop) -> None:
    table = "CREATE TABLE {} (tenant TEXT NOT NULL, id INTEGER NOT NULL, n INTEGER, PRIMARY KEY (tenant, id))"
    shop.sql(table.format("a"), table.format("b"))
    shop.sql("INSERT INTO a VALUES ('x', 1, 1), ('x,y=z', 1, 2), ('x', 2, 3)")
    shop.declare(
        source={"database": "app", "table": "a"}, target={"database": "app", "table": "b"}, key=["tenant", "id"]
    )

    def missing(text: str) -> list[Any]:
        return [row["key"] for row in shop.run("check", "p", "--key", text, "--json").report["drift"]]

    assert missing("tenant=x,id=1") == [{"tenant": "x", "id": 1}]
    assert missing("id=2,tenant=x") == [{"tenant": "x", "id": 2}]
    assert missing("tenant=y,id=1") == []


@pytest.mark.parametrize("column", ["id", "lower(id)", "CAST(id AS INTEGER)"])
def test_digits_are_found_whatever_they_are(shop: Shop, column: str) -> None:
    """SQLite does not say what a query returns: 42 may be a number or text, and neither may be taken for absent."""
    shop.sql(
        "CREATE TABLE a (id TEXT, n INTEGER)",
        "CREATE TABLE b (id TEXT, n INTEGER)",
        "INSERT INTO a VALUES ('42', 1), ('43', 1)",
        "INSERT INTO b VALUES ('42', 2), ('43', 1)",
    )
    sides = {
        role: {"database": "app", "query": f"SELECT {column} AS id, n FROM {table}"}
        for role, table in (("source", "a"), ("target", "b"))
    }
    shop.declare(**sides, settle="0s")
    ran = shop.run("check", "p", "--key", "id=42", "--json")
    assert (ran.code, ran.report["source_rows"], ran.report["different"]) == (1, 1, 1)
    ran = shop.run("check", "p", "--key", "id=43", "--json")
    assert (ran.code, ran.report["source_rows"]) == (0, 1)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("idd=2", "did you mean 'id'?"),
        ("id=two", "'two'"),
        ("2", "NAME=VALUE"),
        ("=2", "NAME=VALUE"),
        ("", "NAME=VALUE"),
        ("id=1,n=2", "'n' is not part of the key"),
    ],
)
def test_a_wrong_key_is_two_and_says_why(drifted: Shop, key: str, words: str) -> None:
    ran = drifted.run("check", "p", "--key", key)
    assert ran.code == 2
    assert words in ran.err
    assert ran.out == ""


def test_a_key_belongs_to_one_projection(drifted: Shop) -> None:
    drifted.declare("q")
    assert drifted.run("check", "--key", "id=1").code == 2


def test_a_composite_key_needs_all_its_parts(shop: Shop) -> None:
    shop.declare(key=["id", "n"])
    ran = shop.run("check", "p", "--key", "id=1")
    assert ran.code == 2
    assert "the key lacks n" in ran.err


# --- numbers and text ------------------------------------------------------------------------------------------------


def test_numbers_that_json_cannot_hold_are_strings(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, big INTEGER, small INTEGER, exact NUMERIC)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, big INTEGER, small INTEGER, exact NUMERIC)",
        f"INSERT INTO a VALUES (1, {2**53 + 1}, {2**53}, 0.1), ({2**60}, 0, 0, 0)",
        f"INSERT INTO b VALUES (1, {2**53}, 7, 0.25)",
    )
    shop.declare(source={"database": "app", "table": "a"}, target={"database": "app", "table": "b"})
    ran = shop.run("check", "--json")
    rows = {row["kind"]: row for row in ran.report["drift"]}
    assert rows["missing"]["key"] == {"id": str(2**60)}
    different = rows["different"]
    assert (different["expected"]["big"], different["observed"]["big"]) == (str(2**53 + 1), 2**53)
    assert different["expected"]["small"] == 2**53
    assert isinstance(different["expected"]["exact"], str)
    assert Decimal(different["expected"]["exact"]) == Decimal("0.1")
    # The counts and nothing else are what a reader with doubles sees, too.
    assert json.loads(ran.out, parse_int=float) == json.loads(ran.out)


def test_text_of_any_kind_arrives_whole(shop: Shop) -> None:
    odd = 'é [bold]x[/bold] \u2028 " \\ 語 {n}'
    shop.fill([(1, 1, odd)], [(1, 1, "x")])
    assert shop.run("check", "--json").report["drift"][0]["expected"]["email"] == odd
    assert "[bold]x[/bold]" in shop.run("check").out


def test_nothing_is_truncated_or_coloured_where_nobody_watches(shop: Shop) -> None:
    long = "x" * 700
    shop.fill([(1, 1, long)], [(1, 1, "short")])
    ran = shop.run("check")
    assert long in ran.out
    for name in ("status", "runs", "explain"):
        shown = shop.run(name, *(["p"] if name == "explain" else []))
        assert "\x1b" not in shown.out
        assert "…" not in shown.out
    assert "\x1b" not in ran.out + ran.err


def test_every_row_is_one_line(shop: Shop) -> None:
    """So that `grep` and `awk` work on it."""
    shop.fill([(n, n, "y" * 150) for n in range(3)], [(n, n, "z" * 150) for n in range(3)])
    lines = [line for line in shop.run("check").out.splitlines() if "id=" in line]
    assert len(lines) == 3
    assert all("y" * 150 in line and "z" * 150 in line for line in lines)


def test_progress_goes_to_stderr_only(shop: Shop) -> None:
    shop.declare(settle="100ms")
    shop.fill(SOURCE, TARGET)
    ran = shop.run("check", "--json")
    assert "looking again" in ran.err
    assert ran.json["verdict"] == "drift"


# --- run -------------------------------------------------------------------------------------------------------------


def test_run_repairs_verifies_and_is_zero(drifted: Shop) -> None:
    ran = drifted.run("run", "p", "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "repaired")
    assert (ran.report["repaired"], ran.report["left"]) == (3, 0)
    assert {row["outcome"] for row in ran.report["drift"]} == {"applied"}
    assert drifted.target == RIGHT
    again = drifted.run("run", "p", "--json")
    assert (again.code, again.json["verdict"], again.report["repaired"]) == (0, "in_sync", 0)


def test_what_the_policy_only_reports_stays_drift(shop: Shop) -> None:
    shop.fill(SOURCE, TARGET)  # on_extra: report, by default
    ran = shop.run("run", "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "drift")
    assert (ran.report["repaired"], ran.report["left"]) == (2, 1)
    assert [row["kind"] for row in ran.report["drift"] if "reason" in row] == ["extra"]
    assert (4, 40, None) in shop.target


def test_absent_values_are_reset_and_agree(shop: Shop) -> None:
    shop.declare(columns=["n"], absent={"n": 0})
    shop.fill([(1, 1), (2, 2)], [(1, 1), (2, 2), (3, 0), (4, 9)])
    ran = shop.run("run", "--json")
    assert (ran.code, ran.report["extra"], ran.report["repaired"]) == (0, 1, 1)
    assert shop.target == [(1, 1, None), (2, 2, None), (3, 0, None), (4, 0, None)]


def test_a_row_that_the_database_refuses_is_left_with_its_reason(shop: Shop) -> None:
    shop.sql("CREATE TRIGGER no BEFORE UPDATE ON tgt WHEN old.id = 2 BEGIN SELECT RAISE(ABORT, 'not this one'); END")
    shop.fill([(1, 1), (2, 2), (3, 3)], [(1, 0), (2, 0), (3, 0)])
    shop.declare(limits={"share": "100%"})
    ran = shop.run("run", "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "drift")
    assert (ran.report["repaired"], ran.report["left"]) == (2, 1)
    assert shop.target == [(1, 1, None), (2, 0, None), (3, 3, None)]
    assert "not this one" in shop.run("drift", "p").out


# --- guards ----------------------------------------------------------------------------------------------------------


def unchanged_after(shop: Shop, *arguments: str) -> Any:
    before = shop.target
    ran = shop.run(*arguments, "--json")
    assert (ran.code, ran.json["verdict"]) == (4, "refused")
    assert shop.target == before
    return ran.report["reason"]


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_collapsed_source_is_four_and_nothing_is_written(shop: Shop, command: str) -> None:
    shop.declare(on_extra="delete", limits={"share": "100%", "rows": 10000, "deletes": 10000})
    shop.fill([], [(n, n) for n in range(20)])
    reason = unchanged_after(shop, command, "p")
    assert "source collapsed: it returned 0 rows, against 20" in reason


def test_a_source_that_shrank_since_the_last_complete_run(shop: Shop) -> None:
    full = [(n, n) for n in range(40)]
    shop.declare(on_extra="delete", limits={"share": "100%", "rows": 10000, "deletes": 10000})
    shop.fill(full, full)
    assert shop.run("check").code == 0
    shop.fill(full[:19], full)
    assert "against 40 at the last complete run" in unchanged_after(shop, "run", "p")
    shop.fill(full[:20], full)  # exactly half
    assert shop.run("run").code == 0


def test_the_collapse_guard_can_be_lifted_for_one_run(shop: Shop) -> None:
    shop.fill([], [(1, 1)])
    shop.declare(on_extra="delete", limits={"collapse": "0%"})
    assert shop.run("run").code == 0
    assert shop.target == []


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"rows": 2}, "limits.rows = 2"),
        ({"deletes": 0}, "limits.deletes = 0"),
    ],
)
def test_limits_are_four_and_nothing_is_written(drifted: Shop, limits: dict[str, Any], words: str) -> None:
    drifted.declare(on_extra="delete", limits=limits)
    assert words in unchanged_after(drifted, "run", "p")
    # What is refused is known all the same.
    assert drifted.run("check").code == 1


def test_a_share_is_four_and_nothing_is_written(shop: Shop) -> None:
    shop.fill([(n, n) for n in range(10)], [(n, n if n > 2 else -1) for n in range(10)])
    shop.declare(limits={"share": "20%", "share_from": 3})
    assert "limits.share = 20.0%" in unchanged_after(shop, "run", "p")
    shop.declare(limits={"share": "30%", "share_from": 3})
    assert shop.run("run").code == 0


def test_report_only_writers_are_refused(drifted: Shop) -> None:
    drifted.declare(writers="increments", settle="0s")
    ran = drifted.run("run", "p")
    assert ran.code == 4
    assert "REPORT-ONLY" in ran.err
    assert drifted.run("check", "p").code == 1
    assert sorted(drifted.target) == sorted((*row, None) for row in TARGET)


# --- plan, show, apply -----------------------------------------------------------------------------------------------


def planned(shop: Shop) -> str:
    ran = shop.run("plan", "p", "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "drift")
    assert len(ran.report["plan_hash"]) == 64
    return str(ran.report["plan"])


def test_a_plan_is_shown_and_carried_out(drifted: Shop) -> None:
    before = drifted.target
    plan = planned(drifted)
    assert drifted.target == before
    shown = drifted.run("show", plan, "--json").json
    assert (shown["plan"], shown["plan_state"], shown["rows"]) == (plan, "ready", 3)
    changes = {row["action"]: row for row in shown["changes"]}
    assert set(changes) == {"insert", "update", "delete"}
    assert changes["update"]["before"] == {"n": 99, "email": None}
    assert changes["update"]["after"] == {"n": 20, "email": None}
    assert set(shown["statements"]) == {"insert", "update", "delete"}
    assert shown["statements"]["update"].startswith("UPDATE tgt SET")
    text = drifted.run("show", plan).out
    assert "n=99" in text
    assert f"trueup apply {plan}" in text
    ran = drifted.run("apply", plan, "--json")
    assert (ran.code, ran.json["verdict"], ran.report["repaired"]) == (0, "repaired", 3)
    assert drifted.target == RIGHT
    shown = drifted.run("show", ran.report["run"], "--json").json
    assert {row["outcome"] for row in shown["changes"]} == {"applied"}
    assert drifted.run("show", plan, "--json").json["plan_state"] == "applied"


def test_a_plan_is_applied_once(drifted: Shop) -> None:
    plan = planned(drifted)
    assert drifted.run("apply", plan).code == 0
    drifted.fill(SOURCE, TARGET)
    again = drifted.run("apply", plan)
    assert again.code == 4
    assert "applied already" in again.err
    assert (4, 40, None) in drifted.target


def test_rows_that_moved_since_the_plan_are_left_and_listed(drifted: Shop) -> None:
    plan = planned(drifted)
    drifted.sql("UPDATE tgt SET n = 77 WHERE id = 2")  # somebody wrote it: wrong, but not what was approved
    drifted.sql("UPDATE src SET n = 33 WHERE id = 3")  # the source moved on: the plan's value is stale
    ran = drifted.run("apply", plan, "--json")
    assert (ran.code, ran.json["verdict"]) == (1, "drift")
    assert ran.report["stepped_aside"] == 2
    assert ran.report["repaired"] == 1  # the delete
    assert drifted.target == [(1, 10, None), (2, 77, None), (5, 50, None)]
    outcomes = {row["key"]["id"]: row["outcome"] for row in ran.report["drift"]}
    assert outcomes == {2: "cas_lost", 3: "cas_lost", 4: "applied"}
    assert (
        "stepped aside" in drifted.run("show", ran.report["run"]).out
        or "cas_lost" in drifted.run("show", ran.report["run"]).out
    )


def test_a_row_that_was_put_right_since_the_plan_is_no_drift(drifted: Shop) -> None:
    plan = planned(drifted)
    drifted.fill(SOURCE, SOURCE)
    ran = drifted.run("apply", plan, "--json")
    assert ran.code == 0
    assert (ran.report["repaired"], ran.report["stepped_aside"]) == (0, 3)


@pytest.mark.parametrize(
    "changes",
    [{"on_extra": "report"}, {"columns": ["n"]}, {"source": {"database": "app", "query": "SELECT * FROM src"}}],
)
def test_a_plan_of_another_definition_is_refused(drifted: Shop, changes: dict[str, Any]) -> None:
    plan = planned(drifted)
    drifted.declare(**({"on_extra": "delete"} | changes))
    ran = drifted.run("apply", plan)
    assert ran.code == 4
    assert "changed since" in ran.err
    assert sorted(drifted.target) == sorted((*row, None) for row in TARGET)


def test_limits_and_words_are_not_the_definition(drifted: Shop) -> None:
    plan = planned(drifted)
    drifted.declare(on_extra="delete", description="other words", owner="x", limits={"rows": 5})
    assert drifted.run("apply", plan).code == 0


def test_a_plan_whose_rows_were_tampered_with_is_refused(drifted: Shop) -> None:
    plan = planned(drifted)
    drifted.sql("UPDATE trueup_decisions SET after = '[1000000, null]' WHERE action = 'update'", database="trueup")
    ran = drifted.run("apply", plan)
    assert ran.code == 4
    assert (2, 99, None) in drifted.target


def test_a_plan_of_nothing(shop: Shop) -> None:
    shop.fill(SOURCE, SOURCE)
    ran = shop.run("plan", "p", "--json")
    assert (ran.code, ran.json["verdict"]) == (0, "in_sync")
    assert shop.run("apply", ran.report["plan"]).code == 0


@pytest.mark.parametrize("arguments", [("apply", "p-0"), ("show", "p-0"), ("show", "r-0")])
def test_a_plan_or_run_that_is_not_there(shop: Shop, arguments: tuple[str, ...]) -> None:
    ran = shop.run(*arguments)
    assert ran.code == 2
    assert "there is no" in ran.err
