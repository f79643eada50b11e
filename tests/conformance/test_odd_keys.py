"""Values that only SQLite holds in a column of their kind: told, and never passed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import duckdb
import pytest

from trueup import Database, Projection, Side, Trueup, Verdict
from trueup.errors import DesignProblem

ID = "00000000-0000-0000-0000-0000000000"


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_changed_row_whose_key_is_spelt_otherwise_is_not_taken_for_another(tmp_path: Path, opened: ExitStack) -> None:
    """It was extra by its mark, and a run deleted the right row."""
    values = ", ".join(f"('{ID}0{n}', 1, {n})" for n in range(5))
    sqlite(tmp_path / "a.db", "CREATE TABLE t (id text PRIMARY KEY, v int, m int)", f"INSERT INTO t VALUES {values}")
    with duckdb.connect(str(tmp_path / "b.db")) as b:
        b.execute(f"CREATE TABLE t (id uuid PRIMARY KEY, v int, m bigint); INSERT INTO t VALUES {values}")
    app = opened.enter_context(
        Trueup(
            databases={
                "a": Database(url=f"sqlite:///{tmp_path / 'a.db'}"),
                "b": Database(url=f"duckdb:///{tmp_path / 'b.db'}"),
            },
            projections=[
                Projection(
                    name="p",
                    source=Side(database="a", table="t"),
                    target=Side(database="b", table="t"),
                    key="id",
                    columns="v",
                    changes={"source": {"column": "m"}, "target": {"column": "m"}, "overlap": 0},
                    writers="absolute",
                    settle=0,
                    on_extra="delete",
                )
            ],
            ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        )
    )
    assert app.run("p").verdict is Verdict.IN_SYNC
    sqlite(tmp_path / "a.db", f"INSERT INTO t VALUES ('{ID}AB', 1, 100)")
    app._adapter("b").close()
    with duckdb.connect(str(tmp_path / "b.db")) as b:
        b.execute(f"INSERT INTO t VALUES ('{ID}ab', 1, 100)")
    with pytest.raises(DesignProblem, match=f"holds '{ID}AB', which is not how it spells a uuid elsewhere"):
        app.run("p")
    app._adapter("b").close()
    with duckdb.connect(str(tmp_path / "b.db")) as b:
        assert b.execute("SELECT count(*) FROM t").fetchone() == (6,)


def test_partitions_by_a_boolean_have_the_rows_that_hold_something_else(tmp_path: Path, opened: ExitStack) -> None:
    sqlite(
        tmp_path / "a.db",
        "CREATE TABLE s (id integer PRIMARY KEY, active boolean, v int)",
        "CREATE TABLE t (id integer PRIMARY KEY, active boolean, v int)",
        "INSERT INTO s VALUES (1, 't', 1), (2, 'f', 1), (3, 1, 1), (4, 2, 1)",
        "INSERT INTO t VALUES (1, 't', 99), (3, 1, 1), (4, 2, 7)",
    )
    app = opened.enter_context(
        Trueup(
            databases={"a": Database(url=f"sqlite:///{tmp_path / 'a.db'}")},
            projections=[
                Projection(
                    name="p",
                    source=Side(database="a", table="s"),
                    target=Side(database="a", table="t"),
                    key="id",
                    columns="v",
                    settle=0,
                    partition={"by": "column", "column": "active"},
                )
            ],
            ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
        )
    )
    report = app.check("p")
    assert (report.source_rows, report.missing, report.different) == (4, 1, 2)
