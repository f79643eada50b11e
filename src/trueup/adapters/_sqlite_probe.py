"""How an SQLite file is doing: how much of its log waits to be moved.

How long its lock for writing takes to be had is not tried: who tries has it, and keeps others from it. Units of ours
that do not get it are counted.
"""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Any

from trueup.adapters import Looked
from trueup.adapters._probing import READING_MS, SqlProbe
from trueup.core.pace.pressure import Mark
from trueup.errors import Transient


class SqliteProbe(SqlProbe):
    """Looks at an SQLite file. It is on this machine, and nobody counts who else works on it."""

    marks = {  # noqa: RUF012 - a table that nobody changes
        "log, MB": Mark(idle=4, soft=16, hard=64),
    }
    small = "SELECT count(*) FROM (SELECT 1 FROM sqlite_master LIMIT 5)"
    settings = (f"PRAGMA busy_timeout = {READING_MS}",)
    read_only = "PRAGMA query_only = ON"

    def __init__(self, adapter: Any, canary: str) -> None:
        super().__init__(adapter, canary)
        self.here = True
        self._file = Path(adapter.path)

    def autocommit(self, connection: Any) -> None:
        connection.isolation_level = None

    def _connected(self, *, writes: bool = False) -> Any:
        if not self._file.exists():  # SQLite would make an empty one
            raise Transient(f"databases.{self._adapter.name}: there is no file {self._file}")
        return super()._connected(writes=writes)

    def give_up(self) -> None:
        """A statement has no limit of its own here."""
        for connection in self._connections.copy().values():
            with suppress(sqlite3.ProgrammingError):  # it is closed already
                connection.interrupt()

    def look(self) -> Looked:
        log = self._file.with_name(self._file.name + "-wal")
        try:
            size_mb = log.stat().st_size / 2**20
        except FileNotFoundError:
            size_mb = 0.0  # it is not in that mode, or all of it was moved
        return Looked(values={"log, MB": size_mb})
