"""Looking at a SQL database while it is worked on: a connection of its own, and the driver without anything in between.

A reading is a fraction of a millisecond, many times a second: what SQLAlchemy adds to a statement is more than that.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from trueup.adapters import Looked
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient
from trueup.urls import here

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

#: Limit of one reading, milliseconds. One that reaches it is as bad as a reading can be.
READING_MS = 500
#: Longest wait for an answer, seconds, where the server does not keep to its limit, or is not there any more.
ANSWER_S = 2.0


class SqlProbe(ABC):
    """Base of the probes of SQL databases; `adapter` is its own, and closed with it."""

    marks: Mapping[str, Mark] = {}
    #: What the canary reads, unless something else is declared.
    small: str = "SELECT 1"
    #: Statements that a new connection begins with, and one after which it cannot write.
    settings: Sequence[str] = ()
    read_only: str = ""
    tables: Collection[str] = ()

    def __init__(self, adapter: SqlAdapter, canary: str) -> None:
        self.here = here(adapter.database.url.get_secret_value())
        self._adapter = adapter
        self._canary = canary or self.small
        #: Those that read, and those that write.
        self._connections: dict[bool, Any] = {}
        #: Is their session only lent to each transaction, so that nothing may be set for it?
        self._lent = False

    def connect(self, *, writes: bool = False) -> bool:
        if writes in self._connections:
            return False
        with self._connection(writes=writes):
            return True

    def canary(self) -> None:
        self._ask(self._canary)

    @abstractmethod
    def look(self) -> Looked: ...

    def number(self, statement: str) -> object:
        rows = self._ask(statement)
        if len(rows) != 1 or len(rows[0]) != 1:
            raise ValueError(f"a SELECT of one value was expected, and {len(rows)} rows came")
        return rows[0][0]

    def write(self, statement: str) -> None:
        self._ask(statement, writes=True)

    def _ask(self, statement: str, *values: Any, writes: bool = False) -> list[Any]:
        """The rows of one statement. Raises Transient, and the next one connects anew where that is needed."""
        return self._run(statement, *values, writes=writes)[1]

    def _named(self, statement: str) -> list[dict[str, Any]]:
        """The same, by the names of their columns."""
        names, rows = self._run(statement)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def _run(self, statement: str, *values: Any, writes: bool = False) -> tuple[list[str], list[Any]]:
        with self._connection(writes=writes) as connection:
            cursor = self._executed(connection, statement, values, writes=writes)
            names = [column[0] for column in cursor.description or ()]
            rows = list(cursor.fetchall()) if names else []
            cursor.close()
        return names, rows

    def _executed(
        self,
        connection: Any,
        statement: str,
        values: Sequence[Any],
        *,
        writes: bool,  # noqa: ARG002 - matters where the session cannot have been made read-only
    ) -> Any:
        """The cursor that has what it gives; `writes`: whether it may write. One round trip."""
        cursor = connection.cursor()
        cursor.execute(statement, *([values] if values else []))
        return cursor

    @contextmanager
    def _connection(self, *, writes: bool = False) -> Iterator[Any]:
        """The driver's. Errors of the driver become Transient, and the next use connects anew, unless it was only the
        statement that failed.
        """
        try:
            if writes not in self._connections:
                self._connections[writes] = self._connected(writes=writes)
            yield self._connections[writes]
        except (SQLAlchemyError, self._adapter.engine.dialect.loaded_dbapi.Error) as error:
            if writes not in self._connections or not self.intact(self._connections[writes]):
                self.close()
            words = " ".join(str(error).split())
            raise Transient(f"databases.{self._adapter.name}: it cannot be looked at: {words}") from error

    def _connected(self, *, writes: bool = False) -> Any:
        pooled = self._adapter.engine.raw_connection()
        connection: Any = pooled.driver_connection
        self._lent = self.lent(pooled.info)  # what it was given would be left to others
        pooled.detach()  # or it would be given back, and reset, as soon as nobody names it
        self.autocommit(connection)
        cursor = connection.cursor()
        settings = (*self.settings, *([] if writes or not self.read_only else [self.read_only]))
        for statement in () if self._lent else settings:
            cursor.execute(statement)
        cursor.close()
        return connection

    def lent(self, info: Mapping[Any, Any]) -> bool:  # noqa: ARG002 - most sessions are our own
        """Is the session of the connection with this `info` only lent to each transaction?"""
        return False

    def intact(self, connection: Any) -> bool:  # noqa: ARG002 - not every driver says so
        """Can it be used again after a statement has failed?"""
        return False

    def autocommit(self, connection: Any) -> None:
        """Each statement by itself."""
        connection.autocommit = True

    def give_up(self) -> None:  # noqa: B027 - most drivers have a limit of their own
        pass

    def close(self) -> None:
        while self._connections:
            with suppress(Exception):  # it may be what broke
                self._connections.popitem()[1].close()
        self._adapter.close()
