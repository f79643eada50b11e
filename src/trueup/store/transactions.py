"""How the ledger's database is read and written: in transactions, whose failures are the ledger's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import local

import sqlalchemy as sa

from trueup.store import lock
from trueup.store.engine import READS, connect, translating


class Transactions:
    """The database at `url`, made and brought up to date where that is needed."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url)
        self._here = local()

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction that commits at the end; inside `together` a part of that one.

        Raises LedgerFailed, TakenOver where what is held was lost.
        """
        if (outer := getattr(self._here, "connection", None)) is not None:
            yield outer
            return
        with translating(self.engine), self.engine.begin() as connection:
            lock.guard(self.engine, connection)
            yield connection

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes inside is one transaction: all of it is durable at the end, or nothing."""
        with self.begin() as connection:
            self._here.connection = connection
            try:
                yield
            finally:
                self._here.connection = None

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection to read with; it does not see what is not committed yet. Raises LedgerFailed.

        In PostgreSQL each statement is by itself: who takes long over what was read is in no transaction meanwhile.
        """
        alone = {"isolation_level": "AUTOCOMMIT"} if self.engine.dialect.name == "postgresql" else {}
        with translating(self.engine), self.engine.connect() as connection:
            yield connection.execution_options(**{READS: True}, **alone)
