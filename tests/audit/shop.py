"""An engine over two small SQLite tables, and the script that checks its log."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from trueup.app import Trueup
from trueup.audit import script
from trueup.clock import SystemClock
from trueup.core.audit_settings import AuditSettings
from trueup.core.projection import Database, Projection

ORIGIN = "example.org/shop"
SCRIPT = compile(script(), "verify_audit.py", "exec")
#: A value that must not be found where it does not belong.
CANARY = "canary@example.org"


class SteadyClock(SystemClock):
    """A minute later at each look, so that everything has a moment of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.at = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        self.at += timedelta(minutes=1)
        return self.at


@contextmanager
def shop(
    folder: Path, *, audit: dict[str, Any] | None = None, ledger: str = "", protect: str | None = None, **changes: Any
) -> Iterator[Trueup]:
    """An engine with one projection, `p`; its database is paced if there is something to `protect`."""
    declared: dict[str, Any] = {
        "name": "p",
        "source": {"database": "app", "table": "src"},
        "target": {"database": "app", "table": "tgt"},
        "key": ["id"],
        "writers": "same_transaction",
        "limits": {"share": "100%"},
    }
    with Trueup(
        databases={"app": Database.model_validate({"url": f"sqlite:///{folder / 'app.db'}", "protect": protect})},
        projections=[Projection.model_validate(declared | changes)],
        ledger=ledger or f"sqlite:///{folder / 'ledger.db'}",
        audit=AuditSettings.model_validate(
            {"origin": ORIGIN, "heads": [f"file:{folder / 'heads.txt'}"]} | (audit or {})
        ),
        clock=SteadyClock(),
    ) as engine:
        yield engine


def fill(folder: Path, source: Iterable[tuple[int, int, str]], target: Iterable[tuple[int, int, str]]) -> None:
    with contextlib.closing(sqlite3.connect(folder / "app.db")) as connection, connection:
        for table, rows in (("src", source), ("tgt", target)):
            connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY, n INTEGER, email TEXT)")
            connection.execute(f"DELETE FROM {table}")
            connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?)", rows)


def drift(folder: Path, rows: int = 4) -> None:
    """Rows that are all wrong."""
    fill(folder, [(at, at, CANARY) for at in range(rows)], [(at, at + 1, f"old{CANARY}") for at in range(rows)])


def verified(*arguments: str | Path) -> tuple[int, str]:
    """Exit code and words of the script, run in this process."""
    out = io.StringIO()
    code: Any = 0
    given = mock.patch.object(sys, "argv", ["verify_audit.py", *map(str, arguments)])
    with given, contextlib.redirect_stdout(out), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a script leaves closing files to its end
        try:
            exec(SCRIPT, {"__name__": "verify_audit"})
        except SystemExit as end:
            code = int(end.code or 0)
    return code, out.getvalue()
