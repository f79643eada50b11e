"""The same edges and their counter on every database, as a projection that one engine declares."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trueup import Database, Projection, Side, Trueup
from trueup.core.findings import Finding

QUERY = "SELECT post, count(*) AS n FROM edges GROUP BY post"
TABLES = (
    "CREATE TABLE edges (id INTEGER PRIMARY KEY, post INTEGER NOT NULL)",
    "CREATE TABLE counter (post INTEGER NOT NULL PRIMARY KEY, n BIGINT NOT NULL)",
    "INSERT INTO edges VALUES (1, 1), (2, 1)",
    "INSERT INTO counter VALUES (1, 5)",
)
_DRIVERS = {"postgresql": "postgresql+psycopg", "mariadb": "mysql+pymysql"}


@dataclass(frozen=True, kw_only=True)
class World:
    """One database with the two tables in it."""

    url: str
    folder: Path

    @classmethod
    def made(cls, url: str, folder: Path, tables: Sequence[str] = TABLES) -> World:
        world = cls(url=url, folder=folder)
        world.sql(*tables)
        return world

    def sql(self, *statements: str) -> list[Any]:
        """Each by itself, committed; the rows of the last."""
        rows: list[Any] = []
        if self.url.startswith("duckdb"):
            import duckdb

            with closing(duckdb.connect(self.url.removeprefix("duckdb:///"))) as driver:
                for statement in statements:
                    rows = driver.execute(statement).fetchall()
            return rows
        scheme, _, rest = self.url.partition("://")
        engine = sa.create_engine(f"{_DRIVERS.get(scheme, scheme)}://{rest}", isolation_level="AUTOCOMMIT")
        try:
            with engine.connect() as connection:
                for statement in statements:
                    result = connection.exec_driver_sql(statement)
                    rows = list(result) if result.returns_rows else []
        finally:
            engine.dispose()
        return rows

    def engine(self, *, database: dict[str, Any] | None = None, **declared: Any) -> Trueup:
        """An engine for the one projection `counter`; `database`: settings of it."""
        values: dict[str, Any] = {
            "name": "counter",
            "source": Side(database="app", query=QUERY),
            "target": Side(database="app", table="counter"),
            "key": "post",
            "writers": "same_transaction",
        }
        return Trueup(
            databases={"app": Database.model_validate({"url": self.url} | (database or {}))},
            projections=[Projection(**(values | declared))],
            ledger=f"sqlite:///{self.folder / 'ledger.db'}",
        )


def found(findings: Sequence[Finding], check: str) -> Finding:
    """The one finding of a check."""
    (finding,) = [each for each in findings if each.check == check]
    return finding
