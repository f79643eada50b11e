"""Sensitive values are shown nowhere: no report, no list, no message, no error of the database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.shop import Ran, Shop

#: In every sensitive value, expected and observed, and in nothing else.
CANARY = "canary@example"
SOURCE = [(n, n, f"new-{n}-{CANARY}") for n in range(1, 30)]
TARGET = [(n, n, f"old-{n}-{CANARY}" if n < 4 else f"new-{n}-{CANARY}") for n in range(2, 31)]


@pytest.fixture
def secretive(shop: Shop) -> Shop:
    shop.fill(SOURCE, TARGET)
    shop.declare(sensitive=["email"], on_extra="delete")
    return shop


def silent(ran: Ran) -> Ran:
    assert CANARY not in ran.out
    assert CANARY not in ran.err
    return ran


def everything(shop: Shop) -> None:
    """Each command that shows anything, in both forms."""
    silent(shop.run("check"))
    checked = silent(shop.run("check", "--json", "--rows", "0"))
    if checked.code == 1:
        assert checked.report["different_by_column"].keys() <= {"email"}
    plan = silent(shop.run("plan", "p", "--json")).report.get("plan", "")
    silent(shop.run("plan", "p"))
    for form in ((), ("--json",)):
        for arguments in (("show", plan), ("drift", "p"), ("runs",), ("status",), ("explain", "p")):
            silent(shop.run(*arguments, *form))
    ran = silent(shop.run("run", "p", "--json"))
    for form in ((), ("--json",)):
        for arguments in (("show", ran.report["run"]), ("drift", "p"), ("runs",), ("status",)):
            silent(shop.run(*arguments, *form))


def test_in_everything_that_goes_well(secretive: Shop) -> None:
    everything(secretive)
    assert secretive.target == SOURCE


def test_that_they_differ_is_told(secretive: Shop) -> None:
    report = secretive.run("check", "--json").report
    assert report["different_by_column"] == {"email": 2}
    assert {row["kind"] for row in report["drift"]} == {"missing", "extra", "different"}
    # The key is what a person needs to go and look.
    assert {row["key"]["id"] for row in report["drift"]} == {1, 2, 3, 30}


TRIGGERS = {
    "the database says the value": "SELECT RAISE(ABORT, 'no')",
    "the value is changed on its way in": "UPDATE tgt SET email = 'mangled-{canary}' WHERE id = new.id",
}


@pytest.mark.parametrize("then", TRIGGERS.values(), ids=TRIGGERS)
def test_in_a_repair_that_fails(secretive: Shop, then: str) -> None:
    secretive.sql(
        f"CREATE TRIGGER no AFTER UPDATE OF email ON tgt WHEN old.id = 2 AND new.email NOT LIKE 'mangled%' "
        f"BEGIN {then.format(canary=CANARY)}; END"
    )
    everything(secretive)
    assert secretive.run("drift", "p").code == 1


def test_in_a_value_that_does_not_fit(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE a (id INTEGER PRIMARY KEY, n NUMERIC, email TEXT)",
        "CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, email TEXT)",
        "INSERT INTO a VALUES (1, 1234567.5, 'x')",
        "INSERT INTO b VALUES (1, 1, 'x')",
    )
    shop.declare(source={"database": "app", "table": "a"}, target={"database": "app", "table": "b"}, sensitive=["n"])
    for arguments in (("run", "p"), ("drift", "p"), ("runs",), ("drift", "p", "--json")):
        ran = shop.run(*arguments)
        assert "1234567" not in ran.out + ran.err
    assert "sensitive" in shop.run("drift", "p").out  # why there is no reason to be read


def test_in_a_refusal_of_a_constraint(shop: Shop) -> None:
    shop.sql(
        "CREATE TABLE b (id INTEGER PRIMARY KEY, n INTEGER, email TEXT UNIQUE, CHECK (email <> 'x-' || 'y'))",
        f"INSERT INTO b VALUES (7, 7, 'taken-{CANARY}')",
    )
    shop.sql(f"INSERT INTO src VALUES (7, 7, 'free-{CANARY}'), (8, 8, 'taken-{CANARY}')")
    shop.sql("UPDATE b SET n = 7")
    shop.declare(target={"database": "app", "table": "b"}, sensitive=["email"], limits={"share": "100%"})
    everything(shop)


@pytest.mark.parametrize(
    "changes",
    [{"sensitive": ["emial"]}, {"key": ["email"], "sensitive": ["email"]}],
    ids=["a name that is not there", "the key"],
)
def test_what_cannot_be_hidden_is_refused_and_not_shown(secretive: Shop, changes: dict[str, Any]) -> None:
    secretive.sql("CREATE UNIQUE INDEX u ON tgt (email)")
    secretive.declare(**changes)
    for command in ("check", "plan", "run"):
        ran = silent(secretive.run(command, "p"))
        assert ran.code == 2
        assert "sensitive" in ran.err


def test_a_sensitive_column_that_is_not_compared_is_fine(secretive: Shop) -> None:
    secretive.declare(columns=["n"], sensitive=["email"])
    assert silent(secretive.run("check", "--json")).code == 1
