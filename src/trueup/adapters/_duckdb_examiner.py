"""What a repair depends on in a DuckDB file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from trueup.adapters import Server
from trueup.adapters._embedded import on_local_disk
from trueup.adapters._examiner import SqlExaminer

if TYPE_CHECKING:
    from trueup.adapters._duckdb import DuckdbReader

_ASKED = sa.text("""
    SELECT version() AS version, (SELECT path FROM duckdb_databases() WHERE database_name = current_database()) AS path
    """)

_TABLES = sa.text("""
    SELECT table_name FROM duckdb_tables()
    WHERE database_name = current_database() AND schema_name = current_schema()""")


class DuckdbExaminer(SqlExaminer):
    """Finds out about a DuckDB file; files that it only reads have no lock to hold."""

    adapter: DuckdbReader

    def ask(self, connection: sa.Connection) -> Server:
        seen = connection.execute(_ASKED).one()
        findings = (on_local_disk(Path(seen.path)),) if seen.path else ()
        return Server(version=f"DuckDB {seen.version.removeprefix('v')}", findings=findings)

    def table_names(self, connection: sa.Connection) -> list[str]:
        return list(connection.execute(_TABLES).scalars())

    def refuse_to_wait(self) -> None:
        self.adapter.patience_s = 0.0  # of opening the file: row locks are never waited for here
