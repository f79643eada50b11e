"""What a repair depends on in an SQLite file."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from trueup.adapters import Server
from trueup.adapters._embedded import on_local_disk
from trueup.adapters._examiner import SqlExaminer
from trueup.adapters._schema_facts import cascades, claimed, mentions, together, triggers_fire
from trueup.core.binding import Binding
from trueup.core.findings import Finding, fact
from trueup.core.guarantee import Guarantee
from trueup.files import wal_is_safe

_SYNCHRONOUS = ("OFF", "NORMAL", "FULL", "EXTRA")
_SETTINGS = sa.text("""
    SELECT sqlite_version() AS version, (SELECT journal_mode FROM pragma_journal_mode) AS journal,
           (SELECT synchronous FROM pragma_synchronous) AS synchronous,
           (SELECT file FROM pragma_database_list WHERE name = 'main') AS file,
           (SELECT encoding FROM pragma_encoding) AS encoding""")
_TRIGGERS = sa.text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(:name)")
_CHILDREN = sa.text("""
    SELECT m.name AS child, f."on_delete" AS on_delete FROM sqlite_master m, pragma_foreign_key_list(m.name) f
    WHERE m.type = 'table' AND lower(f."table") = lower(:name)
      AND f."on_delete" IN ('CASCADE', 'SET NULL', 'SET DEFAULT')
    ORDER BY 1""")
_PARENTS = sa.text("""
    SELECT DISTINCT f."table" AS parent FROM pragma_foreign_key_list(:name) f WHERE f."on_delete" = 'CASCADE'""")


class SqliteExaminer(SqlExaminer):
    """Finds out about an SQLite file."""

    never_wait = "PRAGMA busy_timeout = 0"

    def grant(self, privilege: str, table: str) -> str:  # noqa: ARG002 - who may write the file may do all
        return f"chmod u+w {self.adapter.engine.url.database}, and its folder, as the user that Trueup runs as"

    def ask(self, connection: sa.Connection) -> Server:
        seen = connection.execute(_SETTINGS).one()
        return Server(version=f"SQLite {seen.version}", findings=tuple(_settings(seen)))

    def source(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        target = binding.target.side.table or ""
        found: list[Finding] = []
        for table in self.tables(binding.source) if together(binding) else ():
            found += _claim(connection, table, target)
        return found

    def target(self, connection: sa.Connection, binding: Binding) -> list[Finding]:
        name = {"name": (binding.target.side.table or "").rpartition(".")[2]}
        triggers = [row.name for row in connection.execute(_TRIGGERS, name)]
        children = [f"{row.child} ({row.on_delete})" for row in connection.execute(_CHILDREN, name)]
        return [triggers_fire(triggers, f".schema {name['name']}"), cascades(children, binding)]


def _settings(seen: sa.Row[Any]) -> list[Finding]:
    journal, synchronous = str(seen.journal).upper(), _SYNCHRONOUS[int(seen.synchronous)]
    return [
        fact(
            "journal",
            journal not in ("OFF", "MEMORY"),
            journal,
            why="a crash in the middle of a repair leaves half of it, or a broken file",
            remedy="PRAGMA journal_mode = TRUNCATE",
            cap=Guarantee.REPORT_ONLY,
        ),
        fact(
            "log reset",
            journal != "WAL" or wal_is_safe(sqlite3.sqlite_version_info),
            f"SQLite {seen.version}, journal {journal}",
            why="with two connections this release can lose commits when it resets the log "
            "(sqlite.org/wal.html#walresetbug)",
            remedy="SQLite 3.51.3, 3.50.7 or 3.44.6; or PRAGMA journal_mode = TRUNCATE",
        ),
        fact(
            "encoding",
            seen.encoding == "UTF-8",
            seen.encoding,
            why="text keys are in an order of their own: with letters beyond ASCII they cannot be compared with those "
            "of another database",
            remedy="sqlite3 old.db .dump | sqlite3 new.db",
        ),
        fact(
            "synchronous",
            synchronous in ("FULL", "EXTRA"),
            f"{synchronous} for repairs",
            why="a power cut can take back a repair that the ledger calls applied",
            remedy="PRAGMA synchronous = FULL",
        ),
        on_local_disk(Path(str(seen.file))),
    ]


def _claim(connection: sa.Connection, table: str, target: str) -> list[Finding]:
    """Does what the schema knows fit writers that change source and target in one transaction?"""
    name = {"name": table.rpartition(".")[2]}
    triggers = connection.execute(_TRIGGERS, name).all()
    keeping = [row.name for row in triggers if mentions(row.sql, target)]
    on_delete = any("DELETE ON" in " ".join(row.sql.upper().split()) for row in triggers)
    parents = [] if on_delete else [row.parent for row in connection.execute(_PARENTS, name)]
    return claimed(table, target, keeping, parents)
