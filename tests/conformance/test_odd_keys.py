"""Values that only SQLite holds in a column of their kind: told, and never passed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from trueup import Database, Projection, Side, Trueup, Verdict
from trueup.errors import DesignProblem

ID = "00000000-0000-0000-0000-0000000000"


Opens = Callable[..., Trueup]


@pytest.fixture
def opens(tmp_path: Path) -> Iterator[Opens]:
    """The engine with a projection `p` of tables by `id`, of databases as they are named in URLs."""
    with ExitStack() as stack:

        def opened(source: Side, target: Side, urls: dict[str, str], **declared: Any) -> Trueup:
            projection = Projection(name="p", source=source, target=target, key="id", columns="v", settle=0, **declared)
            app = Trueup(
                databases={name: Database(url=url) for name, url in urls.items()},
                projections=[projection],
                ledger=f"sqlite:///{tmp_path / 'ledger.db'}",
            )
            return stack.enter_context(app)

        yield opened


def sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_a_changed_row_whose_key_is_spelt_otherwise_is_not_taken_for_another(tmp_path: Path, opens: Opens) -> None:
    """It was extra by its mark, and a run deleted the right row."""
    values = ", ".join(f"('{ID}0{n}', 1, {n})" for n in range(5))
    sqlite(tmp_path / "a.db", "CREATE TABLE t (id text PRIMARY KEY, v int, m int)", f"INSERT INTO t VALUES {values}")
    with duckdb.connect(str(tmp_path / "b.db")) as b:
        b.execute(f"CREATE TABLE t (id uuid PRIMARY KEY, v int, m bigint); INSERT INTO t VALUES {values}")
    app = opens(
        Side(database="a", table="t"),
        Side(database="b", table="t"),
        {"a": f"sqlite:///{tmp_path / 'a.db'}", "b": f"duckdb:///{tmp_path / 'b.db'}"},
        changes={"source": {"column": "m"}, "target": {"column": "m"}, "overlap": 0},
        writers="absolute",
        on_extra="delete",
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


def test_partitions_by_a_boolean_have_the_rows_that_hold_something_else(tmp_path: Path, opens: Opens) -> None:
    sqlite(
        tmp_path / "a.db",
        "CREATE TABLE s (id integer PRIMARY KEY, active boolean, v int)",
        "CREATE TABLE t (id integer PRIMARY KEY, active boolean, v int)",
        "INSERT INTO s VALUES (1, 't', 1), (2, 'f', 1), (3, 1, 1), (4, 2, 1)",
        "INSERT INTO t VALUES (1, 't', 99), (3, 1, 1), (4, 2, 7)",
    )
    app = opens(
        Side(database="a", table="s"),
        Side(database="a", table="t"),
        {"a": f"sqlite:///{tmp_path / 'a.db'}"},
        partition={"by": "column", "column": "active"},
    )
    report = app.check("p")
    assert (report.source_rows, report.missing, report.different) == (4, 1, 2)
