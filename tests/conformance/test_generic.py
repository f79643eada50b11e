"""A database that no adapter knows: SQLite by another name."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import duckdb
import pytest
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from tests.conformance.worlds import UNLIMITED, Duckdb, EngineClock, Place, Sqlite
from trueup import ConfigError, Database, Projection, Side, Trueup, Verdict
from trueup.adapters import connect, known
from trueup.errors import BrokenRead

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, name {text}, v {number}"
ROWS = [(n, f"n{n}", n * 10) for n in range(1, 60)]


class Elsewhere:
    """A source on a dialect without an adapter, and a target that has one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Trueup] = []
        self.source = Sqlite(f"sqlite:///{folder / 'source.db'}")
        self.target: Place = Sqlite(f"sqlite:///{folder / 'target.db'}")
        self.source.table("src", COLUMNS, ROWS)
        self.target.table("dst", COLUMNS, ROWS)
        self.url = self.source.url.replace("sqlite:", "elsewhere:")

    def app(self, *, source: Side | None = None, **declared: Any) -> Trueup:
        defaults: dict[str, Any] = {
            "source": source or Side(database="a", table="src"),
            "target": Side(database="b", table="dst"),
            "key": ["id"],
            "writers": "absolute",
        }
        projection = Projection(name="p", settle=0, limits=UNLIMITED, **(defaults | declared))
        databases = {"a": Database(url=self.url), "b": Database(url=self.target.url)}
        ledger = f"sqlite:///{self.folder / f'ledger{len(self.opened)}.db'}"
        self.opened.append(Trueup(databases=databases, projections=[projection], ledger=ledger, clock=EngineClock()))
        return self.opened[-1]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    registry.register("elsewhere", "sqlalchemy.dialects.sqlite.pysqlite", "SQLiteDialect_pysqlite")
    made = Elsewhere(tmp_path)
    yield made
    for app in made.opened:
        app.close()


def test_it_is_a_source(elsewhere: Elsewhere) -> None:
    app = elsewhere.app()
    assert app.check("p").verdict is Verdict.IN_SYNC
    elsewhere.source.sql(
        "UPDATE src SET v = 7 WHERE id = 3", "DELETE FROM src WHERE id = 9", "INSERT INTO src VALUES (99, 'x', 1)"
    )
    report = app.check("p")
    assert (report.source_rows, report.missing, report.extra, report.different) == (59, 1, 1, 1)
    assert app.run("p").repaired == 2
    assert elsewhere.target.rows("dst") - elsewhere.source.rows("src") == {(9, "n9", 90)}


def test_a_query_is_one_too(elsewhere: Elsewhere) -> None:
    query = Side(database="a", query="SELECT id, name, v FROM src WHERE id > 1")
    report = elsewhere.app(source=query).check("p")
    assert (report.source_rows, report.extra) == (58, 1)
    with pytest.raises(ConfigError, match="the query is refused"):
        elsewhere.app(source=Side(database="a", query="SELECT id FROM nowhere")).check("p")
    with pytest.raises(ConfigError, match=r"no table 'sr'; did you mean 'src'\?"):
        elsewhere.app(source=Side(database="a", table="sr")).check("p")


class Unheard(SQLiteDialect_pysqlite):
    """A dialect of a name of its own."""

    name = "unheard"
    supports_statement_cache = True


def test_a_query_in_a_dialect_that_nobody_parses(elsewhere: Elsewhere) -> None:
    registry.register("unheard", __name__, "Unheard")
    elsewhere.url = elsewhere.source.url.replace("sqlite:", "unheard:")
    query = "SELECT id, max(name) AS name, max(v) AS v FROM src GROUP BY id;  -- all of them"
    report = elsewhere.app(source=Side(database="a", query=query)).check("p")
    assert (report.verdict, report.source_rows) == (Verdict.IN_SYNC, 59)
    with pytest.raises(ConfigError, match="the query is a DELETE"):
        elsewhere.app(source=Side(database="a", query="DELETE FROM src")).check("p")


def test_it_is_never_written(elsewhere: Elsewhere) -> None:
    sides = {"source": Side(database="b", table="dst"), "target": Side(database="a", table="src")}
    app = elsewhere.app(**sides)
    elsewhere.source.sql("UPDATE src SET v = 7 WHERE id = 3")
    assert app.check("p").different == 1
    assert app.explain("p").promise.guarantee == "REPORT-ONLY"
    with pytest.raises(ConfigError):
        app.run("p")
    assert ("src",) in elsewhere.source.sql("SELECT name FROM sqlite_master")
    assert elsewhere.source.sql("SELECT count(*) FROM sqlite_master WHERE name LIKE 'trueup%'") == [(0,)]


def test_text_is_no_key_there(elsewhere: Elsewhere) -> None:
    with pytest.raises(ConfigError, match="how sqlite orders and equates text is not known"):
        elsewhere.app(key=["name"]).check("p")


def test_an_order_that_is_another_is_a_broken_read(elsewhere: Elsewhere) -> None:
    """A key that the database orders as text and we as UUIDs, with some capital letters in it."""
    keys = [f"{n:08X}-0000-0000-0000-000000000000" if n % 2 else str(UUID(int=n << 96)) for n in range(1, 30)]
    elsewhere.source.table("u", "id CHAR(36) PRIMARY KEY, v {integer}", [(key, 1) for key in keys])
    path = elsewhere.folder / "target.duckdb"
    duckdb.connect(str(path)).close()
    elsewhere.target = Duckdb(f"duckdb:///{path}")
    elsewhere.target.table("ut", "id UUID PRIMARY KEY, v {integer}", [(UUID(key), 1) for key in keys])
    target = Side(database="b", table="ut")
    app = elsewhere.app(source=Side(database="a", query="SELECT id, v FROM u"), target=target)
    with pytest.raises(BrokenRead, match="not the binary order"):
        app.check("p")
    app = elsewhere.app(source=Side(database="a", query="SELECT lower(id) AS id, v FROM u"), target=target)
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_a_dialect_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no adapter for 'nosuch'; there are adapters for duckdb, .*SQLAlchemy dialect"
    ):
        connect("a", Database(url="nosuch://host/db"))
    with pytest.raises(ConfigError, match=r"the driver 'pyodbc' .*not installed"):
        connect("a", Database(url="mssql://host/db"))
    assert not {"file", "generic"} & set(known())


def test_a_driver_of_ours_that_is_not_there_is_named_with_its_extra() -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "from trueup import Database; from trueup.adapters import connect\n"
        "for url in ('duckdb:///a.db', 'file://'):\n"
        "    try: connect('a', Database(url=url))\n"
        "    except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("pip install 'trueup[duckdb]'") == 2


def test_text_is_no_partition_there(elsewhere: Elsewhere) -> None:
    """Nor is what nothing says the kind of; a column of a query is of the kind that the other side says."""
    query = Side(database="a", query="SELECT id, name, v FROM src")
    both = {"source": query, "target": Side(database="a", query="SELECT id, name, v FROM src")}
    refused: tuple[tuple[str, dict[str, Any]], ...] = (("name", {}), ("name", {"source": query}), ("v", both))
    for column, sides in refused:
        for asked in (None, ["7"]):
            app = elsewhere.app(partition={"by": "column", "column": column}, **sides)
            with pytest.raises(ConfigError, match=rf"partition\.column: '{column}' is text .*Take a column of numbers"):
                app.check("p", partitions=asked)
    elsewhere.source.sql("UPDATE src SET name = 'other' WHERE id = 3")
    for sides in ({}, {"source": query}):
        app = elsewhere.app(partition={"by": "column", "column": "id"}, **sides)
        assert app.check("p").different == 1
        assert app.check("p", partitions=["3"]).different == 1
