"""The triggers and statements of `docs/writers.md` do what it says."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.servers import mariadb_connection

PAGE = (Path(__file__).parents[2] / "docs" / "writers.md").read_text()
_, *BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
COLUMNS = "(id bigint PRIMARY KEY, name varchar(50), version bigint, deleted boolean)"
NEWEST, LATE = (1, "Anna", 3, False), (1, "Ann", 2, False)


def postgresql(url: str) -> Any:
    return psycopg.connect(url, autocommit=True)


def mariadb(url: str) -> Any:
    return mariadb_connection(url)


def sqlite(url: str) -> Any:
    return sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)


@pytest.mark.parametrize(
    ("fixture", "connect", "block", "copy", "mark"),
    [
        ("postgres", postgresql, 0, "copy.customers", "%s"),
        ("mariadb", mariadb, 1, "customers_copy", "%s"),
        ("sqlite_url", sqlite, 2, "customers_copy", "?"),
    ],
    ids=["postgresql", "mariadb", "sqlite"],
)
def test_the_triggers_issue_versions_and_the_copy_keeps_the_newest(
    request: pytest.FixtureRequest, fixture: str, connect: Any, block: int, copy: str, mark: str
) -> None:
    made, upsert = BLOCKS[block].strip().split("\n\n")
    with closing(connect(request.getfixturevalue(fixture))) as connection:
        cursor = connection.cursor()
        if copy.startswith("copy."):
            cursor.execute("CREATE SCHEMA copy")
        for table in ("customers", copy):
            cursor.execute(f"CREATE TABLE {table} {COLUMNS}")
        for statement in re.split(r";\n(?=CREATE)", made):
            cursor.execute(statement)
        cursor.execute("INSERT INTO customers (id, name, version, deleted) VALUES (1, 'A', 1, false)")
        for name in ("Ann", "Anna"):
            cursor.execute(f"UPDATE customers SET name = '{name}'")
        cursor.execute("SELECT name, version FROM customers")
        assert tuple(cursor.fetchone()) == ("Anna", 3)
        deliver = re.sub(r"\$\d|\?", mark, upsert)
        for message in (LATE, NEWEST, LATE):
            in_order = (*message[:2], message[3], message[2]) if fixture == "mariadb" else message
            cursor.execute(deliver, in_order)
        cursor.execute(f"SELECT id, name, version, deleted FROM {copy}")
        assert tuple(cursor.fetchone()) == NEWEST
