"""`trueup pace` says when a run that goes on will have read everything."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from trueup import Projection, Side, Trueup, views_serving
from trueup.cli.pace import _finish
from trueup.core.compare import Counts
from trueup.core.projection import Partition
from trueup.observe import Silent


class Watching(Silent):
    """Asks for a forecast at each segment that was read."""

    def __init__(self) -> None:
        self.engine: Trueup | None = None
        self.seen: list[dict[str, Any]] = []

    def narrowed(self, done: int, planned: int, counts: Counts) -> None:
        assert self.engine is not None
        self.seen += views_serving.forecasts(self.engine, "app")


def test_a_run_that_goes_on_is_forecast(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "app.db")) as connection, connection:
        for table in ("src", "tgt"):
            connection.execute(f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, tenant INTEGER NOT NULL)")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?)", [(n, n % 12) for n in range(60)])
    projection = Projection(
        name="p",
        source=Side(database="app", table="src"),
        target=Side(database="app", table="tgt"),
        key=["id"],
        partition=Partition(by="column", column="tenant"),
    )
    watching = Watching()
    databases = {"app": f"sqlite:///{tmp_path / 'app.db'}"}
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    with Trueup(databases=databases, projections=[projection], ledger=ledger, progress=watching) as engine:
        watching.engine = engine
        engine.check("p")
        assert views_serving.forecasts(engine, "app") == []  # nothing goes on any more
    done = [row["done"] for row in watching.seen]
    assert done == sorted(done)
    assert {row["planned"] for row in watching.seen} == {len(done)}
    assert watching.seen[0]["left_s"] is None
    assert "not known yet" in _finish(watching.seen[0])
    known = [row for row in watching.seen if row["left_s"]]
    assert len(known) >= 8
    assert known[-1]["left_s"] == (0.0, 0.0)
    assert "of 12 segments read, the last in" in _finish(known[0])
