"""A shop's customers in any database, and files of backfills about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trueup import Trueup

NAMES = """
import os
backfill = {{"table": "customers", "key": "id", "reads": ["first", "last"], "writes": ["full_name"], {more}}}
def fix(row):
    {body}
    row["full_name"] = row["first"] + " " + row["last"]
    return row
"""
MONEY = """-- key = "id"
-- version = "{version}"
-- limits = {{ rows = 1000000 }}
UPDATE customers SET cents = cents + 100 WHERE country = 'DE'
"""


def dialect_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://").replace("mariadb://", "mariadb+pymysql://")


class Shop:
    """The table, as an application has it."""

    def __init__(self, url: str, folder: Path, rows: int = 10) -> None:
        self.url = url
        self.folder = folder
        self.db = sa.create_engine(dialect_url(url))
        self.sql(
            "CREATE TABLE customers (id INTEGER PRIMARY KEY, first VARCHAR(40), last VARCHAR(40), "
            "full_name VARCHAR(80), cents INTEGER NOT NULL CHECK (cents < 1000000), country VARCHAR(2))"
        )
        given = [
            {"id": n, "first": f"f{n}", "last": f"l{n}", "cents": n, "country": "DE" if n % 2 else "US"}
            for n in range(1, rows + 1)
        ]
        with self.db.begin() as c:
            c.execute(sa.text("INSERT INTO customers VALUES (:id, :first, :last, NULL, :cents, :country)"), given)

    def sql(self, statement: str) -> None:
        with self.db.begin() as c:
            c.execute(sa.text(statement))

    def all(self, query: str) -> list[tuple[Any, ...]]:
        with self.db.connect() as c:
            return [tuple(row) for row in c.execute(sa.text(query))]

    def one(self, query: str) -> Any:
        return self.all(query)[0][0]

    def engine(self, **declared: Any) -> Trueup:
        return Trueup(
            databases={"app": self.url}, projections=[], ledger=f"sqlite:///{self.folder}/ledger.db", **declared
        )

    def names(self, *, body: str = "pass", more: str = '"select": "full_name IS NULL"', name: str = "names") -> Path:
        path = self.folder / f"{name}.py"
        path.write_text(NAMES.format(body=body, more=more))
        return path

    def money(self, version: str = "1") -> Path:
        path = self.folder / "money.sql"
        path.write_text(MONEY.format(version=version))
        return path
