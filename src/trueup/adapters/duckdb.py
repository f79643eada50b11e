"""DuckDB 2: `duckdb:///file.db`. One process writes a file, or several read it.

So the file is opened for each session and closed after it: read-only for reading, and for writing only while a repair
unit lasts. Settings of DuckDB may follow in the URL: `?memory_limit=2GB&threads=2&temp_directory=/big/disk`.

A unit shuts other processes out by the file's lock, and Trueup's other threads by `_turn`. Connections that the
application has in this very process stay possible: DuckDB keeps one instance of a file, and refuses the later of two
transactions that write one row, which is Busy here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import sqlalchemy as sa

from trueup.adapters import FoundTable, Survey
from trueup.adapters import _markers as markers
from trueup.adapters._duckdb import DuckdbReader
from trueup.adapters._duckdb_values import column_of
from trueup.adapters._results import translating
from trueup.core.binding import Binding, BoundSide, Shape, near
from trueup.core.projection import Database
from trueup.core.row import Key
from trueup.errors import Busy, ConfigError, ConnectionFailed

#: Between two tries to open a file that a process has, seconds.
BUSY_LOOK_S = 0.05
#: Rows in one key range: one pass is fastest, so only its size in memory and time asks for more.
SEGMENT_ROWS = 5_000_000
#: Keys sampled for each cut point.
SAMPLED_PER_CUT = 50
#: Settings that a URL may give.
_SETTINGS = ("memory_limit", "threads", "temp_directory")

#: Who writes a file, of the threads of this process.
_turns: dict[Path, threading.Lock] = {}


def connect(name: str, database: Database) -> DuckdbAdapter:
    return DuckdbAdapter(name, database)


class DuckdbAdapter(DuckdbReader):
    """Reads and repairs DuckDB files."""

    def _create_engine(self, database: Database) -> sa.Engine:
        url = sa.make_url(database.url.get_secret_value())
        if not url.database or url.database == ":memory:":
            raise ConfigError(
                f"databases.{self.name}.url: give a file: an in-memory DuckDB database is seen by nobody else"
            )
        for setting in url.query:
            if setting not in _SETTINGS:
                raise ConfigError(f"databases.{self.name}.url: unknown setting {setting!r}; {near(setting, _SETTINGS)}")
        self.path = Path(url.database)
        self.settings = {setting: str(value) for setting, value in url.query.items()}
        self._writing_engine = self._engine(lambda: self._open(writing=True))
        return self._engine(lambda: self._open(writing=False))

    @property
    def where(self) -> str:
        return f"databases.{self.name} ({self.path})"

    # --- the file ------------------------------------------------------------------------------------------------

    @contextmanager
    def _session(self, options: Mapping[str, Any]) -> Iterator[sa.Connection]:
        if not self.path.exists():  # opened for writing, DuckDB would make an empty one
            raise ConnectionFailed(f"databases.{self.name}: there is no file {self.path}")
        if options is self.reading_options:
            with super()._session(options) as connection:
                yield connection
            return
        with (
            self._turn(),
            translating(self),
            self._writing_engine.connect().execution_options(**options) as connection,
        ):
            yield connection

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """One unit at a time, of all that this process runs: raising a fence then waits for an open one."""
        turn = _turns.setdefault(self.path.resolve(), threading.Lock())
        if not turn.acquire(timeout=self.patience_s):
            raise Busy(f"{self.where}: another run of this process has been writing it for {self.patience_s:g} s")
        try:
            yield
        finally:
            turn.release()

    @property
    def engines(self) -> Sequence[sa.Engine]:
        return [self.engine, self._writing_engine]

    @contextmanager
    def as_application(self) -> Iterator[sa.Connection]:
        """As a thread of this process that knows nothing of turns."""
        with (
            translating(self),
            self._writing_engine.connect().execution_options(**self.writing_options) as connection,
        ):
            yield connection

    def _open(self, *, writing: bool) -> duckdb.DuckDBPyConnection:
        """Open the file, waiting for others to close it."""
        end = time.monotonic() + self.patience_s
        while True:
            try:
                return self._connection(writing=writing)
            except (duckdb.ConnectionException, duckdb.IOException) as error:
                locked = isinstance(error, duckdb.ConnectionException) or "Could not set lock" in str(error)
                if not locked or time.monotonic() > end:
                    raise
            time.sleep(BUSY_LOOK_S)

    def _connection(self, *, writing: bool) -> duckdb.DuckDBPyConnection:
        if writing:
            return duckdb.connect(str(self.path))
        try:
            return duckdb.connect(str(self.path), read_only=True, config=self.configuration())
        except duckdb.ConnectionException:
            # This process has it open for writing: a unit of ours, or the application. One instance serves all.
            return duckdb.connect(str(self.path))

    def close(self) -> None:
        super().close()
        self._writing_engine.dispose()

    # --- shape ---------------------------------------------------------------------------------------------------

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        schema, _, name = table.rpartition(".")
        place = {"schema": schema or None, "name": name}
        rows = connection.execute(_COLUMNS, place).all()
        if not rows:
            names = [found.name for found in self._tables(connection)]
            raise ConfigError(f"databases.{self.name}: there is no table {table!r}; {near(table, names)}")
        columns = {
            row.name: column_of(
                row.name,
                row.type,
                nullable=row.nullable,
                required=not row.nullable and row.default is None,
                generated=row.generated,
            )
            for row in rows
        }
        constraints = connection.execute(_CONSTRAINTS, place).all()
        unique = [frozenset(row.columns) for row in constraints]
        for row in connection.execute(_INDEXES, place):
            names = [part.strip().strip("\"'") for part in row.expressions.strip("[]").split(",")]
            if all(part in columns for part in names):
                unique.append(frozenset(names))
        is_table = connection.execute(_IS_TABLE, place).first() is not None
        return Shape(
            columns=columns,
            unique=tuple(unique),
            primary=next((tuple(row.columns) for row in constraints if row.is_primary), ()),
            table=is_table,
            dialect=self.capabilities.dialect,
        )

    def tables(self) -> list[FoundTable]:
        with self.reading() as connection:
            return self._tables(connection)

    def _tables(self, connection: sa.Connection) -> list[FoundTable]:
        return [
            FoundTable(name=row.name, columns=tuple(row.columns), key=tuple(row.key or ()))
            for row in connection.execute(_TABLES)
            if row.name not in markers.MARKER_TABLES.tables
        ]

    # --- access path ---------------------------------------------------------------------------------------------

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002
        table = binding.target if binding.target in of else of[0]
        with self.reading() as connection:
            rows = self._rows(connection, table)
            wanted = rows // SEGMENT_ROWS
            cuts = self._cuts(connection, table, wanted) if wanted else []
        reason = f"columns are scanned: about {rows:,} rows"
        return Survey(
            cuts=cuts,
            work=[float(SEGMENT_ROWS)] * (len(cuts) + 1),
            whole=float(SEGMENT_ROWS) * (len(cuts) + 1),
            per_segment=float(SEGMENT_ROWS),
            seekable=bool(cuts),
            reason=f"{reason}, in ranges of {SEGMENT_ROWS:,} to bound memory" if cuts else f"{reason}, in one pass",
        )

    def _rows(self, connection: sa.Connection, side: BoundSide) -> int:
        """Rows of a table as DuckDB estimates them; a query is read in one pass."""
        if not side.shape.table:
            return 0
        schema, _, name = (side.side.table or "").rpartition(".")
        return int(connection.execute(_ESTIMATE, {"schema": schema or None, "name": name}).scalar() or 0)

    def _cuts(self, connection: sa.Connection, side: BoundSide, wanted: int) -> list[Key]:
        """Keys about evenly spaced in number of rows, from a sample that is the same each time."""
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        sample = sa.select(*keys).where(*(key.is_not(None) for key in keys))
        sample = sample.suffix_with(f"USING SAMPLE reservoir({SAMPLED_PER_CUT * wanted} ROWS) REPEATABLE (1)")
        rows = connection.execute(sample).fetchall()
        found = sorted(set(map(side.key_of, rows)))
        step = max(len(found) // (wanted + 1), 1)
        return found[step::step]


#: Columns of a table or view of this file.
_COLUMNS = sa.text("""
    SELECT column_name AS name, data_type AS type, is_nullable AS nullable, column_default AS default,
           is_generated AS generated
    FROM duckdb_columns() WHERE database_name = current_database()
      AND schema_name = coalesce(:schema, current_schema()) AND table_name = :name ORDER BY column_index""")
_CONSTRAINTS = sa.text("""
    SELECT constraint_column_names AS columns, constraint_type = 'PRIMARY KEY' AS is_primary FROM duckdb_constraints()
    WHERE constraint_type IN ('PRIMARY KEY', 'UNIQUE') AND database_name = current_database()
      AND schema_name = coalesce(:schema, current_schema()) AND table_name = :name""")
_INDEXES = sa.text("""
    SELECT expressions FROM duckdb_indexes() WHERE is_unique AND database_name = current_database()
      AND schema_name = coalesce(:schema, current_schema()) AND table_name = :name""")
_IS_TABLE = sa.text("""
    SELECT 1 FROM duckdb_tables() WHERE database_name = current_database()
      AND schema_name = coalesce(:schema, current_schema()) AND table_name = :name""")
_ESTIMATE = sa.text("""
    SELECT estimated_size FROM duckdb_tables() WHERE database_name = current_database()
      AND schema_name = coalesce(:schema, current_schema()) AND table_name = :name""")
_TABLES = sa.text("""
    SELECT CASE WHEN c.schema_name = current_schema() THEN '' ELSE c.schema_name || '.' END || c.table_name AS name,
           list(c.column_name ORDER BY c.column_index) AS columns,
           (SELECT any_value(k.constraint_column_names) FROM duckdb_constraints() k
            WHERE k.table_oid = c.table_oid AND k.constraint_type = 'PRIMARY KEY'
              AND k.database_name = current_database()) AS key
    FROM duckdb_columns() c JOIN duckdb_tables() t ON t.table_oid = c.table_oid AND t.database_name = c.database_name
    WHERE c.database_name = current_database() AND NOT c.internal
    GROUP BY c.schema_name, c.table_name, c.table_oid ORDER BY name""")
