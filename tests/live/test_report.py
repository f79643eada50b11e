"""What a report lists and what it keeps to itself: rows in flight, causes, and the words of a driver."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tests.live.harness import WIDE, Docs, QuickClock
from trueup import Projection, Side, Trueup, diff, views, views_causes
from trueup.core.compare import MASKED
from trueup.errors import TrueupError
from trueup.report import IN_FLIGHT_ROWS
from trueup.store.ledger import Ledger

SECRET = "canary-4711"


@pytest.fixture
def docs(sqlite_pair: Any) -> Docs:
    return Docs(sqlite_pair.source, sqlite_pair.target)


def moving(docs: Docs, rows: int) -> QuickClock:
    """In each pause the application changes every source row, and delivers none."""

    def change() -> None:
        docs.source.sql("UPDATE doc SET val = val + 1")

    for key in range(1, rows + 1):
        docs.put(docs.source, key, 1)
        docs.put(docs.target, key, 0)
    return QuickClock(change, change, change)


def test_rows_in_flight_are_listed_with_both_pairs(docs: Docs, tmp_path: Path) -> None:
    with docs.engine(tmp_path, clock=moving(docs, 3), settle="1s") as engine:
        report = engine.check("doc")
    assert (report.in_flight, report.drifted) == (3, 0)
    assert [(row["key"], row["observed"]) for row in report.in_flight_rows] == [
        ({"id": key}, {"val": 0}) for key in (1, 2, 3)
    ]
    assert all(row["expected"]["val"] > 1 for row in report.in_flight_rows)  # as it was at the last look
    assert report.to_dict()["in_flight_rows"] == report.in_flight_rows


def test_rows_in_flight_are_bounded_and_masked(docs: Docs, tmp_path: Path) -> None:
    rows = IN_FLIGHT_ROWS + 20
    with docs.engine(tmp_path, clock=moving(docs, rows), settle="1s", sensitive=["val"]) as engine:
        report = engine.check("doc")
    assert report.in_flight == rows
    assert len(report.in_flight_rows) == IN_FLIGHT_ROWS
    shown = {row[side]["val"] for row in report.in_flight_rows for side in ("expected", "observed")}
    assert shown == {MASKED}


def test_causes_are_in_the_report_and_in_what_is_known(docs: Docs, tmp_path: Path) -> None:
    for key in range(1, 31):
        docs.put(docs.source, key * 3, key * key * 100)
        docs.put(docs.target, key * 3, key * key * 100 + 1)
    with docs.engine(tmp_path) as engine:
        report = engine.check("doc", rows=1)
        known = views_causes.causes(engine, "doc")
    assert [cause["sentence"] for cause in report.causes] == ["all 30 rows: `val` is exactly 1 too high"]
    assert known == report.causes
    with docs.engine(tmp_path, sensitive=["val"]) as engine:
        assert engine.check("doc").causes == []
        assert views_causes.causes(engine, "doc") == []


@pytest.mark.parametrize("later", [{}, {"tolerance": {}, "nulls": {}}], ids=["as before", "declared otherwise since"])
def test_what_is_within_a_tolerance_is_not_told_of_what_is_known(
    sqlite_pair: Any, tmp_path: Path, later: dict[str, Any]
) -> None:
    """As it was declared when it was found, whatever is declared by now."""
    wrong = [(n, n * 10, n * 7, None) for n in range(20)]
    for url, rows in (
        (sqlite_pair.source, wrong),
        (sqlite_pair.target, [(n, a + 1, b + 3 * n + 1, 5) for n, a, b, _ in wrong]),
    ):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
            connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, c INTEGER)")
            connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", rows)
    sides = {name: Side(database=name, table="t") for name in ("source", "target")}
    found = {"tolerance": {"a": "1"}, "nulls": {"c": "unknown"}}

    def engine(**rules: Any) -> Trueup:
        projection = Projection(name="t", key=["id"], settle=0, **sides, **rules)
        ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
        return Trueup(databases=sqlite_pair._asdict(), projections=[projection], ledger=ledger)

    with engine(**found) as before:
        assert before.check("t").different_by_column == {"b": 20}
    with engine(**found | later) as now:
        assert {tuple(row["columns"]) for row in views.drift(now, "t")} == {("b",)}
        told = " ".join(cause["sentence"] for cause in views_causes.causes(now, "t"))
    assert "`b`" in told  # positive control
    assert "`a`" not in told
    assert "`c`" not in told


@pytest.mark.parametrize("sensitive", [[], ["n"]], ids=["control: nothing is sensitive", "sensitive"])
@pytest.mark.parametrize("command", ["check", "run"])
def test_a_driver_that_quotes_the_value_is_not_passed_on(
    postgres_pair: Any, tmp_path: Path, command: str, sensitive: list[str]
) -> None:
    source, target = Docs(postgres_pair.source, postgres_pair.target), tmp_path / "ledger.db"
    source.source.sql("CREATE TABLE src(id INT PRIMARY KEY, t TEXT)", f"INSERT INTO src VALUES (1, '{SECRET}')")
    source.target.sql("CREATE TABLE tgt(id INT PRIMARY KEY, n INT)", "INSERT INTO tgt VALUES (1, 1)")
    projection = Projection(
        name="p",
        source=Side(database="here", query="SELECT id, t::int AS n FROM src"),
        target=Side(database="there", table="tgt"),
        key="id",
        limits=WIDE,
        writers="versioned",
        sensitive=sensitive,
    )
    ledger = f"sqlite:///{target}"
    databases = {"here": postgres_pair.source, "there": postgres_pair.target}
    with Trueup(databases=databases, projections=[projection], ledger=ledger, clock=QuickClock()) as engine:
        report = getattr(engine, command)("p")
        told = report.to_json_text() + json.dumps([asdict(run) for run in engine.runs("p")], default=str)
        told += str(engine.quarantine("p"))
    assert report.quarantined == 1
    assert (SECRET in told) is not bool(sensitive)
    if sensitive:
        assert "sensitive columns" in report.reason
        assert SECRET.encode() not in target.read_bytes()


def test_outcomes_are_loaded_as_often_for_many_segments_as_for_one(
    docs: Docs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, loads = Ledger.outcomes, []
    monkeypatch.setattr(Ledger, "outcomes", lambda self, run: loads.append(run) or original(self, run))
    counted = []
    for rows in (3, 1_203):
        docs.source.sql("DELETE FROM doc")
        docs.target.sql("DELETE FROM doc")
        docs.source.sql(
            f"WITH RECURSIVE k(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM k WHERE n < {rows}) "
            f"INSERT INTO doc SELECT n, n FROM k"
        )
        loads.clear()
        with docs.engine(tmp_path) as engine:
            assert engine.run("doc").repaired == rows
        counted.append(len(loads))
    assert counted[0] == counted[1]


@pytest.mark.parametrize("sensitive", [(), ("n",)], ids=["control: nothing is sensitive", "sensitive"])
def test_a_diff_is_as_discreet(postgres_pair: Any, sensitive: tuple[str, ...]) -> None:
    sides = Docs(postgres_pair.source, postgres_pair.target)
    sides.source.sql("CREATE TABLE src(id INT PRIMARY KEY, t TEXT)", f"INSERT INTO src VALUES (1, '{SECRET}')")
    sides.target.sql("CREATE TABLE tgt(id INT PRIMARY KEY, n INT)", "INSERT INTO tgt VALUES (1, 1)")
    query = f"{postgres_pair.source}#SELECT id, t::int AS n FROM src"
    with pytest.raises(TrueupError) as caught:
        diff(query, f"{postgres_pair.target}#tgt", key=["id"], sensitive=sensitive)
    assert (SECRET in str(caught.value)) is not bool(sensitive)
