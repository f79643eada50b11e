"""SQLite: `sqlite:///file.db`. One writer at a time, so a repair unit holds the write lock around reading and writing.

SQLite has no types for dates, times, UUIDs or exact decimals: a column holds whatever spelling the application chose.
Such a key is compared by meaning with a typed side, and looked up in the spelling that the column uses; a column that
mixes spellings is an error, because a look-up would then find nothing and call it missing.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trueup.adapters import Capabilities, Survey
from trueup.adapters import _sqlite_fts as fts
from trueup.adapters import _sqlite_values as held
from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Relations
from trueup.adapters._results import message
from trueup.adapters._sql import SPELT, SqlAdapter
from trueup.adapters._walk import walked
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.guarantee import Writing
from trueup.core.plan import Part, Range
from trueup.core.projection import Database
from trueup.core.row import Key, Kind, Value, canonical
from trueup.core.rules import Rule
from trueup.errors import (
    BrokenRead,
    Busy,
    ConfigError,
    ConnectionFailed,
    DataProblem,
    DesignProblem,
    Interrupted,
    StatementTimeout,
    Transient,
    TrueupError,
)

if TYPE_CHECKING:
    from trueup.adapters._copies import Sandboxing
    from trueup.adapters._sqlite_discoverer import SqliteDiscoverer
    from trueup.adapters._sqlite_examiner import SqliteExaminer
    from trueup.adapters._sqlite_probe import SqliteProbe

#: How long a unit waits for SQLite's only write lock, seconds: the application's transactions come first, but end.
BUSY_TIMEOUT_S = 10.0
#: Rows looked at to learn how a column spells what SQLite has no type for.
SAMPLE_ROWS = 100
#: Rows in one key range.
SEGMENT_ROWS = 50_000
#: Places to cut at; what is behind the last is one segment.
CUTS_MAX = 100_000
#: Writing a page takes less, seconds.
PAGE_S = 0.01
#: Bytes of a page, and how many of them the database has.
_PAGES = "SELECT page_size, page_count FROM pragma_page_size, pragma_page_count"
#: Virtual machine steps between two looks at the clock.
STEPS_PER_LOOK = 20_000

#: Tables that a delete reaches by a foreign key.
_DEPENDENTS = sa.text("""
    SELECT DISTINCT t.name FROM sqlite_master t, pragma_foreign_key_list(t.name) f
    WHERE t.type = 'table' AND lower(f."table") = lower(:name) AND f.on_delete NOT IN ('NO ACTION', 'RESTRICT')
    ORDER BY 1""")

#: Names that have to be quoted, and SQLAlchemy does not know of.
_RESERVED = frozenset({"nothing", "returning"})
#: Kinds that SQLite can only spell, not hold.
_MAY_SPELL = frozenset({Kind.ANY, Kind.TEXT})


def connect(name: str, database: Database) -> SqliteAdapter:
    return SqliteAdapter(name, database)


class SqliteRelations(Relations):
    """Relations as SQLite wants them."""

    def exact(self, column: Column, part: Expression) -> Expression:
        """Of a query's column the affinity is not known: '5' is what it is, and not what is asked for as 5."""
        return super().exact(column, held.bare(part) if column.kind is Kind.ANY else part)

    def _side(self, side: BoundSide, segment: Part) -> tuple[list[Expression], list[Expression], list[Expression]]:
        """Both sides' keys are put into one column, which would make those of the target what the source's are."""
        keys, values, within = super()._side(side, segment)
        return [self.exact(column, key) for column, key in zip(side.key, keys, strict=True)], values, within


class SqliteAdapter(SqlAdapter):
    """Reads and repairs SQLite files."""

    capabilities = Capabilities(
        dialect="sqlite", writing=Writing(row_locks=False, row_version=False, single_writer=True), embedded=True
    )
    collation = "BINARY"
    relations_type = SqliteRelations
    #: When the last statement reaches its time limit, by the monotonic clock.
    statement_ends = 0.0
    full_join = False
    reading_options = MappingProxyType({"trueup_begin": "BEGIN"})
    writing_options = MappingProxyType({"trueup_begin": "BEGIN IMMEDIATE"})

    @property
    def discoverer_type(self) -> type[SqliteDiscoverer]:
        from trueup.adapters._sqlite_discoverer import SqliteDiscoverer

        return SqliteDiscoverer

    @property
    def examiner_type(self) -> type[SqliteExaminer]:
        from trueup.adapters._sqlite_examiner import SqliteExaminer

        return SqliteExaminer

    @property
    def probe_type(self) -> type[SqliteProbe]:
        from trueup.adapters._sqlite_probe import SqliteProbe

        return SqliteProbe

    @property
    def sandbox(self) -> Sandboxing:
        from trueup.adapters._sandbox import InFile

        return InFile(self)

    def _create_engine(self, database: Database) -> sa.Engine:
        url = sa.make_url(database.url.get_secret_value())
        if url.host or url.database in (None, "", ":memory:"):
            why = f"a file has three slashes: sqlite:///{url.host}" if url.host else "in memory nobody else sees it"
            raise ConfigError(f"databases.{self.name}.url: give a file: {why}")
        self.path = Path(url.database)
        #: FTS5 tables that were described.
        self._fts: set[str] = set()
        engine = sa.create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S})
        engine.dialect.identifier_preparer.reserved_words |= _RESERVED
        sa.event.listen(engine, "connect", self._on_connect)
        sa.event.listen(engine, "begin", self._on_begin)
        sa.event.listen(engine, "before_cursor_execute", self._on_execute)
        return engine

    @contextmanager
    def _session(self, options: Mapping[str, Any]) -> Iterator[sa.Connection]:
        if not self.path.exists():  # SQLite would make an empty one
            raise ConnectionFailed(f"databases.{self.name}: there is no file {self.path}")
        with super()._session(options) as connection:
            yield connection

    def _on_begin(self, connection: sa.Connection) -> None:
        self._demand_whole(connection)  # before: within, it would hold a lock from here on
        connection.exec_driver_sql(connection.get_execution_options().get("trueup_begin", "BEGIN"))

    def _demand_whole(self, connection: sa.Connection) -> None:
        """Raise BrokenRead if the file ends within its last page. Whole pages that lack SQLite notices itself.

        SQLite tells how long the file has to be: to open and close it ourselves would let go all that this process has
        locked of it.
        """
        page, pages = connection.exec_driver_sql(_PAGES).one()
        looks = 2  # in the middle of being written by a checkpoint, the last page may be there in part
        while (size := self.path.stat().st_size) % page and size < page * pages:
            looks -= 1
            if not looks:
                why = "it ends in the middle of a page, of which SQLite would read the rest as zeros"
                raise BrokenRead(f"databases.{self.name}: {self.path} was cut off: {why}. Restore it, or copy it again")
            time.sleep(PAGE_S)

    def _on_connect(self, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions are ours: the driver would begin them too late
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA synchronous=FULL")
        connection.create_function("trueup_spelt", 4, self._spelt, deterministic=True)
        connection.create_function("trueup_beyond", 4, held.beyond, deterministic=True)
        connection.create_function("trueup_apart", 3, held.apart, deterministic=True)

    def _on_execute(self, connection: sa.Connection, *_rest: object) -> None:
        """Give the statement its upper time limit: SQLite has none of its own."""
        end = self.statement_ends = time.monotonic() + self.database.statement_timeout
        driver: Any = connection.connection.dbapi_connection
        driver.set_progress_handler(lambda: time.monotonic() > end, STEPS_PER_LOOK)

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:  # noqa: ARG002
        return sa.types.NullType()

    def can_hold(self, column: Column, value: Value) -> bool:  # noqa: ARG002
        return not isinstance(value, int) or -(2**63) <= value < 2**63

    def spell(self, column: Column, value: Value) -> Value:
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            raise DataProblem(f"databases.{self.name}: SQLite has no integer as large as {value}")
        return held.spell(column, value)

    def _spelt(self, kind: str, sample: str, time: int, value: Value) -> int:
        """Is a value spelt as we would spell it? `time`: is it one at all?"""
        (meant,) = canonical(Kind(kind), [value])
        column = Column(name="", kind=Kind(kind), type_name="", sample=sample)
        return int(self.spell(column, meant) == value and (not time or isinstance(meant, date)))

    def only_spells(self, column: Column, kind: Kind) -> bool:  # noqa: ARG002 - it has no type for any of these
        return kind in SPELT

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal("")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        # The unary plus takes affinities away, so that '5' (text) where 5 is expected is a difference.
        apart = sa.collate(held.bare(a), self.collation).is_distinct_from(held.bare(b))
        unequal = sa.func.trueup_apart(str(Kind.DECIMAL), a, b) == 1
        kinds = {source.kind, target.kind}
        if kinds == {Kind.DECIMAL, Kind.ANY}:  # which text spells a number is asked of Python, for values that differ
            return apart & unequal
        if kinds == {Kind.DECIMAL, Kind.FLOAT}:  # beyond this a float's shortest spelling is not the integer that it is
            return sa.case(((held.bare(a) > 2**53) | (held.bare(a) < -(2**53)), unequal), else_=apart)
        return apart

    def by_meaning(self, source: Column, target: Column) -> bool:
        kinds = {source.kind, target.kind}
        numbers = kinds <= {Kind.INTEGER, Kind.FLOAT, Kind.BOOLEAN}  # it compares a float with an integer exactly
        return numbers or super().by_meaning(source, target)

    def beyond(self, rule: Rule, source: Column, target: Column, a: Expression, b: Expression) -> Expression | None:  # noqa: ARG002
        """Asked of Python, only for values that differ: SQLite has neither exact decimals nor times."""
        tolerance = rule.tolerance
        assert tolerance is not None
        return sa.func.trueup_beyond(str(rule.kind), tolerance.text, a, b) == 1

    def misspelt(self, column: Column, kind: Kind, part: Expression, *, time: bool) -> Expression | None:
        if kind not in SPELT:
            return None
        return sa.func.trueup_spelt(str(kind), column.sample, int(time), part) == 0

    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:  # noqa: ARG002
        return statement  # BEGIN IMMEDIATE holds the only write lock already

    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:
        if table.name in self._fts:
            return fts.insert_if_absent(table, row)
        return sqlite_insert(table).values(row).on_conflict_do_nothing()

    def begin_writing(self, connection: sa.Connection) -> None:
        """BEGIN IMMEDIATE has taken the lock."""

    def begin_fencing(self, connection: sa.Connection) -> None:
        """BEGIN IMMEDIATE has waited for every other unit."""

    # --- shape ---------------------------------------------------------------------------------------------------

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        schema, _, name = table.rpartition(".")
        inspector = sa.inspect(connection)
        tables = inspector.get_table_names(schema or None)
        if name not in tables and name not in inspector.get_view_names(schema or None):
            raise ConfigError(f"databases.{self.name}: there is no table {table!r}; {near(name, tables)}")
        quoted = connection.dialect.identifier_preparer.quote(name)
        prefix = connection.dialect.identifier_preparer.quote(schema) + "." if schema else ""
        info = connection.exec_driver_sql(f"PRAGMA {prefix}table_xinfo({quoted})").mappings().all()
        primary = [row["name"] for row in sorted(info, key=lambda row: row["pk"]) if row["pk"]]
        indexes = connection.exec_driver_sql(f"PRAGMA {prefix}index_list({quoted})").mappings().all()
        own = any(index["origin"] == "pk" for index in indexes)  # as of an INTEGER PRIMARY KEY DESC: it may hold NULL
        rowid_alias = len(primary) == 1 and not own and any(r["pk"] and r["type"].upper() == "INTEGER" for r in info)
        columns = {
            row["name"]: Column(
                name=row["name"],
                kind=held.kind_of(row["type"]),
                type_name=row["type"],
                nullable=not row["notnull"] and not (rowid_alias and row["pk"]),
                required=bool(row["notnull"]) and row["dflt_value"] is None and not (rowid_alias and row["pk"]),
                generated=row["hidden"] in (2, 3),
                sample=self._sample(connection, table, row["name"])
                if name in tables and held.kind_of(row["type"]) in _MAY_SPELL
                else "",
            )
            for row in info
            if row["hidden"] != 1
        }
        unique = [frozenset(primary)] if primary else []
        for index in indexes:
            if index["unique"] and not index["partial"]:
                of = connection.dialect.identifier_preparer.quote(index["name"])
                told = connection.exec_driver_sql(f"PRAGMA {prefix}index_info({of})").mappings()
                names = [row["name"] for row in told]
                if None not in names:
                    unique.append(frozenset(names))
        triggers = connection.exec_driver_sql(
            f"SELECT name, sql FROM {prefix}sqlite_master WHERE type = 'trigger' AND tbl_name = ?", (name,)
        )
        shape = Shape(
            columns=columns,
            unique=tuple(unique),
            primary=tuple(primary),
            triggers={row.name: row.sql for row in triggers},
            dependents=tuple(connection.execute(_DEPENDENTS, {"name": name}).scalars()),
            table=name in tables,
            dialect=self.capabilities.dialect,
        )
        made = connection.exec_driver_sql(f"SELECT sql FROM {prefix}sqlite_master WHERE name = ?", (name,)).scalar()
        if made is None or not fts.is_fts(made):
            return shape
        self._fts.add(name)
        return fts.shape_of(name, made, shape)

    def _sample(self, connection: sa.Connection, table: str, name: str) -> str:
        """One value of a table's first rows, of a column that may spell a date or UUID: how the application does it."""
        schema, _, bare = table.rpartition(".")
        column: sa.ColumnClause[Any] = sa.column(name)
        first = sa.select(column).select_from(sa.table(bare, schema=schema or None)).limit(SAMPLE_ROWS).subquery("f")
        held = sa.select(first.c[name]).where(first.c[name].is_not(None)).limit(1)
        try:
            return str(connection.execute(held).scalar() or "")
        except SQLAlchemyError as error:
            if isinstance(self.translate(error), DataProblem):
                return ""  # bytes that are no text: that row is found when it is compared
            raise

    # --- access path ---------------------------------------------------------------------------------------------

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002
        table = binding.target if binding.target in of else of[0]
        with self.reading() as connection:
            path = [self._path(connection, side) for side in of]
            seekable = all("SEARCH" in step and "SCAN" not in step for step in path)
            cuts = self._cuts(connection, table) if seekable else []
        words = "; ".join(path)
        return Survey(
            cuts=cuts,
            work=[float(SEGMENT_ROWS)] * (len(cuts) + 1),
            whole=float(SEGMENT_ROWS) * (len(cuts) + 1),
            per_segment=float(SEGMENT_ROWS),
            seekable=seekable,
            reason=f"an index serves key ranges ({words})" if seekable else f"no index serves key ranges ({words})",
        )

    def _path(self, connection: sa.Connection, side: BoundSide) -> str:
        """How SQLite would read a key range of one side."""
        probe = Range(lower=tuple(_SAMPLE.get(column.kind, "") for column in side.key))
        statement = self.relations.rows(side, probe, tokens=False, order=False)
        plan = self.explain(connection, "EXPLAIN QUERY PLAN", statement)
        details = [str(row.detail) for row in plan]
        steps = [detail for detail in details if detail.startswith(("SEARCH", "SCAN"))]
        return ", ".join(step for step in steps if step not in ("SCAN q", "SCAN CONSTANT ROW")) or "nothing"

    def _cuts(self, connection: sa.Connection, side: BoundSide) -> list[Key]:
        """Every SEGMENT_ROWS-th key, walking the index."""

        def after(span: Range, rows: int) -> Key | None:
            row = connection.execute(self.relations.nth(side, span, rows)).first()
            return row and side.key_of(row)

        return walked(after, SEGMENT_ROWS, CUTS_MAX)

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        original = error.orig if isinstance(error, DBAPIError) else None
        words = message(error)
        where = f"databases.{self.name} ({self.path})"
        code = getattr(original, "sqlite_errorname", "") or ""
        if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return Busy(f"{where}: {words}: another process holds the write lock longer than {BUSY_TIMEOUT_S:g} s")
        if code == "SQLITE_INTERRUPT" and time.monotonic() < self.statement_ends:
            # The driver swallows what a signal handler raises while a statement runs, and only stops the statement.
            return Interrupted(f"{where}: cut off in the middle of a statement; run again to go on")
        if code == "SQLITE_INTERRUPT":
            return StatementTimeout(
                f"{where}: a statement took longer than {self.database.statement_timeout:g} s; "
                f"the limit is databases.{self.name}.statement_timeout"
            )
        if code.startswith(("SQLITE_CANTOPEN", "SQLITE_NOTADB")):
            return ConnectionFailed(f"{where}: {words}")
        if code.startswith(("SQLITE_FULL", "SQLITE_NOMEM", "SQLITE_IOERR")):
            return Transient(f"{where}: {words}")
        if code.startswith(_REFUSED) or any(part in words for part in _UNREADABLE):
            return DataProblem(f"{where}: {words}")
        return DesignProblem(f"{where}: {words}")


#: What SQLite says of a row or value that it does not take.
_REFUSED = ("SQLITE_CONSTRAINT", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE")
#: And of one that it holds and cannot hand out or compute with; the driver gives these no code of their own.
_UNREADABLE = ("Could not decode to UTF-8", "integer overflow", "malformed JSON", "user-defined function raised")
#: Any value of the kind, to ask for the access path of a range.
_SAMPLE: dict[Kind, Value] = {Kind.INTEGER: 0}
