"""PostgreSQL 13 and later: `postgresql://user@host/db`, by psycopg 3.

A repair unit locks its rows with FOR NO KEY UPDATE SKIP LOCKED at READ COMMITTED, so that it neither waits for the
application's rows while holding some nor sees an old snapshot after the lock. `xmin` is the row version: it changes
with every write. (`ctid` alone is not one: TID scans lacked the re-check after a lock wait until the minor releases of
September 2025.)
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from datetime import datetime, time
from functools import cached_property, partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from trueup.adapters import Capabilities, Look, Stream, Survey
from trueup.adapters import _postgresql_once as once
from trueup.adapters import _postgresql_sessions as sessions
from trueup.adapters import _postgresql_values as held
from trueup.adapters._dialect import Expression, Verbatim, whole_single
from trueup.adapters._pool import try_idle
from trueup.adapters._portable import Portable
from trueup.adapters._postgresql_by_key import RowsByKey
from trueup.adapters._postgresql_hashing import Native, PostgresqlSpelling, binary_results
from trueup.adapters._postgresql_inside import Inside
from trueup.adapters._postgresql_relations import PostgresqlRelations
from trueup.adapters._postgresql_shape import describe_query, describe_table
from trueup.adapters._postgresql_survey import PostgresqlSurveying
from trueup.adapters._results import GRANT, message, sqlstate
from trueup.adapters._row_hash import Way
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import Binding, BoundSide, Column, Shape
from trueup.core.digest import Digests, Hashing
from trueup.core.guarantee import Writing
from trueup.core.plan import KeyHashes, Part, Ranges
from trueup.core.projection import Database
from trueup.core.row import Kind, Value, present
from trueup.core.rules import Rule
from trueup.core.values import as_single
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
from trueup.urls import kept_alive

if TYPE_CHECKING:
    from trueup.adapters import OneStatement, Packer
    from trueup.adapters._copies import Sandboxing
    from trueup.adapters._postgresql_discoverer import PostgresqlDiscoverer
    from trueup.adapters._postgresql_examiner import PostgresqlExaminer
    from trueup.adapters._postgresql_probe import PostgresqlProbe

#: Oldest server that the repair protocols were shown to be right on.
VERSION_MIN = 130000

_WRITING = Writing(row_locks=True, row_version=True, single_writer=False)
#: A key range is then read page by page, by a bitmap, and not row by row as the index has them: a twentieth less work,
#: and far less where the table is in another order. Its planner cannot know: it sees no ends of ranges. The aggregate
#: of a range needs no order, nor do the hashes of its rows. What an index covers is still read from it alone.
_BY_BITMAP = "SELECT set_config('enable_indexscan', 'off', true), set_config('enable_seqscan', 'off', true)"
#: Where a digest needs one, sorting what a bitmap gives costs more than the bitmap saves.
_BY_INDEX = "SELECT set_config('enable_bitmapscan', 'off', true), set_config('enable_seqscan', 'off', true)"


#: The server's function that says which privilege is missing. Its words are in the server's language, and its SQLSTATE
#: is also that of row-level security, which no grant ends.
_DENIES = "aclcheck_error"
#: SQLSTATE (or its class, its first two characters) -> what it is; the first that fits. All others are design: a table
#: or column that is not there, a missing privilege, a syntax error, a broken server.
_ERRORS: Sequence[tuple[tuple[str, ...], type[TrueupError]]] = (
    (("57014", "25P04"), StatementTimeout),
    (("40", "55P03"), Busy),  # serialization, deadlock; a lock that was not to be had in time
    (("57P04", "28", "3D000"), ConnectionFailed),  # no such database, or not for us
    # Connection lost, idle too long; no memory, disk or slot left; shut down or starting up.
    (("08", "25P03", "53", "57P"), Transient),
    # A value, a constraint, a check option; a function or trigger that raises; a row too large for an index; a
    # sub-select that gives two rows.
    (("21", "22", "23", "38", "39", "44", "54000", "P0"), DataProblem),
)
#: Bytes that are no text of the encoding that is sent.
_NO_TEXT = "22021"
#: A table with a deferrable unique constraint takes no ON CONFLICT; another row in a unique index is in the way of one.
_DEFERRABLE, _IN_THE_WAY = "55000", "23505"
#: What a server says to who connects while it is full, starts or stops.
_NOT_NOW = (
    *("too many clients", "too many connections", "connection slots"),
    *("starting up", "shutting down", "in recovery mode"),
)


def connect(name: str, database: Database) -> PostgresqlAdapter:
    return PostgresqlAdapter(name, database)


class PostgresqlAdapter(SqlAdapter):
    """Reads and repairs PostgreSQL."""

    capabilities = Capabilities(dialect="postgres", writing=_WRITING, readers=2, slices=256)
    collation = "C"
    skips = True
    columns_inside = 700
    array_of = staticmethod(held.integers)
    relations: PostgresqlRelations
    relations_type = PostgresqlRelations
    reading_options = MappingProxyType({"isolation_level": "READ COMMITTED", "postgresql_readonly": True})
    writing_options = MappingProxyType({"isolation_level": "READ COMMITTED"})

    @property
    def discoverer_type(self) -> type[PostgresqlDiscoverer]:
        from trueup.adapters._postgresql_discoverer import PostgresqlDiscoverer

        return PostgresqlDiscoverer

    @property
    def examiner_type(self) -> type[PostgresqlExaminer]:
        from trueup.adapters._postgresql_examiner import PostgresqlExaminer

        return PostgresqlExaminer

    @property
    def probe_type(self) -> type[PostgresqlProbe]:
        from trueup.adapters._postgresql_probe import PostgresqlProbe

        return PostgresqlProbe

    @property
    def packer(self) -> Packer:
        from trueup.adapters._postgresql_lots import PostgresqlPacker

        return PostgresqlPacker(self, self._inside)

    @property
    def one_statement(self) -> OneStatement:
        from trueup.adapters._postgresql_one_statement import PostgresqlOneStatement

        return PostgresqlOneStatement(self, self._digested_by, _BY_BITMAP)

    @property
    def sandbox(self) -> Sandboxing:
        from trueup.adapters._postgresql_sandbox import InSchema

        return InSchema(self)

    def _create_engine(self, database: Database) -> sa.Engine:
        url = sa.make_url(database.url.get_secret_value()).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(
            url,
            # A plan made for one key range is wrong for the next: never prepare.
            connect_args={
                "prepare_threshold": None,
                **kept_alive(url.query),
                "application_name": "trueup",
                "client_encoding": "UTF8",  # a server of SQL_ASCII then checks what it sends
            },
        )
        try_idle(engine)
        sa.event.listen(engine, "connect", self._on_connect)
        sessions.begin_with(engine)
        sa.event.listen(engine, "before_cursor_execute", binary_results)
        sa.event.listen(engine, "do_execute", once.execute)
        return engine

    def _on_connect(self, connection: psycopg.Connection[Any], record: Any) -> None:
        settings = {
            "statement_timeout": f"{self.database.statement_timeout * 1000:.0f}",
            "idle_in_transaction_session_timeout": "300s",
            "timezone": "UTC",
            "datestyle": "ISO",
            "intervalstyle": "iso_8601",
            "extra_float_digits": "1",  # below, floats lose digits on their way to us
            "quote_all_identifiers": "off",  # types are told apart by their names
            "row_security": "off",  # a hidden row then raises an error instead of looking absent
            "gin_fuzzy_search_limit": "0",  # above, an index gives some of what it finds, in silence
            "cursor_tuple_fraction": "1.0",  # our cursors are read to the end
            "jit": "off",  # compiling costs each key range more than it saves
        }
        if connection.info.server_version >= 140000:
            settings["client_connection_check_interval"] = "1s"  # a killed client's statement ends with it
        sessions.prepare(connection, record.info, settings)
        self.relations.encoding = connection.info.parameter_status("server_encoding")
        if connection.info.server_version < VERSION_MIN:
            raise ConfigError(
                f"databases.{self.name}: PostgreSQL {connection.info.server_version // 10000} is too old; 13 or later"
            )

    def read_as(self, column: Column, expression: Expression) -> Expression:
        if column.type_name in ("character", "bpchar") or column.type_name.startswith("character("):
            return sa.cast(expression, sa.Text)  # its trailing blanks mean nothing, and are not sent by every route
        if column.type_name.startswith("enum "):
            return sa.cast(expression, sa.Text)  # its own order is that of its declaration
        if column.type_name == "oid":
            return sa.cast(expression, sa.BigInteger)  # beside an `integer`, 4294967295 would be -1
        return whole_single(expression) if column.exact and column.type_name == "real" else expression

    def type_of(self, column: Column) -> sa.types.TypeEngine[Any]:
        if column.kind is Kind.ARRAY:
            return held.ListOf(column.type_name)
        if column.kind in held.AS_TEXT or column.type_name.startswith("enum "):
            return Verbatim(column.type_name.removeprefix("enum "))
        return held.INTEGERS.get(column.type_name, held.TYPES[column.kind])

    def can_hold(self, column: Column, value: Value) -> bool:
        if not super().can_hold(column, value):
            return False
        if isinstance(value, str):
            textual = column.kind in (Kind.TEXT, Kind.ANY, *held.AS_TEXT)
            return textual and "\0" not in value and self.relations.has(value)
        if column.kind is Kind.DATE and isinstance(value, datetime):
            return value.time() == time()  # bound as a date, it would lose its time of day
        if not isinstance(value, int) or column.type_name not in held.WITHIN:
            return True
        least, beyond = held.WITHIN[column.type_name]
        return least <= value < beyond

    def spell(self, column: Column, value: Value) -> Value:
        if column.kind is Kind.TEXT:
            return present(value)  # a UUID or a date, where those of the other side are keys
        if column.kind is Kind.DECIMAL and isinstance(value, float | str):
            return str(value)
        if column.type_name == "real" and not column.exact:  # else it is read by its shortest spelling
            return as_single(value)
        return held.literal(value) if isinstance(value, tuple) else value

    def among(self, part: Expression, type_: sa.types.TypeEngine[Any], values: list[Value]) -> Expression:
        if isinstance(type_, sa.types.UserDefinedType):
            return super().among(part, type_, values)
        # One parameter, so that the statement is built once; of the column's own type, so that it is hashed.
        if type(type_) in held.LISTS and {*map(type, values)} == {int}:
            return part == sa.any_(sa.bindparam(None, held.integers(values), type_=held.LISTS[type(type_)]))
        return part == sa.any_(sa.bindparam(None, values, type_=sa.ARRAY(type_)))

    def token_of(self, side: BoundSide) -> Expression:
        held_here = side.shape.table and not side.shape.obstacle
        return sa.cast(sa.literal_column("xmin"), sa.Text) if held_here else sa.literal("")

    def differ(self, source: Column, target: Column, a: Expression, b: Expression) -> Expression:
        kinds = {source.kind, target.kind}
        if kinds == {Kind.ARRAY} and Kind.TEXT in (source.element, target.element):
            return sa.collate(a, self.collation).is_distinct_from(b)
        if kinds == {Kind.TEXT} or held.by_text(source.type_name):
            return sa.cast(a, sa.Text).collate(self.collation).is_distinct_from(sa.cast(b, sa.Text))
        if Kind.FLOAT in kinds and kinds & {Kind.INTEGER, Kind.BOOLEAN}:
            return held.float_differs(source, target, a, b)
        if source.kind is not target.kind and {Kind.BOOLEAN, Kind.FLOAT} & {source.kind, target.kind}:
            return held.as_numeric(source, a).is_distinct_from(held.as_numeric(target, b))
        if source.type_name != target.type_name and source.kind is Kind.FLOAT:
            return held.as_numeric(source, a).is_distinct_from(held.as_numeric(target, b))
        return a.is_distinct_from(b)

    def by_meaning(self, source: Column, target: Column) -> bool:
        kinds = {source.kind, target.kind}
        if kinds in ({Kind.JSON}, {Kind.ARRAY}):  # `json` knows no equality; arrays of two types have none
            return source.type_name == target.type_name and source.type_name != "json"
        if kinds == {Kind.INTERVAL} or (Kind.FLOAT in kinds and kinds & {Kind.INTEGER, Kind.BOOLEAN}):
            return True
        return super().by_meaning(source, target)

    def beyond(self, rule: Rule, source: Column, target: Column, a: Expression, b: Expression) -> Expression | None:
        assert rule.tolerance is not None
        return held.beyond(rule.kind, rule.tolerance, (source, a), (target, b))

    def locking(self, statement: sa.Select[Any], *, wait: bool) -> sa.Select[Any]:
        return statement.with_for_update(key_share=True, skip_locked=not wait)

    def insert_if_absent(self, table: sa.TableClause, row: dict[str, Any]) -> sa.Insert:
        return postgresql_insert(table).values(row).on_conflict_do_nothing()

    def insert_absent(self, connection: sa.Connection, table: sa.TableClause, rows: Sequence[Any]) -> list[bool]:
        """All in one statement where none is there, which is the rule; else which of them was has to be found out."""
        statement = postgresql_insert(table).values(list(rows)).on_conflict_do_nothing()
        try:
            with connection.begin_nested() as attempt:
                if connection.execute(statement, execution_options={"preserve_rowcount": True}).rowcount == len(rows):
                    return [True] * len(rows)
                attempt.rollback()
            return super().insert_absent(connection, table, rows)
        except DBAPIError as error:
            if sqlstate(error) != _DEFERRABLE:
                raise
        return [self._inserted(connection, table, row) for row in rows]

    def _inserted(self, connection: sa.Connection, table: sa.TableClause, row: dict[str, Any]) -> bool:
        """Whether this inserted the row. What is deferrable may be in its way at the commit, which is then undone."""
        try:
            with connection.begin_nested():
                connection.execute(table.insert().values(row))
        except DBAPIError as error:
            if sqlstate(error) != _IN_THE_WAY:
                raise
            return False
        return True

    def begin_writing(self, connection: sa.Connection) -> None:
        self._limit(connection, self.database.lock_timeout)

    def begin_fencing(self, connection: sa.Connection) -> None:
        self._limit(connection, 10.0)

    def _limit(self, connection: sa.Connection, lock_timeout_s: float) -> None:
        for name, value in (
            ("lock_timeout", f"{lock_timeout_s * 1000:.0f}"),
            ("idle_in_transaction_session_timeout", "10s"),
        ):
            connection.execute(sa.select(sa.func.set_config(name, value, True)))

    @cached_property
    def _inside(self) -> Inside:
        return Inside(self)

    def differences(self, binding: Binding, segment: Part) -> Look | None:
        return self._inside.compared(binding, segment, partial(super().differences, binding))

    def stream(self, binding: Binding, side: BoundSide, segment: Part, *, tokens: bool) -> Stream:
        if isinstance(segment, KeyHashes) and (by_key := RowsByKey.of(self, binding, side, segment, tokens=tokens)):
            return by_key
        return super().stream(binding, side, segment, tokens=tokens)

    def ways(self) -> Sequence[Way]:
        return [Native(self.relations), Portable(PostgresqlSpelling(self.relations))]

    def digests(self, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        with self.reading_once(*([self._digested_by(hashing)] if isinstance(part, Ranges) else [])) as connection:
            return self.hashed.digests(connection, side, part, hashing)

    def _digested_by(self, hashing: Hashing) -> str:
        """What makes a range be read as is best to digest it with this hash."""
        return _BY_BITMAP if self.hashed.ways[hashing.name].as_they_come else _BY_INDEX

    def repeated(self, connection: sa.Connection, binding: Binding, segment: Part) -> bool:  # noqa: ARG002
        return False  # see `PostgresqlRelations.once`

    def reading_once(self, *before: str) -> AbstractContextManager[sa.Connection]:
        """`before`: statements of ours before each one; what they set holds for it alone."""
        return self._session({"isolation_level": "AUTOCOMMIT", once.ONCE: before})

    # --- shape ---------------------------------------------------------------------------------------------------

    def query_columns(self, connection: sa.Connection, query: str) -> dict[str, Column]:
        return describe_query(connection, self.describe_query(connection, query))

    def describe_table(self, connection: sa.Connection, table: str) -> Shape:
        return describe_table(connection, self.name, table, self.capabilities.dialect)

    def survey(self, binding: Binding, of: Sequence[BoundSide], *, ordered: bool) -> Survey:
        digested = len(of) == 2 and self._inside.hashing(binding) is not None
        with self.reading() as connection:
            return PostgresqlSurveying(self, connection).survey(binding, of, ordered=ordered, digested=digested)

    def translate(self, error: SQLAlchemyError) -> TrueupError:
        words = f"databases.{self.name}: {message(error)}"
        code, original = sqlstate(error), error.orig if isinstance(error, DBAPIError) else None
        if not code and isinstance(original, psycopg.OperationalError):
            # Of an attempt to connect the driver passes on the server's words, and not its code.
            passing = self.reached or any(part in words for part in _NOT_NOW)
            return Transient(words) if passing else ConnectionFailed(words)
        if not code and isinstance(original, psycopg.DataError):
            return DataProblem(f"{words}{held.beyond_python(message(error))}")  # a value that Python has no room for
        kind = next((kind for codes, kind in _ERRORS if code.startswith(codes)), DesignProblem)
        if code == _NO_TEXT and self.relations.encoding == "SQL_ASCII":
            words += held.BYTES_ONLY
        if isinstance(original, psycopg.Error) and original.diag.source_function == _DENIES:
            words += GRANT
        if kind is StatementTimeout:
            words += f"; the limit is databases.{self.name}.statement_timeout"
        return kind(words)
