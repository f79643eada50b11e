"""MariaDB's and MySQL's spelling of values as texts that every product can make; their row hash is the MD5 of that."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from trueup.adapters._dialect import Expression
from trueup.adapters._mysql_relations import CUT_OFF, refuse_coerced
from trueup.adapters._portable import NOTHING, Field
from trueup.adapters._relations import Relations
from trueup.core.binding import Column
from trueup.core.row import Kind

#: Longest text that GROUP_CONCAT may make, bytes; its default is 1 MB or even 1 kB. What is cut off anyway is found by
#: its length, or by the warning.
JOINED_MAX = 2**30
#: Most warnings of one statement that the server lists, its limit; its default is 64 (MySQL: 1,024).
WARNINGS_MAX = 65_535
#: Bytes of an argument of GROUP_CONCAT beyond which the server makes a file for it, and so for each leaf: that
#: takes a millisecond, as much as hashing a thousand rows.
PART_MAX = 512


class _Part(sa.sql.functions.GenericFunction[str]):
    """Some fields of a row, with a comma between two."""

    name = "trueup_part"
    type = sa.Text()
    inherit_cache = True


class _Listed(sa.sql.functions.GenericFunction[str]):
    """Parts of a row, one behind the other."""

    name = "trueup_listed"
    type = sa.Text()
    inherit_cache = True


class _Joined(sa.sql.functions.GenericFunction[str]):
    """GROUP_CONCAT in an order, without separators."""

    name = "trueup_joined"
    type = sa.Text()
    inherit_cache = True


def _parts(fields: Sequence[Field]) -> Iterator[list[Field]]:
    """Fields in parts that are no longer than PART_MAX each, with their commas."""
    part: list[Field] = []
    for field in fields:
        if part and sum(one.most + 1 for one in (*part, field)) > PART_MAX:
            yield part
            part = []
        part.append(field)
    yield part


@compiles(_Part)
def _concat_ws(element: _Part, compiler: SQLCompiler, **options: Any) -> str:
    """As bytes: a text that is put into a field has each of its characters looked at."""
    return f"CONCAT_WS(_binary',', {_processed(element, compiler, options)})"


@compiles(_Listed)
def _concat(element: _Listed, compiler: SQLCompiler, **options: Any) -> str:
    return f"CONCAT({_processed(element, compiler, options)})"


def _processed(element: sa.sql.functions.FunctionElement[str], compiler: SQLCompiler, options: dict[str, Any]) -> str:
    return ", ".join(compiler.process(clause, **options) for clause in element.clauses)


@compiles(_Joined)
def _group_concat(element: _Joined, compiler: SQLCompiler, **options: Any) -> str:
    row, *order = element.clauses
    parts = _processed(row, compiler, options) if isinstance(row, _Listed) else compiler.process(row, **options)
    by = f" ORDER BY {', '.join(compiler.process(key, **options) for key in order)}" if order else ""
    return f"GROUP_CONCAT({parts}{by} SEPARATOR '')"


class MysqlSpelling:
    """Values as texts that every product can make."""

    def __init__(self, relations: Relations, database: str) -> None:
        """`database`: its name, for messages."""
        self.relations = relations
        self._database = database

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        expression = self.relations.read_as(column, expression)
        if (kind is Kind.INTEGER or as_it_is) and _PLAIN.fullmatch(column.type_name):
            return expression  # put into a text it is spelt as by a CAST, and cheaper
        if kind in (Kind.INTEGER, Kind.DECIMAL) and column.kind in (Kind.INTEGER, Kind.DECIMAL):
            expression = expression.op("+")(_NOTHING)  # a column that is declared ZEROFILL spells 42 as 00042
        text: Expression = sa.cast(expression, sa.String)
        match kind:
            case Kind.DECIMAL if not as_it_is:
                return _without_trailing_zeros(column, text)
            case Kind.BYTES:
                return sa.func.lower(sa.func.hex(expression), type_=sa.Text)
            case Kind.UUID:
                return sa.func.replace(sa.func.lower(text), "-", "", type_=sa.Text)
            case Kind.TIMESTAMP | Kind.INSTANT:
                since = sa.func.timestampdiff(_MICROSECOND, _EPOCH, expression)
                # A day that no calendar has is told from NULL (0000-00-00) and from another (2026-02-30).
                day, last = sa.func.dayofmonth(expression), sa.func.dayofmonth(sa.func.last_day(expression))
                return sa.case((day.between(_ONE, last), sa.cast(since, sa.String)), else_=text)
            case Kind.TEXT | Kind.JSON:
                return sa.type_coerce(expression, sa.Text)
        return text

    #: Rows are stored by their primary key. Where another index is read the order is another, and so is the digest:
    #: that costs a closer look, and no more.
    in_order = True

    def digits(self, column: Column, number: Expression) -> Expression:
        number = self.relations.read_as(column, number).op("+")(_NOTHING)
        return sa.func.lower(sa.func.lpad(sa.func.hex(number), _SIXTEEN, _ZERO), type_=sa.Text)

    def bounded(self, text: Expression, most: int) -> Expression:
        return sa.func.left(sa.cast(text, sa.LargeBinary), sa.literal_column(str(most)), type_=sa.Text)

    def listed(self, fields: Sequence[Field]) -> Expression:
        *parts, last = ([field.or_nothing() for field in part] for part in _parts(fields))
        return _Listed(*(_Part(*part, NOTHING) for part in parts), _Part(*last))

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        return _Joined(text, *order)

    def whole(self, connection: sa.Connection) -> bool:
        """A text that is longer than one may be is cut off with a warning, and two that begin alike become one."""
        return refuse_coerced(connection, self._database, forgiven=CUT_OFF)


#: Numbers that are not declared ZEROFILL.
_PLAIN = re.compile(r"(?:tiny|small|medium|big)?int(?:\(\d+\))?(?: unsigned)?|decimal\(\d+,\s*\d+\)(?: unsigned)?")
_MICROSECOND: Expression = sa.literal_column("MICROSECOND")
_EPOCH: Expression = sa.literal_column("TIMESTAMP'2000-01-01 00:00:00'")
_SIXTEEN: Expression = sa.literal_column("16")
_NOTHING: Expression = sa.literal_column("0")
_ZERO: Expression = sa.literal_column("'0'")
_ONE: Expression = sa.literal_column("1")


def _without_trailing_zeros(column: Column, text: Expression) -> Expression:
    """`1.50` -> `1.5`, `1.00` -> `1`; an integer stays what it is."""
    scale = re.match(r"decimal\(\d+,\s*(\d+)\)", column.type_name)
    if column.kind is Kind.INTEGER or (scale and scale[1] == "0"):
        return text
    return sa.func.if_(sa.func.locate(".", text) > sa.literal_column("0"), _Trimmed(text), text, type_=sa.Text)


class _Trimmed(sa.sql.functions.GenericFunction[str]):
    """A decimal's text without the zeros at its end."""

    name = "trueup_trimmed"
    type = sa.Text()
    inherit_cache = True


@compiles(_Trimmed)
def _trim(element: _Trimmed, compiler: SQLCompiler, **options: Any) -> str:
    (text,) = (compiler.process(clause, **options) for clause in element.clauses)
    return f"TRIM(TRAILING '.' FROM TRIM(TRAILING '0' FROM {text}))"
