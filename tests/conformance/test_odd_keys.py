"""Values that only SQLite holds in a column of their kind: told, and never passed over."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.conformance.worlds import Postgresql
from trueup import Database, Projection, Side, Trueup, Verdict, diff
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


@pytest.mark.parametrize(
    ("type_", "moments"),
    [
        ("timestamp", "2013-09-15 17:42:0{}.500000"),
        ("timestamp", "2013-09-15T17:42:0{}"),
        ("timestamptz", "2013-09-15 17:42:0{}+00:00"),
        ("uuid", "123E4567-E89B-12D3-A456-42665544000{}"),
        ("date", "2013-09-0{}"),
    ],
)
@pytest.mark.parametrize("key", [["id", "m"], ["m"]], ids=len)
def test_a_text_in_duckdb_is_looked_up_as_what_it_spells(
    tmp_path: Path, postgres: str, type_: str, moments: str, key: list[str]
) -> None:
    """In a composite key it was not found: the row that was right was called extra, and a run deleted it."""
    rows = [(1, moments.format(n), n) for n in range(1, 10)]
    with duckdb.connect(str(tmp_path / "a.db")) as a:
        a.execute("CREATE TABLE t (id int, m varchar, v int)")
        a.executemany("INSERT INTO t VALUES (?, ?, ?)", rows)
    place = Postgresql(postgres)
    place.sql(f"CREATE TABLE t (id bigint, m {type_}, v int, PRIMARY KEY ({', '.join(key)}))")
    place.insert("t", [(*row[:2], row[2] + (row[2] == 7)) for row in rows[1:]])
    projection = Projection(
        name="p",
        source=Side(database="a", table="t"),
        target=Side(database="b", table="t"),
        key=key,
        columns="v",
        settle=0,
        writers="absolute",
        on_extra="delete",
    )
    databases = {"a": Database(url=f"duckdb:///{tmp_path / 'a.db'}"), "b": Database(url=postgres)}
    with Trueup(databases=databases, projections=[projection], ledger=f"sqlite:///{tmp_path / 'ledger.db'}") as app:
        report = app.check("p")
        assert (report.missing, report.extra, report.different) == (1, 0, 1)
        report = app.run("p")
        assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 2)
        assert place.sql("SELECT count(*), sum(v) FROM t") == [(9, 45)]
        assert app.check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize("apart", [False, True])
def test_a_text_is_no_number_to_a_query_of_sqlite(tmp_path: Path, apart: bool) -> None:
    """Looked up once more, each was found twice, and as the other's."""
    sqlite(
        tmp_path / "a.db",
        "CREATE TABLE s (id TEXT, v int)",
        "CREATE TABLE t (id INTEGER, v int)",
        "INSERT INTO s VALUES ('5', 1), ('6', 1)",
        "INSERT INTO t VALUES (5, 1), (6, 2)",
    )
    (tmp_path / "b.db").write_bytes((tmp_path / "a.db").read_bytes())
    sides = [f"sqlite:///{tmp_path / 'a.db'}#SELECT id, v FROM s"]
    sides += [f"sqlite:///{tmp_path / ('b.db' if apart else 'a.db')}#SELECT id, v FROM t"]
    for settle in (0, 0.01):
        report = diff(*sides, key="id", settle=settle)
        assert (report.missing, report.extra, report.different) == (2, 2, 0)
        assert [row["key"]["id"] for row in report.drift if row["kind"] == "missing"] == ["5", "6"]
        report = diff(*reversed(sides), key="id", settle=settle)
        assert [row["key"]["id"] for row in report.drift if row["kind"] == "missing"] == [5, 6]


def test_digits_name_one_partition_of_a_query_of_sqlite(tmp_path: Path, opens: Opens) -> None:
    sqlite(tmp_path / "a.db", "CREATE TABLE t (id int, v TEXT)", "INSERT INTO t VALUES (1, '7'), (2, '8')")
    app = opens(
        Side(database="a", query="SELECT id, v FROM t WHERE id > 1"),
        Side(database="a", query="SELECT id, v FROM t"),
        {"a": f"sqlite:///{tmp_path / 'a.db'}"},
        partition={"by": "column", "column": "v"},
        limits={"collapse": "0%"},
    )
    report = app.check("p", partitions=["7"])
    assert (report.target_rows, report.extra) == (1, 1)


def test_moments_with_and_without_a_zone_have_no_order(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "a.db")) as a:
        a.execute("CREATE TABLE s (id varchar, v int); CREATE TABLE t (id timestamp, v int)")
        a.execute("INSERT INTO s VALUES ('2013-09-01 05:00:00', 1), ('2013-09-01 07:00:00+02:00', 2)")
    (tmp_path / "b.db").write_bytes((tmp_path / "a.db").read_bytes())
    with pytest.raises(DesignProblem, match="'id' holds datetime and datetime with a zone"):
        diff(f"duckdb:///{tmp_path / 'a.db'}#s", f"duckdb:///{tmp_path / 'b.db'}#t", key="id")
