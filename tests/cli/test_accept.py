"""accept, accepted: a difference that somebody answers for is counted, and not repaired, until it changes or ends."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.cli.shop import Ran, Shop

FOR = ("--reason", "a known gap", "--owner", "feed team", "--until", "2199-12-31")


@pytest.fixture
def drifted(shop: Shop) -> Shop:
    shop.fill([(1, 10), (2, 20), (3, 30)], [(1, 11), (2, 20), (4, 40)])
    return shop


def accept(shop: Shop, *keys: str) -> Ran:
    return shop.run("accept", "p", *(part for key in keys for part in ("--key", f"id={key}")), *FOR)


def counts(ran: Ran) -> tuple[Any, ...]:
    return ran.code, ran.report["accepted"], ran.report["different"] + ran.report["missing"] + ran.report["extra"]


def test_what_is_accepted_is_counted_and_not_repaired(drifted: Shop) -> None:
    assert accept(drifted, "1").code == 0
    assert counts(drifted.run("check", "p", "--json")) == (1, 1, 2)
    assert drifted.run("run", "p", "--key", "id=1", "--json").report["repaired"] == 0
    assert accept(drifted, "3", "4").code == 0
    ran = drifted.run("run", "p", "--json")
    assert (ran.json["verdict"], *counts(ran)) == ("in_sync", 0, 3, 0)
    assert drifted.target == [(1, 11, None), (2, 20, None), (4, 40, None)]
    assert "3 accepted" in drifted.run("check", "p").out
    assert drifted.run("drift", "p").code == 0


@pytest.mark.parametrize("change", ["UPDATE src SET n = 12 WHERE id = 1", "UPDATE tgt SET n = 12 WHERE id = 1"])
def test_another_pair_of_values_is_drift_again(drifted: Shop, change: str) -> None:
    accept(drifted, "1")
    drifted.sql(change)
    assert counts(drifted.run("check", "p", "--key", "id=1", "--json")) == (1, 0, 1)


def test_it_ends(drifted: Shop) -> None:
    accept(drifted, "1")
    with closing(sqlite3.connect(drifted.folder / "trueup.db")) as c, c:
        c.execute("UPDATE trueup_accepted SET until = '2020-01-01 00:00:00.000000'")
    assert counts(drifted.run("check", "p", "--key", "id=1", "--json")) == (1, 0, 1)
    (row,) = drifted.run("accepted", "p", "--json").json["accepted"]
    assert (row["state"], row["owner"], row["reason"], row["key"]) == ("expired", "feed team", "a known gap", {"id": 1})


def test_it_is_withdrawn(drifted: Shop) -> None:
    accept(drifted, "1")
    assert drifted.run("accept", "p", "--key", "id=1", "--withdraw", "--reason", "mended").code == 0
    assert counts(drifted.run("run", "p", "--key", "id=1", "--json")) == (0, 0, 1)
    assert [row["state"] for row in drifted.run("accepted", "--json").json["accepted"]] == ["withdrawn"]
    assert drifted.run("accept", "p", "--key", "id=1", "--withdraw", "--reason", "twice").code == 2


def test_a_plan_leaves_what_was_accepted_since(drifted: Shop) -> None:
    plan = drifted.run("plan", "p", "--json").report["plan"]
    accept(drifted, "1")
    ran = drifted.run("apply", plan, "--json")
    assert (ran.code, ran.report["repaired"]) == (1, 1)
    assert (1, 11, None) in drifted.target


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--key", "id=2", *FOR), "is not wrong now"),
        (("--key", "id=1", *FOR[:4], "--until", "2020-01-01"), "has passed"),
        (("--key", "id=1", *FOR[:4], "--until", "soon"), "write a day"),
        (("--key", "id=1", *FOR[:2], *FOR[4:]), "an owner"),
        (("--key", "id=1", "--reason", " ", *FOR[2:]), "a reason"),
        (("--key", "idd=1", *FOR), "did you mean"),
    ],
)
def test_what_is_not_accepted(drifted: Shop, arguments: tuple[str, ...], words: str) -> None:
    ran = drifted.run("accept", "p", *arguments)
    assert (ran.code, words in ran.err) == (2, True), ran.err
    assert drifted.run("accepted", "--json").json["accepted"] == []
