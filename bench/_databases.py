"""Plain connections of the benches' applications: one spelling for the three SQL databases, and scratch databases.

Statements mark parameters with `?`. Nothing here goes through the engine: what it does is judged from outside.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import pymysql
from _common import scratch_database, with_database
from peers.tables import mariadb

Result = TypeVar("Result")

#: Longest that the application waits for a lock, seconds.
LOCK_S = 60
#: Times that a transaction is tried which the database ended to let another one go on.
TRIES_MAX = 100
#: What MariaDB says of a deadlock and of a lock that was not to be had; likewise the names of PostgreSQL's errors.
_MARIADB_AGAIN = (1205, 1213)
_POSTGRESQL_AGAIN = (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure)


@dataclass(frozen=True, kw_only=True, slots=True)
class Words:
    """What the databases spell differently."""

    begin: str
    id: str
    #: The time of this very moment, at UTC, as `timestamp` takes it.
    now: str
    timestamp: str
    #: After an INSERT: what to do with a row that is there; `new()` below says a value of the row that was given.
    on_conflict: str
    new: str
    integer: str
    for_update: str = " FOR UPDATE"


WORDS = {
    "postgresql": Words(
        begin="BEGIN",
        id="bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        now="(clock_timestamp() AT TIME ZONE 'UTC')",
        timestamp="timestamp",
        on_conflict="ON CONFLICT (k) DO UPDATE SET",
        new="excluded.{}",
        integer="bigint",
    ),
    "mariadb": Words(
        begin="BEGIN",
        id="bigint AUTO_INCREMENT PRIMARY KEY",
        now="UTC_TIMESTAMP(6)",
        timestamp="datetime(6)",
        on_conflict="ON DUPLICATE KEY UPDATE",
        new="VALUES({})",
        integer="SIGNED",
    ),
    "sqlite": Words(
        begin="BEGIN IMMEDIATE",
        id="INTEGER PRIMARY KEY",
        now="strftime('%Y-%m-%d %H:%M:%f', 'now')",
        timestamp="TIMESTAMP",
        on_conflict="ON CONFLICT (k) DO UPDATE SET",
        new="excluded.{}",
        integer="bigint",
        for_update="",
    ),
}


class Session:
    """One connection in autocommit mode: every BEGIN and COMMIT is said aloud."""

    def __init__(self, url: str) -> None:
        self.kind = urlsplit(url).scheme
        self.words = WORDS[self.kind]
        self.driver: Any
        if self.kind == "postgresql":
            self.driver = psycopg.connect(url, autocommit=True)
            self.driver.execute("SET synchronous_commit = off")  # the application's choice; it changes no proof
        elif self.kind == "mariadb":
            self.driver = mariadb(url)
            self.driver.autocommit(True)
            self.execute("SET SESSION tx_isolation = 'READ-COMMITTED', innodb_lock_wait_timeout = ?", LOCK_S)
        else:
            path = url.removeprefix("sqlite:///")
            self.driver = sqlite3.connect(path, timeout=LOCK_S, isolation_level=None)
            self.driver.execute("PRAGMA synchronous = OFF")

    def execute(self, statement: str, *values: Any) -> Any:
        """The driver's cursor."""
        cursor = self.driver.cursor()
        cursor.execute(statement if self.kind == "sqlite" else statement.replace("?", "%s"), values)
        return cursor

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        return list(self.execute(statement, *values).fetchall())

    def together(self, steps: Callable[[], Result]) -> Result:
        """One transaction of the application, again from the start if the database asks for that."""
        for tried in range(TRIES_MAX):
            try:
                self.execute(self.words.begin)
                result = steps()
                self.execute("COMMIT")
            except (psycopg.Error, pymysql.MySQLError, sqlite3.OperationalError) as error:
                if self.kind != "sqlite" or self.driver.in_transaction:
                    self.execute("ROLLBACK")
                if tried + 1 == TRIES_MAX or not self._again(error):
                    raise
            else:
                return result
        raise AssertionError("unreachable")

    @staticmethod
    def _again(error: Exception) -> bool:
        if isinstance(error, pymysql.MySQLError):
            return error.args[0] in _MARIADB_AGAIN
        return isinstance(error, _POSTGRESQL_AGAIN) or "locked" in str(error)

    def close(self) -> None:
        self.driver.close()


@contextmanager
def scratch(kind: str, count: int, *, postgresql: str, mariadb_server: str) -> Iterator[list[str]]:
    """URLs of `count` new databases of that kind; dropped at the end."""
    with ExitStack() as stack:
        if kind == "sqlite":
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="trueup-bench-"))
            urls = [f"sqlite:///{Path(folder, f'{at}.db')}" for at in range(count)]
            for url in urls:
                with closing(Session(url)) as db:
                    db.execute("PRAGMA journal_mode = WAL")
        elif kind == "mariadb":
            urls = [stack.enter_context(_scratch_mariadb(mariadb_server)) for _ in range(count)]
        else:
            urls = [stack.enter_context(scratch_database(postgresql)) for _ in range(count)]
        yield urls


@contextmanager
def _scratch_mariadb(server: str) -> Iterator[str]:
    name = f"trueup_bench_{os.getpid()}_{secrets.token_hex(3)}"
    with closing(mariadb(server)) as admin, admin.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE `{name}`")
    try:
        yield with_database(server, name)
    finally:
        with closing(mariadb(server)) as admin, admin.cursor() as cursor:
            cursor.execute(f"DROP DATABASE IF EXISTS `{name}`")
