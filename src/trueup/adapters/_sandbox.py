"""A copy of the rows that a backfill is about, to try it on: beside the original where the database has schemas, a file
of its own where it is a file. It is gone afterwards, with all that was put beside it.
"""

from __future__ import annotations

import logging
import tempfile
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import sqlalchemy as sa
from pydantic import SecretStr

from trueup.adapters._copies import Copy
from trueup.adapters._results import translating
from trueup.errors import TrueupError

if TYPE_CHECKING:
    from trueup.adapters._sql import SqlAdapter

log = logging.getLogger("trueup.backfill")

#: Schemas and databases of sandboxes begin with this.
PREFIX = "trueup_sandbox_"


class Sandbox(ABC):
    """Makes copies in one database."""

    def __init__(self, adapter: SqlAdapter) -> None:
        self.adapter = adapter

    @abstractmethod
    def copied(self, table: str, columns: Sequence[str], select: str) -> AbstractContextManager[Copy]:
        """As `Sandboxing` says."""

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        """A connection on which each statement is committed by itself."""
        with translating(self.adapter), self.adapter.engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT")

    def _run(self, *statements: str) -> None:
        with self._connection() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement.replace("%", "%%") if self.percent else statement)

    #: Does the driver take a percent sign for the beginning of a parameter?
    percent: ClassVar[bool] = True


class BesideIt(Sandbox):
    """The table once more, in a schema (or database) of its own: its columns, defaults, checks and indexes."""

    #: What such a place is called, and how a table is made like another one.
    kind: str
    like: str
    removed: str
    #: What a copy lacks.
    lacking: tuple[str, ...]

    @contextmanager
    def copied(self, table: str, columns: Sequence[str], select: str) -> Iterator[Copy]:
        quote = self.adapter.engine.dialect.identifier_preparer.quote
        place = PREFIX + uuid.uuid4().hex[:12]
        name = table.rpartition(".")[2]
        original = ".".join(quote(part) for part in table.split("."))
        copy = f"{quote(place)}.{quote(name)}"
        listed = ", ".join(map(quote, columns))
        original = self.named(original)
        drop = f"DROP {self.kind} IF EXISTS {quote(place)}{self.removed}"
        try:
            self._run(  # the place, too: it may be there though we were never told
                f"CREATE {self.kind} {quote(place)}",
                f"CREATE TABLE {copy} {self.like.format(original)}",
                f"INSERT INTO {copy} ({listed}){self.overriding} SELECT {listed} FROM {original}"
                + (f" WHERE ({select}\n)" if select else ""),
            )
            yield Copy(url=SecretStr(self.seen_from(place)), table=name, lacking=self.lacking)
        except BaseException:
            try:
                self._run(drop)
            except TrueupError as kept:  # what failed first is what is raised
                log.warning("%s %s may still be there, drop it: %s", self.kind.lower(), place, kept)
            raise
        self._run(drop)

    #: What lets values be given to columns that number themselves.
    overriding = ""

    def named(self, original: str) -> str:
        """The original as it is called from anywhere."""
        return original

    @abstractmethod
    def seen_from(self, place: str) -> str:
        """A URL in which the copy goes by the table's own name."""


class InDatabase(BesideIt):
    """MariaDB and MySQL, whose databases are schemas."""

    kind, like, removed = "DATABASE", "LIKE {}", ""
    lacking = ("triggers", "foreign keys")

    def named(self, original: str) -> str:
        if "." in original:
            return original
        url = sa.make_url(self.adapter.database.url.get_secret_value())
        return f"{self.adapter.engine.dialect.identifier_preparer.quote(url.database or '')}.{original}"

    def seen_from(self, place: str) -> str:
        url = sa.make_url(self.adapter.database.url.get_secret_value())
        return url.set(database=place).render_as_string(hide_password=False)


class InFile(Sandbox):
    """SQLite: the whole file, with its triggers and foreign keys."""

    percent = False

    @contextmanager
    def copied(self, table: str, columns: Sequence[str], select: str) -> Iterator[Copy]:  # noqa: ARG002
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            path = Path(folder, "copy.db")
            with self.adapter.reading() as connection:
                connection.exec_driver_sql("COMMIT")  # VACUUM is none of a transaction's statements
                connection.exec_driver_sql("VACUUM INTO ?", (str(path),))
                connection.exec_driver_sql("BEGIN")
            yield Copy(url=SecretStr(f"sqlite:///{path}"), table=table, lacking=())
