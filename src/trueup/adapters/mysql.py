"""MariaDB 10.6 and later, MySQL 8.0 and later: `mariadb://user@host/db`, `mysql://user@host/db`, by PyMySQL.

A repair unit runs at READ COMMITTED: it locks its rows first (FOR UPDATE SKIP LOCKED) and reads the source in the next
statement, whose read view sees every transaction that held those locks before. InnoDB keeps no version of a row that a
statement could ask for, so where the source lives elsewhere the lock is held while the source is read.

What is compared is compared as bytes: InnoDB's usual collations take `a` for `A` and `é`, and `a` for `a` with trailing
blanks. Text keys are therefore asked for twice, plainly (so that an index serves) and exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trueup.adapters import Capabilities, Look, Survey
from trueup.adapters import _mysql_values as held
from trueup.adapters import _units as units
from trueup.adapters._hashing import Portable, Way
from trueup.adapters._mysql_hashing import JOINED_MAX, MysqlSpelling
from trueup.adapters._relations import Expression, Form, Relations, user_query
from trueup.adapters._sql import RowStream, SqlAdapter, message
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.guarantee import Writing
from trueup.core.plan import Everything, Range, Segment, ranges
from trueup.core.projection import Database, Side
from trueup.core.row import Key, Kind, Value, canonical
from trueup.errors import (
    Busy,
    ConfigError,
    ConnectionFailed,
    DataProblem,
    DesignProblem,
    StatementTimeout,
    Transient,
    TrueupError,
)

#: Oldest servers with FOR UPDATE SKIP LOCKED.
MARIADB_MIN, MYSQL_MIN = (10, 6), (8, 0, 19)
#: Rows in one key range; PyMySQL reads about as many in a second.
SEGMENT_ROWS = 50_000
#: Most candidate cut points; each costs one EXPLAIN.
CUTS_MAX = 1000
#: Intervals whose work is asked first; where no index serves the others are not worth asking.
FEW = 6
#: Reading by key range pays while the optimizer expects it to read no more than this, against one pass.
RANGES_PAY_BELOW = 4.0
#: How long raising a fence waits for open units, which are short.
FENCE_WAIT_S = 10
#: What an INSERT of ours calls its last id where the row was there already; no table counts that far.
WAS_THERE = 2**64 - 1
#: Nothing is cut or rounded in silence on the way in; identifiers are quoted and text is escaped as the driver does it.
SQL_MODE = "STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
#: Bytes of a long text that sorting looks at; the server's default of 1,024 would leave longer keys in any order.
SORTED_BYTES = 65_536

_COLUMNS = sa.text("""
    SELECT COLUMN_NAME AS name, DATA_TYPE AS base, COLUMN_TYPE AS type, COLLATION_NAME AS collation,
           IS_NULLABLE AS nullable, COLUMN_DEFAULT AS fallback, EXTRA AS extra
    FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name
    ORDER BY ORDINAL_POSITION""")
_TABLE = sa.text("""
    SELECT TABLE_TYPE AS type, ENGINE AS engine FROM information_schema.TABLES
    WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name""")
#: Columns of unique indexes; a part of a column (prefix) or an expression is not unique on the column.
_UNIQUE = sa.text("""
    SELECT INDEX_NAME AS name, COLUMN_NAME AS of, SUB_PART IS NOT NULL OR COLUMN_NAME IS NULL AS partial
    FROM information_schema.STATISTICS
    WHERE TABLE_SCHEMA = coalesce(:schema, DATABASE()) AND TABLE_NAME = :name AND NON_UNIQUE = 0""")


def _marker_tables() -> sa.MetaData:
    """The marker tables, in InnoDB whatever the default is; names are told apart by their bytes."""
    made = sa.MetaData()
    for table in units.MARKER_TABLES.sorted_tables:
        copy = table.to_metadata(made)
        copy.dialect_kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")
        for column in copy.columns:
            if isinstance(column.type, sa.Text):
                column.type = mysql.LONGTEXT()
    return made


def connect(name: str, database: Database) -> MysqlAdapter:
    return MysqlAdapter(name, database)


class _Single(sa.types.TypeDecorator[float]):
    """A single-precision float, read exactly and shown as other databases show it."""

    impl = sa.types.NullType
    cache_ok = True

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        return held.single(value)


class _Relations(Relations):
    """Relations as this optimizer wants them."""

    def ordered(self, column: Column, expression: Expression) -> Expression:
        if column.kind in (Kind.TEXT, Kind.UUID, Kind.ANY):
            if held.collation_of(column) == self.dialect.collation and held.base_of(column) not in ("enum", "set"):
                return expression  # so that an index serves the order
            return sa.collate(self.read_as(column, expression), self.dialect.collation)
        return self.read_as(column, expression)

    def _beyond(self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool) -> Expression:
        """Spelt out: no index serves a comparison of rows here."""
        bounds = [self.border(column, value) for column, value in zip(columns, key, strict=True)]
        choices = []
        for at, (part, bound) in enumerate(zip(parts, bounds, strict=True)):
            last = at == len(parts) - 1
            further = (part >= bound if last else part > bound) if above else part < bound
            choices.append(sa.and_(*(p == b for p, b in zip(parts[:at], bounds[:at], strict=True)), further))
        return sa.or_(*choices)

    def _forms(self, columns: Sequence[Column], parts: Sequence[Expression]) -> list[tuple[Sequence[Expression], Form]]:
        forms = super()._forms(columns, parts)
        return forms if all(map(held.may_be_asked, columns)) else forms[-1:]

    def _grouped(self, binding: Binding, segment: Segment) -> sa.CTE:
        select: Any = super()._grouped(binding, segment).element
        cte: sa.CTE = select.cte("j", nesting=False)  # MATERIALIZED is no word here
        return cte


class _Unbuffered(RowStream):
    """A stream whose rows come as they are read. Left in the middle, its connection goes: the driver would otherwise
    read all that remains before it lets go."""

    @contextmanager
    def _execute(self, connection: sa.Connection) -> Iterator[sa.CursorResult[Any]]:
        with super()._execute(connection) as result:
            try:
                yield result
            except BaseException:
                driver: Any = result.cursor
                if driver is not None and driver._result is not None:
                    driver._result.unbuffered_active = False
                connection.invalidate()
                raise


class MysqlAdapter(SqlAdapter):
    """Reads and repairs MariaDB and MySQL."""

    capabilities = Capabilities(
        dialect="mysql", writing=Writing(row_locks=True, row_version=False, single_writer=False)
    )
    collation = held.BINARY_COLLATIONS[0]
    full_join = False
    marker_tables = _marker_tables()
    reading_options = MappingProxyType({"trueup_begin": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"})
    writing_options = MappingProxyType({"trueup_begin": "START TRANSACTION READ WRITE"})

    relations_type = _Relations
    stream_type = _Unbuffered

    def _create_engine(self, database: Database) -> sa.Engine:
        url = sa.make_url(database.url.get_secret_value()).set(drivername="mysql+pymysql")
        if not url.database:
            raise ConfigError(f"databases.{self.name}.url: name the database: mysql://user@host/database")
        engine = sa.create_engine(
            url,
            pool_pre_ping=True,
            isolation_level="READ COMMITTED",
            connect_args={
                "conv": held.CONVERSIONS,
                "charset": "utf8mb4",
                "connect_timeout": 10,
                # Before anything else is asked: what the dialect learns of the session has to hold for all of it.
                "init_command": f"SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00'",
            },
        )
        sa.event.listen(engine, "connect", self._on_connect)
        sa.event.listen(engine, "begin", _on_begin)
        sa.event.listen(engine, "after_cursor_execute", _after_execute)
        return engine

    def _on_connect(self, connection: pymysql.Connection[Any], _record: object) -> None:
        mariadb, version = held.version_of(connection.get_server_info())
        if version < (MARIADB_MIN if mariadb else MYSQL_MIN):
            name, least = ("MariaDB", "10.6") if mariadb else ("MySQL", "8.0.19")
            raise ConfigError(
                f"databases.{self.name}: {name} {'.'.join(map(str, version))} is too old; {least} or later"
            )
        self.collation = held.BINARY_COLLATIONS[0 if mariadb else 1]
        timeout_s = self.database.statement_timeout
        settings = {
            "max_sort_length": f"{SORTED_BYTES}",
            "group_concat_max_len": f"{JOINED_MAX}",
            "lock_wait_timeout": _seconds(self.database.lock_timeout),
            "net_write_timeout": "600",  # a side that is read in step with a slower one waits for it
        }
        if mariadb:
            settings["max_statement_time"] = f"{timeout_s:.3f}"
            settings["idle_write_transaction_timeout"] = "10"
        else:
            settings["max_execution_time"] = f"{timeout_s * 1000:.0f}"
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()))

    # --- values --------------------------------------------------------------------------------------------------

    def read_as(self, column: Column, expression: Expression) -> Expression:
        base = held.base_of(column)
        if column.kind is Kind.TEXT and base not in ("enum", "set") and held.collation_of(column)[:7] == "utf8mb4":
            return expression
        if column.kind in (Kind.TEXT, Kind.UUID, Kind.OPAQUE, Kind.ANY):
            return sa.cast(expression, mysql.CHAR(charset="utf8mb4"))
        if base == "bit":
            return sa.cast(expression, mysql.BIGINT(unsigned=True))
        if base == "float":  # as such it is sent with six digits
            return sa.type_coerce(expression.op("+")(sa.literal_column("0e0")), _Single())
        return expression

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        return sa.Text() if column.kind is Kind.TEXT else sa.types.NullType()

    def spell(self, column: Column, value: Value) -> Value:  # noqa: ARG002
        return held.spell(value)

    def can_hold(self, column: Column, value: Value) -> bool:
        return value is None or held.can_hold(column, value)

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal_column("''")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:  # noqa: ARG002
        if source.kind in (Kind.TEXT, Kind.UUID, Kind.OPAQUE, Kind.ANY):
            return sa.collate(a, self.collation).is_distinct_from(b)
        return a.is_distinct_from(b)

    def ways(self) -> Sequence[Way]:
        return [Portable(MysqlSpelling(self.relations))]

    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:
        return statement.with_for_update(skip_locked=not wait)

    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:
        """Not INSERT IGNORE, which forgives far more than a row that is there, and locks that row only shared: who then
        wants to write it can meet the application in a deadlock.
        """
        first = table.c[next(iter(row))]
        unchanged = sa.func.if_(sa.func.last_insert_id(sa.literal_column(str(WAS_THERE))), first, first)
        statement = mysql.insert(table).values(row).on_duplicate_key_update({first.name: unchanged})
        return statement.execution_options(trueup_if_absent=True)

    def begin_writing(self, connection: sa.Connection) -> None:
        self._wait(connection, _seconds(self.database.lock_timeout))

    def begin_fencing(self, connection: sa.Connection) -> None:
        self._wait(connection, str(FENCE_WAIT_S))

    def _wait(self, connection: sa.Connection, limit_s: str) -> None:
        connection.exec_driver_sql(f"SET SESSION innodb_lock_wait_timeout = {limit_s}, lock_wait_timeout = {limit_s}")

    # --- shape ---------------------------------------------------------------------------------------------------

    def describe(self, side: Side) -> Shape:
        with self.reading() as connection:
            if side.table is not None:
                return self._describe_table(connection, side.table)
            return Shape(columns=self._describe_query(connection, side.query or ""), dialect=self.capabilities.dialect)

    def _describe_table(self, connection: sa.Connection, table: str) -> Shape:
        schema, _, name = table.rpartition(".")
        where = {"schema": schema or None, "name": name}
        found = connection.execute(_TABLE, where).one_or_none()
        if found is None:
            tables = sa.inspect(connection).get_table_names(schema or None)
            raise ConfigError(f"databases.{self.name}: there is no table {table!r}; {near(name, tables)}")
        unique: dict[str, list[str]] = {}
        for row in connection.execute(_UNIQUE, where):
            unique.setdefault(row.name, []).append("" if row.partial else row.of)
        return Shape(
            columns={row.name: _column(row) for row in connection.execute(_COLUMNS, where)},
            unique=tuple(frozenset(names) for names in unique.values() if "" not in names),
            table=found.type != "VIEW",
            dialect=self.capabilities.dialect,
            obstacle=self._obstacle(connection, found.engine),
        )

    def _obstacle(self, connection: sa.Connection, engine: str | None) -> str:
        """Why a row lock does not keep writers out of a table of this engine on this server."""
        if engine is not None and engine.upper() != "INNODB":
            return f"{engine} has no row locks and no rollback; ALTER TABLE ... ENGINE = InnoDB, or only check it"
        cluster = connection.exec_driver_sql("SHOW VARIABLES LIKE 'wsrep_on'").first()
        if cluster is not None and cluster[1] == "ON":
            return "this is a node of a Galera cluster, and a row lock does not hold on the others; it can be checked"
        return ""

    def _describe_query(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        fields = self.describe_query(connection, query)
        names = [field.name for field in fields]
        quote = connection.dialect.identifier_preparer.quote
        text = user_query(query, self.capabilities.dialect).text
        asked = ", ".join(f"collation((SELECT {quote(name)} FROM q LIMIT 0))" for name in names)
        collations = connection.execute(sa.text(f"WITH q AS (\n{text}) SELECT {asked}")).one()
        types = [held.type_of_field(field, of) for field, of in zip(fields, collations, strict=True)]
        return {
            name: Column(name=name, kind=held.kind_of(of), type_name=of) for name, of in zip(names, types, strict=True)
        }

    def described(self, cursor: Any) -> Sequence[Any]:
        return list(cursor._result.fields)  # its `description` tells neither enums nor character sets

    def schemas(self, inspector: sa.Inspector) -> list[str]:
        return [inspector.default_schema_name or ""]  # others on the server are other databases

    # --- comparing -----------------------------------------------------------------------------------------------

    def differences(self, binding: Binding, segment: Segment) -> Look | None:
        pairs = zip(binding.source.columns, binding.target.columns, strict=True)
        if not all(held.comparable_inside(a, b) for a, b in pairs):
            return None
        look = super().differences(binding, segment)
        return look and held.shown(look, binding)

    def compared(self, connection: sa.Connection, binding: Binding, segment: Segment) -> Sequence[sa.Row[Any]]:
        """Two statements on one snapshot, the second only where there are differences: a CTE that is named twice is
        computed twice here.
        """
        selects: Any = self.comparison(binding, segment).selects
        figures, differing = selects
        rows = list(connection.execute(figures))
        _, _, *found = map(int, rows[0].figures.split(",")[:5])
        return rows + list(connection.execute(differing)) if any(found) else rows

    def survey(self, binding: Binding, of: Sequence[BoundSide]) -> Survey:
        with self.reading() as connection:

            def work(segment: Segment) -> float:
                if len(of) == 2:
                    statement: Any = self.comparison(binding, segment).selects[0]
                else:  # the other side lives elsewhere: its columns mean nothing here
                    statement = self.relations.rows(of[0], segment, tokens=False, order=True)
                return _rows_read(self.explain(connection, "EXPLAIN", statement))

            whole = work(Everything())
            table = binding.target if binding.target in of else of[0]
            cuts = self._cuts(connection, table, whole) if whole > 2 * SEGMENT_ROWS else []
            intervals = ranges(cuts)
            few = [work(segment) for segment in intervals[:: max(len(intervals) // FEW, 1)]]
            served = bool(cuts) and min(few) < 0.75 * whole
            each = [work(segment) for segment in intervals] if served else []
        total = sum(each) if served else sum(few) * len(intervals) / len(few)
        figures = f"the optimizer expects to read {total:,.0f} rows by key range, {whole:,.0f} in one pass"
        if not cuts:
            figures = f"the optimizer expects to read {whole:,.0f} rows: small, or without an index in key order"
        pays = served and total <= whole * RANGES_PAY_BELOW
        return Survey(cuts=cuts, work=each, whole=whole, per_segment=SEGMENT_ROWS, seekable=pays, reason=figures)

    def _cuts(self, connection: sa.Connection, side: BoundSide, rows: float) -> list[Key]:
        """Every so many-th key, walking an index in key order; none if there is no such index."""
        if side.side.table is None:
            return []
        keys = self.relations.columns(side)[1][: len(side.key)]
        step = max(SEGMENT_ROWS, round(rows / CUTS_MAX))
        cuts: list[Key] = []
        while len(cuts) < CUTS_MAX:
            after = Range(lower=cuts[-1]) if cuts else Range()
            statement = (
                sa.select(*(self.read_as(c, k) for c, k in zip(side.key, keys, strict=True)))
                .where(*self.relations.within(side, keys, after), *(key.is_not(None) for key in keys))
                .order_by(*(self.relations.ordered(c, k) for c, k in zip(side.key, keys, strict=True)))
                .limit(1)
                .offset(step)
            )
            if not cuts and "filesort" in str(self.explain(connection, "EXPLAIN", statement)):
                return []
            row = connection.execute(statement).first()
            if row is None:
                break
            cuts.append(tuple(canonical(c.kind, [v])[0] for c, v in zip(side.key, row, strict=True)))
        return list(dict.fromkeys(cuts))

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        words = f"databases.{self.name}: {message(error)}"
        original = error.orig if isinstance(error, DBAPIError) else None
        code = original.args[0] if original is not None and original.args else None
        if code in held.STATEMENT_TIMEOUT:
            return StatementTimeout(f"{words}; the limit is databases.{self.name}.statement_timeout")
        if code in held.BUSY:
            return Busy(words)
        if code in held.UNREACHABLE:
            return ConnectionFailed(words)
        if code in held.TRANSIENT or (isinstance(error, DBAPIError) and error.connection_invalidated):
            return Transient(words)
        # Without a number it is the driver's: a value that it cannot spell.
        refused = isinstance(original, pymysql.IntegrityError | pymysql.DataError) or isinstance(code, str)
        if refused or code in held.DATA:
            return DataProblem(words)
        return DesignProblem(words)


def _on_begin(connection: sa.Connection) -> None:
    begin = connection.get_execution_options().get("trueup_begin", "START TRANSACTION")
    if "SNAPSHOT" in begin:  # for the next transaction only
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    connection.exec_driver_sql(begin)


def _after_execute(_connection: object, cursor: Any, _sql: str, _given: object, context: Any, _many: bool) -> None:
    """The server counts one row for an INSERT that found its row there, too; the last id tells."""
    if context.execution_options.get("trueup_if_absent") and cursor.lastrowid == WAS_THERE:
        cursor.rowcount = 0


def _seconds(limit_s: float) -> str:
    """Lock waits are whole seconds here, and 0 does not wait at all."""
    return str(max(1, math.ceil(limit_s)))


def _column(row: sa.Row[Any]) -> Column:
    extra = row.extra.upper()
    generated = " GENERATED" in extra or row.base == "generated"
    given = row.fallback is not None or "AUTO_INCREMENT" in extra
    not_null = row.nullable == "NO"
    kind = held.kind_of(row.base)
    type_name = held.text_type(row.type, row.collation) if row.collation else row.type
    return Column(
        name=row.name,
        kind=kind,
        type_name=f"{type_name} (which has no equality)" if kind is Kind.INCOMPARABLE else type_name,
        nullable=not not_null,
        required=not_null and not given and not generated,
        generated=generated,
    )


def _rows_read(plan: Sequence[sa.Row[Any]]) -> float:
    """Rows that a statement reads from tables, as its plan expects: of each SELECT, the product of its tables."""
    work: dict[Any, float] = {}
    for step in plan:
        if step.rows is not None and not str(step.table).startswith("<"):
            work[step.id] = work.get(step.id, 1.0) * max(float(step.rows), 1.0)
    return sum(work.values())
