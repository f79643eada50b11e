"""The tables of the side-by-side benchmark: filled fast, drift planted and taken back.

The source is the table `t` of a PostgreSQL database; the targets are copies of it in a second PostgreSQL database and
in MariaDB. Rows depend on their id alone. Ids of the source are even, so that extra rows (odd) can lie anywhere.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pymysql
from _common import say

KEY = ("id",)
COLUMNS = ("a", "n", "ts", "s", "b")
#: Case -> share of rows that differ; `dense` is DENSE rows in a row.
SHARES = {"none": 0.0, "0.01%": 0.0001, "1%": 0.01}
CASES = ("none", "dense", "0.01%", "1%")
DENSE = 10_000

_CREATE = "CREATE UNLOGGED TABLE t (id bigint PRIMARY KEY, a int, n numeric(12,2), ts timestamptz, s text, b bool)"
_CREATE_MARIADB = """
    CREATE TABLE t (id bigint PRIMARY KEY, a int, n decimal(12,2), ts timestamp(6) NULL, s text, b boolean)
    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"""
_FILL = """
    INSERT INTO t SELECT g, (g * 7919 % 1000003)::int, (g * 104729 % 100000000)::numeric / 100,
        timestamptz '2024-01-01 00:00:00+00' + g * interval '1.000137 s',
        CASE WHEN g % 50 = 0 THEN NULL ELSE 'note ' || md5(g::text) END, g % 3 = 0
    FROM generate_series(2, 2 * {rows}::bigint, 2) g"""
#: What is in the table now; `case_name` NULL while it is being changed.
_STATE = "CREATE TABLE state (row_count bigint, seed bigint, case_name varchar(20))"
_COPIED = "SELECT id, a, n, ts AT TIME ZONE 'UTC', s, b::int FROM t"
#: A microsecond later, as both databases spell it.
_LATER = "ts = ts + INTERVAL '0.000001' SECOND"
#: Rows in one statement.
BATCH = 1_000

#: kind by id, as text.
Planted = dict[str, str]


def planted(case: str, rows: int, seed: int) -> Planted:
    """What differs in a case."""
    if case == "dense":
        first = rows // 3
        return {str(2 * at): "different" for at in range(first, first + min(DENSE, rows // 4))}
    ids = random.Random(seed).sample(range(1, rows + 1), round(rows * SHARES[case]))
    kinds = ("different", "different", "different", "missing", "different", "different", "different", "extra")
    return {str(2 * at + (kinds[n % 8] == "extra")): kinds[n % 8] for n, at in enumerate(ids)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A copy of the source, in PostgreSQL or MariaDB."""

    #: `postgresql` or `mariadb`.
    engine: str
    source: str
    url: str

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """One transaction; both drivers take %s."""
        if self.engine == "postgresql":
            with psycopg.connect(self.url) as connection, connection.cursor() as cursor:
                yield cursor
            return
        with closing(mariadb(self.url)) as connection, connection.cursor() as cursor:
            yield cursor
            connection.commit()

    def state(self) -> tuple[int, int, str] | None:
        """Rows, seed and case of what is there; None: nothing that can be used."""
        try:
            with self.cursor() as cursor:
                cursor.execute("SELECT row_count, seed, case_name FROM state")
                found = cursor.fetchone()
        except (psycopg.errors.UndefinedTable, pymysql.err.ProgrammingError):
            return None
        return (int(found[0]), int(found[1]), str(found[2])) if found and found[2] else None

    def fill(self, rows: int, seed: int) -> None:
        say(f"{self.engine}: filling {rows:,} rows")
        with self.cursor() as cursor:
            for name in ("t", "state"):
                cursor.execute(f"DROP TABLE IF EXISTS {name}")
            cursor.execute(_STATE)
            cursor.execute(_CREATE if self.engine == "postgresql" else _CREATE_MARIADB)
            if self.engine == "postgresql":
                cursor.execute(_FILL.format(rows=rows))
            else:
                _load(cursor, self.source)
            cursor.execute("INSERT INTO state VALUES (%s, %s, 'none')", (rows, seed))
        self.settled()

    def plant(self, case: str, rows: int, seed: int) -> None:
        """Take back what an earlier case planted, and plant this one's; fill where it is not known what is there."""
        there = self.state()
        if there is None or there[0] != rows:
            self.fill(rows, seed)
            there = (rows, seed, "none")
        if there[1:] == (seed, case):
            return
        old, new = planted(there[2], rows, there[1]), planted(case, rows, seed)
        originals = self._originals([int(key) for key in old])
        self._tell("UPDATE state SET case_name = NULL")
        with self.cursor() as cursor:
            for part in parts([int(key) for key in old]):
                cursor.execute(f"DELETE FROM t WHERE id IN ({', '.join(map(str, part))})")
            for rows_of in parts(originals):
                cursor.executemany("INSERT INTO t (id, a, n, ts, s, b) VALUES (%s, %s, %s, %s, %s, %s)", rows_of)
            for statement, keys in edits(new, rows):
                for part in parts(keys):
                    cursor.execute(statement.format(", ".join(map(str, part))))
            cursor.execute("UPDATE state SET seed = %s, case_name = %s", (seed, case))
        self.settled()

    def _tell(self, statement: str) -> None:
        with self.cursor() as cursor:
            cursor.execute(statement)

    def _originals(self, ids: Sequence[int]) -> list[tuple[Any, ...]]:
        read = "SELECT id, a, n, ts, s, b FROM t" if self.engine == "postgresql" else _COPIED
        with psycopg.connect(self.source) as connection:
            return connection.execute(f"{read} WHERE id = ANY(%s)".encode(), (list(ids),)).fetchall()

    def settled(self) -> None:
        """Statistics are fresh and nothing is left for the background to do."""
        if self.engine == "postgresql":
            with psycopg.connect(self.url, autocommit=True) as connection:
                connection.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
                connection.execute("VACUUM (ANALYZE) t")
                connection.execute("CHECKPOINT")
            return
        self._tell("ANALYZE TABLE t")


def edits(drift: Planted, rows: int) -> Iterator[tuple[str, list[int]]]:
    """Statements with a place for a list of ids."""
    by_kind: dict[str, list[int]] = {}
    for key, kind in drift.items():
        by_kind.setdefault(kind, []).append(int(key))
    different = by_kind.get("different", [])
    # Small changes: the last digit of a number, the last microsecond, one letter, one flag.
    changes = ("a = a + 1", "s = concat(coalesce(s, ''), '.')", "b = NOT b", "n = n + 0.01", _LATER)
    for at, change in enumerate(changes):
        yield f"UPDATE t SET {change} WHERE id IN ({{}})", different[at :: len(changes)]
    yield "DELETE FROM t WHERE id IN ({})", by_kind.get("missing", [])
    for key in by_kind.get("extra", []):
        yield f"INSERT INTO t (id, a) SELECT {{}}, {rows}", [key]


def parts(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for at in range(0, len(items), BATCH):
        yield items[at : at + BATCH]


def make_source(url: str, rows: int) -> None:
    """The source; a table that has this many rows already is taken as it is."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute("SELECT to_regclass('t') IS NOT NULL").fetchone()
        if found and found[0]:
            count = connection.execute("SELECT count(*) FROM t").fetchone()
            if count and count[0] == rows:
                return
            connection.execute("DROP TABLE t")
        say(f"source: filling {rows:,} rows")
        connection.execute(_CREATE)
        connection.execute(_FILL.format(rows=rows).encode())
        connection.execute("ALTER TABLE t SET (autovacuum_enabled = off)")
        connection.execute("VACUUM (ANALYZE) t")


def mariadb(url: str) -> pymysql.Connection:
    place = urlsplit(url)
    return pymysql.connect(
        host=place.hostname or "127.0.0.1",
        port=place.port or 3306,
        user=place.username or "root",
        password=place.password or "",
        database=place.path.lstrip("/") or None,
        charset="utf8mb4",
        local_infile=True,
        init_command="SET time_zone = '+00:00'",
    )


def _load(cursor: Any, source: str) -> None:
    """The source's rows by LOAD DATA from a file: COPY's text format is the one that it reads."""
    handle, name = tempfile.mkstemp(prefix="trueup-bench-", suffix=".tsv")
    path = Path(name)
    try:
        copy = f"COPY ({_COPIED} ORDER BY id) TO STDOUT".encode()
        with os.fdopen(handle, "wb") as file, psycopg.connect(source) as there, there.cursor().copy(copy) as copied:
            file.writelines(copied)
        cursor.execute("SET unique_checks = 0, foreign_key_checks = 0")
        cursor.execute(f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE t CHARACTER SET utf8mb4 (id, a, n, ts, s, b)")
    finally:
        path.unlink()
