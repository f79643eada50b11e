"""DuckDB for SQLAlchemy Core: as much of a dialect as Trueup needs, and no reflection.

Why not duckdb-engine: decision 8.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import duckdb
import sqlalchemy as sa
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.sql.compiler import GenericTypeCompiler, IdentifierPreparer, SQLCompiler

#: Name in SQLAlchemy's registry; `duckdb` is left to duckdb-engine, should an application have it.
NAME = "trueup_duckdb"


class Deadline:
    """Interrupts a connection whose statement takes too long: DuckDB has no statement timeout of its own.

    One thread watches all calls of the connection, and looks only as often as the limit: no call that began since it
    last looked can be over before it looks again. A thread for each call cost more than a small statement.
    """

    def __init__(
        self, limit_s: float, interrupt: Callable[[], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit_s = limit_s
        #: Was the last call cut off because its time was over?
        self.passed = False
        self._interrupt = interrupt
        self._now = now
        self._lock = threading.Lock()
        #: When the time of the call that is going on is over, by the clock `now`; None between two calls.
        self._ends_s: float | None = None
        self._watched = False
        self._closed = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Interrupt what happens inside when the limit is reached, and never what comes after it."""
        with self._lock:
            self.passed = False
            self._ends_s = self._now() + self.limit_s
            if not self._watched:
                self._watched = True
                watch = partial(_watch, weakref.ref(self), self._closed, self.limit_s)
                threading.Thread(target=watch, name="duckdb-deadline", daemon=True).start()
        try:
            yield
        finally:
            with self._lock:
                self._ends_s = None

    def close(self) -> None:
        """No call follows."""
        self._closed.set()

    def look(self) -> float | None:
        """Interrupt the call that is going on if its time is over. Seconds until the next look; None: nobody calls."""
        with self._lock:
            if self._ends_s is None:
                self._watched = False
                return None
            now_s = self._now()
            if now_s >= self._ends_s:
                self.passed = True
                self._interrupt()
                self._ends_s = now_s + self.limit_s
            return self._ends_s - now_s


def _watch(of: Callable[[], Deadline | None], closed: threading.Event, wait_s: float) -> None:
    """What a deadline's thread does. It keeps no connection that nobody else has."""
    while not closed.wait(wait_s):
        deadline = of()
        left_s = None if deadline is None else deadline.look()
        del deadline
        if left_s is None:
            return
        wait_s = left_s


class TimeLimit(duckdb.InterruptException):
    """A statement was interrupted because its time was over."""


class DriverConnection:
    """A DuckDB connection as SQLAlchemy expects one: the driver's own cursors are new connections, each with a
    transaction of its own.
    """

    def __init__(self, driver: duckdb.DuckDBPyConnection, *, statement_timeout_s: float) -> None:
        self.driver = driver
        self.deadline = Deadline(statement_timeout_s, driver.interrupt)
        self._open = False

    def cursor(self) -> DriverCursor:
        return DriverCursor(self)

    def begin(self, statement: str) -> None:
        self.driver.execute(statement)
        self._open = True

    def commit(self) -> None:
        if self._open:
            self._open = False
            self.driver.commit()

    def rollback(self) -> None:
        if not self._open:
            return
        self._open = False
        try:
            self.driver.rollback()
        except duckdb.TransactionException as error:
            if "no transaction is active" not in str(error):  # a commit that failed has ended it already
                raise

    def close(self) -> None:
        self.deadline.close()
        self.driver.close()


class DriverCursor:
    """One statement at a time on a connection; its rows are streamed."""

    arraysize = 1
    lastrowid = None

    def __init__(self, connection: DriverConnection) -> None:
        self.connection = connection
        self._driver = connection.driver
        self.description: list[Any] | None = None
        self.rowcount = -1

    def execute(self, statement: str, parameters: Sequence[Any] = ()) -> None:
        with self._limited():
            self._driver.execute(statement, list(parameters))
        self.description = self._driver.description
        self.rowcount = self._driver.rowcount

    def executemany(self, statement: str, parameters: Sequence[Sequence[Any]]) -> None:
        changed = 0
        for row in parameters:
            self.execute(statement, row)
            changed += self.rowcount
        self.rowcount = changed

    def fetchone(self) -> Any:
        with self._limited():
            return self._driver.fetchone()

    def fetchmany(self, size: int = 1) -> list[Any]:
        with self._limited():
            return self._driver.fetchmany(size)

    def fetchall(self) -> list[Any]:
        with self._limited():
            return self._driver.fetchall()

    @contextmanager
    def _limited(self) -> Iterator[None]:
        deadline = self.connection.deadline
        try:
            with deadline.watching():
                yield
        except duckdb.InterruptException as error:
            raise (TimeLimit(str(error)) if deadline.passed else error) from None
        except RuntimeError as error:  # what is left of an exception that a signal handler raised meanwhile
            raise duckdb.InterruptException(str(error)) from error

    def close(self) -> None:
        """The connection goes on; its next statement replaces this one."""


class _Compiler(SQLCompiler):
    def for_update_clause(self, select: Any, **kw: Any) -> str:  # noqa: ARG002 - there are no row locks
        return ""

    def visit_try_cast(self, element: Any, **kw: Any) -> str:
        value, type_ = self.process(element.clause, **kw), self.process(element.typeclause, **kw)
        return f"TRY_CAST({value} AS {type_})"


class _Types(GenericTypeCompiler):
    def visit_uuid(self, type_: Any, **kw: Any) -> str:  # noqa: ARG002
        return "UUID"

    def visit_datetime(self, type_: Any, **kw: Any) -> str:  # noqa: ARG002
        return "TIMESTAMPTZ" if type_.timezone else "TIMESTAMP"


class _Preparer(IdentifierPreparer):
    def _requires_quotes(self, value: str) -> bool:  # noqa: ARG002 - its reserved words are not SQLAlchemy's
        return True


class _Blob(sa.LargeBinary):
    """Bytes as they are: the driver has no `Binary`."""

    def bind_processor(self, dialect: Any) -> None:  # noqa: ARG002
        return None

    def result_processor(self, dialect: Any, coltype: Any) -> None:  # noqa: ARG002
        return None


class DuckdbDialect(DefaultDialect):
    """SQL of DuckDB 2."""

    name = "duckdb"
    driver = "duckdb"
    default_paramstyle = "qmark"
    supports_statement_cache = True
    supports_native_boolean = True
    supports_native_decimal = True
    supports_native_uuid = True
    supports_sane_rowcount = True
    statement_compiler = _Compiler
    type_compiler_cls = _Types
    preparer = _Preparer
    colspecs = {sa.LargeBinary: _Blob}  # noqa: RUF012 - SQLAlchemy's own declaration

    @classmethod
    def import_dbapi(cls) -> ModuleType:
        return duckdb

    def has_table(self, connection: sa.Connection, table_name: str, schema: str | None = None, **_: Any) -> bool:
        found = connection.exec_driver_sql(
            "SELECT 1 FROM duckdb_tables() WHERE database_name = current_database() "
            "AND schema_name = coalesce(?, current_schema()) AND table_name = ?",
            (schema, table_name),
        )
        return found.first() is not None


sa.dialects.registry.register(NAME, __name__, "DuckdbDialect")
