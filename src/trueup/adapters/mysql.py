"""MariaDB 10.6 and later, MySQL 8.0 and later: `mariadb://user@host/db`, `mysql://user@host/db`, by PyMySQL.

A repair unit runs at READ COMMITTED: it locks its rows first (FOR UPDATE SKIP LOCKED) and reads the source in the next
statement, whose read view sees every transaction that held those locks before. InnoDB keeps no version of a row that a
statement could ask for, so where the source lives elsewhere the lock is held while the source is read.

What is compared is compared as bytes: InnoDB's usual collations take `a` for `A` and `é`, and `a` for `a` with trailing
blanks. Text keys are therefore asked for twice, plainly (so that an index serves) and exactly.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pymysql
import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trueup.adapters import Capabilities, Look, Survey
from trueup.adapters import _mysql_values as held
from trueup.adapters._dialect import Expression
from trueup.adapters._mysql_hashing import JOINED_MAX, WARNINGS_MAX, MysqlSpelling
from trueup.adapters._mysql_relations import (
    COERCED,
    MysqlRelations,
    Single,
    Unbuffered,
    marker_tables,
    refuse_coerced,
)
from trueup.adapters._mysql_shape import DIALECT, describe_query, describe_table
from trueup.adapters._mysql_survey import MysqlSurveying
from trueup.adapters._pool import try_idle
from trueup.adapters._portable import Portable
from trueup.adapters._results import GRANT, message
from trueup.adapters._row_hash import Way
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import Binding, BoundSide, Column, Shape, near
from trueup.core.guarantee import Writing
from trueup.core.plan import Part
from trueup.core.projection import Database
from trueup.core.row import Kind, Value
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

if TYPE_CHECKING:
    from trueup.adapters._copies import Sandboxing
    from trueup.adapters._mysql_discoverer import MysqlDiscoverer
    from trueup.adapters._mysql_examiner import MysqlExaminer
    from trueup.adapters._mysql_probe import MysqlProbe

#: Oldest servers with FOR UPDATE SKIP LOCKED.
MARIADB_MIN, MYSQL_MIN = (10, 6), (8, 0, 19)
#: What may be given behind the URL: PyMySQL's options, and those that SQLAlchemy makes one of.
_OPTIONS = frozenset(inspect.signature(pymysql.Connection).parameters) | {
    "ssl_capath",
    "ssl_cipher",
    "ssl_check_hostname",
}
#: How long raising a fence waits for open units, which are short.
FENCE_WAIT_S = 10
#: What an INSERT of ours calls its last id where the row was there already; no table counts that far.
WAS_THERE = 2**64 - 1
#: Nothing is cut or rounded in silence on the way in, and a day that no calendar has stays that day where sides are
#: joined; identifiers are quoted and text is escaped as the driver does it.
SQL_MODE = "ALLOW_INVALID_DATES,STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"
#: Bytes of a long text that sorting looks at; the server's default of 1,024 would leave longer keys in any order.
SORTED_BYTES = 65_536


def connect(name: str, database: Database) -> MysqlAdapter:
    return MysqlAdapter(name, database)


class MysqlAdapter(SqlAdapter):
    """Reads and repairs MariaDB and MySQL."""

    capabilities = Capabilities(
        dialect=DIALECT, writing=Writing(row_locks=True, row_version=False, single_writer=False)
    )
    collation = held.BINARY_COLLATIONS[0]
    full_join = False
    marker_tables = marker_tables()
    reading_options = MappingProxyType({"trueup_begin": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"})
    writing_options = MappingProxyType({"trueup_begin": "START TRANSACTION READ WRITE"})

    relations_type = MysqlRelations
    stream_type = Unbuffered

    @property
    def discoverer_type(self) -> type[MysqlDiscoverer]:
        from trueup.adapters._mysql_discoverer import MysqlDiscoverer

        return MysqlDiscoverer

    @property
    def examiner_type(self) -> type[MysqlExaminer]:
        from trueup.adapters._mysql_examiner import MysqlExaminer

        return MysqlExaminer

    @property
    def probe_type(self) -> type[MysqlProbe]:
        from trueup.adapters._mysql_probe import MysqlProbe

        return MysqlProbe

    @property
    def sandbox(self) -> Sandboxing:
        from trueup.adapters._sandbox import InDatabase

        return InDatabase(self)

    def _create_engine(self, database: Database) -> sa.Engine:
        url = sa.make_url(database.url.get_secret_value()).set(drivername="mysql+pymysql")
        if not url.database:
            raise ConfigError(f"databases.{self.name}.url: name the database: mysql://user@host/database")
        for option in url.query:
            if option not in _OPTIONS:
                raise ConfigError(
                    f"databases.{self.name}.url: PyMySQL has no option {option!r}; {near(option, _OPTIONS)}"
                )
        engine = sa.create_engine(
            url,
            isolation_level="READ COMMITTED",
            connect_args={
                "conv": held.CONVERSIONS,
                "charset": "utf8mb4",
                "connect_timeout": 10,
                # Before anything else is asked: what the dialect learns of the session has to hold for all of it.
                "init_command": f"SET SESSION sql_mode = '{SQL_MODE}', time_zone = '+00:00'",
            },
        )
        try_idle(engine)
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
            "max_error_count": f"{WARNINGS_MAX}",
            "sql_select_limit": f"{2**64 - 1}",  # a lower one ends each answer early, and in silence
            "lock_wait_timeout": _seconds(self.database.lock_timeout),
            "net_write_timeout": "600",  # a side that is read in step with a slower one waits for it
        }
        if mariadb:
            settings["max_statement_time"] = f"{timeout_s:.3f}"
            settings["idle_write_transaction_timeout"] = "10"
            settings["max_recursive_iterations"] = f"{2**32 - 1}"  # a lower one ends WITH RECURSIVE early, in silence
        else:
            settings["max_execution_time"] = f"{timeout_s * 1000:.0f}"
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in settings.items()))

    # --- values --------------------------------------------------------------------------------------------------

    def read_as(self, column: Column, expression: Expression) -> Expression:
        base = held.base_of(column)
        text = column.kind in (Kind.TEXT, Kind.JSON)
        if text and base not in ("enum", "set") and held.collation_of(column)[:7] == "utf8mb4":
            return expression
        if text or column.kind in (Kind.UUID, Kind.OPAQUE, Kind.ANY):
            return sa.cast(expression, mysql.CHAR(charset="utf8mb4"))
        if base == "bit":
            return sa.cast(expression, mysql.BIGINT(unsigned=True))
        if base == "year":  # a number beside it would be one of two digits: 70 is 1970
            return expression.op("+")(sa.literal_column("0"))
        if base == "float":  # as such it is sent with six digits
            number = expression.op("+")(sa.literal_column("0e0"))
            return sa.type_coerce(number, Single(whole=column.exact))
        return expression

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        return sa.Text() if column.kind in (Kind.TEXT, Kind.JSON) else sa.types.NullType()

    def spell(self, column: Column, value: Value) -> Value:
        return held.spell(column, value)

    def can_hold(self, column: Column, value: Value) -> bool:
        return value is None or held.can_hold(column, value)

    def token_of(self, side: BoundSide) -> Expression:  # noqa: ARG002
        return sa.literal_column("''")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:  # noqa: ARG002
        if source.kind in (Kind.TEXT, Kind.UUID, Kind.OPAQUE, Kind.ANY):
            return sa.collate(a, self.collation).is_distinct_from(b)
        return a.is_distinct_from(b)

    def ways(self) -> Sequence[Way]:
        return [Portable(MysqlSpelling(self.relations, self.name))]

    def answered(
        self,
        connection: sa.Connection,
        statement: sa.Executable,
        given: Mapping[str, Value] | None = None,
        *,
        where_to_look: bool = False,
    ) -> Sequence[sa.Row[*tuple[Any, ...]]]:
        rows = super().answered(connection, statement, given)
        refuse_coerced(connection, self.name, forgiven=COERCED if where_to_look else frozenset())
        return rows

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

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        return describe_table(connection, self.name, table)

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        return describe_query(connection, query, self.describe_query(connection, query))

    def described(self, cursor: Any) -> Sequence[Any]:
        return list(cursor._result.fields)  # its `description` tells neither enums nor character sets

    def schemas(self, inspector: sa.Inspector) -> list[str]:
        return [inspector.default_schema_name or ""]  # others on the server are other databases

    # --- comparing -----------------------------------------------------------------------------------------------

    def differences(self, binding: Binding, segment: Part) -> Look | None:
        pairs = zip(binding.source.columns, binding.target.columns, strict=True)
        if not all(held.comparable_inside(a, b) for a, b in pairs):
            return None
        look = super().differences(binding, segment)
        return look and held.shown(look, binding)

    def compared(self, connection: sa.Connection, binding: Binding, segment: Part) -> Sequence[sa.Row[Any]]:
        """Two statements on one snapshot, the second only where there are differences: a CTE that is named twice is
        computed twice here.
        """
        statement, ends = self.comparison_of_any(binding, segment)
        selects: Any = statement.selects
        figures, differing = selects
        rows = [*self.answered(connection, figures, ends)]
        _, _, *found = map(int, rows[0].figures.split(",")[:5])
        if any(found):
            rows += self.answered(connection, differing, ends)
        return rows

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:  # noqa: ARG002 - rows lie in key order
        with self.reading() as connection:
            return MysqlSurveying(self, connection).survey(binding, of)

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        words = f"databases.{self.name}: {message(error)}"
        original = error.orig if isinstance(error, DBAPIError) else None
        code = original.args[0] if original is not None and original.args else None
        if code in held.STATEMENT_TIMEOUT:
            return StatementTimeout(f"{words}; the limit is databases.{self.name}.statement_timeout")
        if code in held.BUSY:
            return Busy(words)
        if code in held.NOBODY_THERE and self.reached:
            return Transient(words)
        if code in held.UNREACHABLE:
            return ConnectionFailed(words)
        if code in held.TRANSIENT or (isinstance(error, DBAPIError) and error.connection_invalidated):
            return Transient(words)
        # Without a number it is the driver's: a value that it cannot spell.
        refused = isinstance(original, pymysql.IntegrityError | pymysql.DataError) or isinstance(code, str)
        if refused or code in held.DATA:
            return DataProblem(words)
        return DesignProblem(words + (GRANT if code in held.UNPRIVILEGED else ""))


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
