"""What MariaDB and MySQL are asked in words of their own: relations, streams, and the marker tables they make."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from trueup.adapters import _markers as markers
from trueup.adapters import _mysql_values as held
from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Form, Relations
from trueup.adapters._results import RowStream
from trueup.core.binding import Column
from trueup.core.row import Key, Kind
from trueup.errors import BrokenRead, DataProblem


def marker_tables() -> sa.MetaData:
    """The marker tables, in InnoDB whatever the default is; names are told apart by their bytes."""
    made = sa.MetaData()
    for table in markers.MARKER_TABLES.sorted_tables:
        copy = table.to_metadata(made)
        copy.dialect_kwargs.update(mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")
        for column in copy.columns:
            if isinstance(column.type, sa.Text):
                column.type = mysql.LONGTEXT()
    return made


class Single(sa.types.TypeDecorator[float]):
    """A single-precision float, read exactly and shown as other databases show it."""

    impl = sa.types.NullType
    cache_ok = True

    def __init__(self, whole: bool) -> None:
        """`whole`: a whole number stays what it is. (Given by name alone, it would be no part of the cache's key.)"""
        super().__init__()
        self.whole = whole

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Any:  # noqa: ARG002
        return value if self.whole and isinstance(value, float) and value.is_integer() else held.single(value)


class MysqlRelations(Relations):
    """Relations as this optimizer wants them."""

    def ordered(self, column: Column, expression: Expression) -> Expression:
        if column.kind in (Kind.TEXT, Kind.UUID, Kind.ANY):
            if held.collation_of(column) == self.dialect.collation and held.base_of(column) not in ("enum", "set"):
                return expression  # so that an index serves the order
            return sa.collate(self.read_as(column, expression), self.dialect.collation)
        return self.read_as(column, expression)

    def beyond(self, columns: Sequence[Column], parts: list[Expression], key: Key, *, above: bool) -> Expression:
        """Spelt out: no index serves a comparison of rows here."""
        return sa.or_(*self._part_by_part(columns, parts, key, above=above))

    def _forms(self, columns: Sequence[Column], parts: Sequence[Expression]) -> list[tuple[Sequence[Expression], Form]]:
        forms = super()._forms(columns, parts)
        return forms if all(map(held.may_be_asked, columns)) else forms[-1:]

    def kept(self, sides: sa.Select[Any]) -> sa.CTE:
        return sides.cte("trueup_j", nesting=False)  # MATERIALIZED is no word here


#: Warnings: a text was cut by GROUP_CONCAT; a result was larger than a packet may be.
CUT_OFF = frozenset({1260, 1301})
#: Also: a text that is no number or date; a value that was cut, is out of its set or its range, or has bytes or letters
#: that its character set has not.
COERCED = CUT_OFF | {1264, 1265, 1292, 1300, 1366, 1916, 1918, 1977}
#: A warning: a limit ended the query, and what it had found until then was all that came.
CUT_SHORT = 1931


class Unbuffered(RowStream):
    """A stream whose rows come as they are read. Left in the middle, its connection goes: the driver would otherwise
    read all that remains before it lets go."""

    parts = False  # what the server warns of is asked for after the last row

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
        try:
            refuse_coerced(connection, self._adapter.name)
        except (BrokenRead, DataProblem):
            self.ended = False
            raise


def refuse_coerced(connection: sa.Connection, name: str, *, forgiven: frozenset[int] = frozenset()) -> bool:
    """Raise DataProblem if the last statement made a value of one that is none: MariaDB reads 'n/a' as the number 0, or
    cuts what it joins, and says so only in a warning. False if it did, and that is `forgiven`. Raises as `warned`, too.
    """
    told = [(code, words) for code, words in warned(connection, name) if code in COERCED]
    for code, words in told:
        if code not in forgiven:
            raise DataProblem(f"databases.{name}: a value was coerced: {words}")
    return not told


def warned(connection: sa.Connection, name: str) -> list[tuple[int, str]]:
    """Numbers and words of the last statement's warnings.

    Raises BrokenRead if it gave only some of its rows, which it says only in a warning; or if not all warnings are
    listed, since one of the others may say so: the server counts all of them and keeps the first `WARNINGS_MAX`.
    """
    counted = connection.exec_driver_sql("SHOW COUNT(*) WARNINGS").scalar_one()
    if not counted:
        return []
    listed = [(code, words) for _, code, words in connection.exec_driver_sql("SHOW WARNINGS")]
    for code, words in listed:
        if code == CUT_SHORT:
            raise BrokenRead(f"databases.{name}: the server did not read to the end: {words}")
    if len(listed) < counted:
        first = f", the first of them: {listed[0][1]}" if listed else ""
        raise BrokenRead(
            f"databases.{name}: one statement gave {counted:,} warnings and the server lists only {len(listed):,}"
            f"{first}. Another one may say that rows are not there: write the query or the column so that it does "
            f"not warn (NULLIF where it divides by zero)"
        )
    return listed
