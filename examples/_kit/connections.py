"""One connection of the application, to SQLite or PostgreSQL; parameters are `?` in both."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


class Database:
    """A connection in autocommit mode; `transaction` makes several statements one."""

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite:///")
        if self.is_sqlite:
            # Whatever thread opens it, one uses it at a time.
            self.raw: Any = sqlite3.connect(
                url.removeprefix("sqlite:///"), isolation_level=None, timeout=20, check_same_thread=False
            )
            self.raw.execute("PRAGMA synchronous = OFF")  # it is a crash of the machine that this gives away
        else:
            import psycopg

            self.raw = psycopg.connect(url, autocommit=True)

    def run(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """One statement; its rows, if it has any."""
        cursor = self.raw.execute(sql if self.is_sqlite else sql.replace("?", "%s"), values or None or ())
        return list(cursor.fetchall()) if cursor.description else []

    def many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """The same statement for many rows, in one transaction."""
        with transaction(self):
            cursor = self.raw.cursor()
            cursor.executemany(sql if self.is_sqlite else sql.replace("?", "%s"), rows)

    def script(self, sql: str) -> None:
        """Several statements."""
        if self.is_sqlite:
            self.raw.executescript(sql)
        else:
            self.raw.execute(sql)

    def one(self, sql: str, *values: Any) -> Any:
        """The first value of the first row; None if there is no row."""
        rows = self.run(sql, *values)
        return rows[0][0] if rows else None

    def close(self) -> None:
        self.raw.close()


@contextmanager
def transaction(database: Database) -> Iterator[Database]:
    """All or nothing. In SQLite the write lock is taken at once: a transaction that reads first cannot get it later."""
    database.run("BEGIN IMMEDIATE" if database.is_sqlite else "BEGIN")
    try:
        yield database
    except BaseException:
        database.run("ROLLBACK")
        raise
    database.run("COMMIT")
