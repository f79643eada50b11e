"""What every store without tables must do, as a target and as a source: rows `(id, n)` beside an SQLite or PostgreSQL
table.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.stores import STORES, Store
from tests.conformance.worlds import SETUPS, UNLIMITED, EngineClock, Place
from trueup import Database, Projection, Side, Trueup, Verdict
from trueup.adapters import _sorting
from trueup.core.guarantee import Guarantee

TABLES = ("postgresql", "sqlite")
Opened = Callable[..., Trueup]


class Kept:
    """A table and a store, and the engine between them."""

    def __init__(self, table: Place, store: Store, folder: Path) -> None:
        self.table = table
        self.store = store
        self.folder = folder
        self.opened: list[Trueup] = []

    def app(self, *, reverse: bool = False, side: dict[str, Any] | None = None, **declared: Any) -> Trueup:
        """The engine with one projection `p`: from the table to the store, or the other way round."""
        table, store = Side(database="table", table="src"), self.store.side("store", **(side or {}))
        source, target = (store, table) if reverse else (table, store)
        defaults: dict[str, Any] = {"settle": 0, "writers": "absolute", "limits": UNLIMITED, "columns": "n"}
        app = Trueup(
            databases={"table": Database(url=self.table.url), "store": Database(url=self.store.url)},
            projections=[Projection(name="p", source=source, target=target, key="id", **(defaults | declared))],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
            clock=EngineClock(),
        )
        self.opened.append(app)
        return app

    def fill(self, source: dict[int, int], store: dict[int, int]) -> None:
        self.table.table("src", "id {integer} PRIMARY KEY, n {integer}", source.items())
        self.store.put(store.items())


@pytest.fixture(params=[(table, store) for store in STORES for table in TABLES], ids="-".join)
def kept(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[Kept]:
    table, store = request.param
    shutil.copy(new_ledger, tmp_path)
    make_table, urls = SETUPS[table]
    make_store, url = STORES[store]
    opened = Kept(make_table(request.getfixturevalue(urls).source), make_store(request.getfixturevalue(url)), tmp_path)
    yield opened
    for app in opened.opened:
        app.close()


def test_differences_are_found_in_order_whatever_order_the_store_has(kept: Kept) -> None:
    rows = {number: number * 2 for number in range(-50, 1500)}
    kept.fill(rows, (rows | {7: 8, 1000: 0, -3: 1, 5000: 1}))
    kept.store.drop(-50, 9, 1499)
    report = kept.app().check("p", rows=0)
    assert (report.verdict, report.source_rows, report.target_rows) == (Verdict.DRIFT, 1550, 1548)
    found = [(row["kind"], row["key"]["id"]) for row in report.drift]
    assert sorted(found) == [
        ("different", -3),
        ("different", 7),
        ("different", 1000),
        ("extra", 5000),
        ("missing", -50),
        ("missing", 9),
        ("missing", 1499),
    ]


def test_a_store_is_put_right(kept: Kept) -> None:
    rows = {number: number for number in range(1, 700)}
    kept.fill(rows, dict.fromkeys(range(1, 690), 0) | {900: 1})
    report = kept.app(on_extra="delete").run("p", rows=0)
    assert (report.verdict, report.guarantee) == (Verdict.REPAIRED, kept.store.guarantee)
    assert (report.repaired, report.left) == (700, 0)
    assert kept.store.rows() == rows


def test_a_store_can_be_the_source(kept: Kept) -> None:
    rows = {number: number for number in range(1, 30)}
    kept.fill({1: 1, 2: 0, 40: 1}, rows)
    report = kept.app(reverse=True, on_extra="delete").run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 29)
    assert kept.table.rows("src") == set(rows.items())


def test_explicit_keys(kept: Kept) -> None:
    kept.fill({1: 1, 2: 2, 3: 3}, {1: 5, 2: 5})
    report = kept.app().run("p", keys=[{"id": 2}, {"id": 3}, {"id": 4}])
    assert (report.repaired, report.missing, report.different) == (2, 1, 1)
    assert kept.store.rows() == {1: 5, 2: 2, 3: 3}


def test_a_run_is_undone_where_nobody_wrote_since(kept: Kept) -> None:
    kept.fill({1: 1, 2: 2, 3: 3, 4: 4}, {1: 5, 2: 5, 4: 4, 9: 9})
    app = kept.app(on_extra="delete")
    run = app.run("p").run
    assert kept.store.rows() == {1: 1, 2: 2, 3: 3, 4: 4}
    kept.store.put([(2, 7)])  # somebody else's by now
    report = app.rollback(run)
    assert (report.verdict, report.guarantee) == (Verdict.DRIFT, kept.store.guarantee)
    assert (report.repaired, report.left) == (3, 1)
    assert kept.store.rows() == {1: 5, 2: 7, 4: 4, 9: 9}
    assert app.rollback(run).repaired == 0
    assert (app.rollback(report.run).repaired, kept.store.rows()) == (3, {1: 1, 2: 7, 3: 3, 4: 4})


def test_increments_are_only_reported(kept: Kept) -> None:
    kept.fill({1: 1}, {1: 2})
    app = kept.app(writers="increments")
    assert app.explain("p").promise.guarantee is Guarantee.REPORT_ONLY
    assert app.check("p").different == 1


def test_rows_are_the_same_whether_they_fit_into_memory_or_not(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_sorting, "RUN_ROWS", 100)
    monkeypatch.setattr(_sorting, "BLOCK_ROWS", 7)
    rows = {number: number for number in range(1200)}
    kept.fill(rows, rows)
    report = kept.app().check("p")
    assert (report.verdict, report.target_rows) == (Verdict.IN_SYNC, 1200)
