"""PostgreSQL's row hashes: its own extended hash functions between two PostgreSQL servers, MD5 of a text elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from trueup.adapters._dialect import Expression
from trueup.adapters._hashing import Cell, Way
from trueup.adapters._relations import Relations
from trueup.core.binding import Column
from trueup.core.row import Kind, Value

#: Type -> the function that gives its bytes.
_SEND = {
    "real": "float4send",
    "double precision": "float8send",
    "time": "time_send",
    "time without time zone": "time_send",
    "timestamp": "timestamp_send",
    "timestamp without time zone": "timestamp_send",
    "timestamp with time zone": "timestamptz_send",
}
_NOTHING: Expression = sa.literal_column("''::bytea")


class Native(Way):
    """`hash_record_extended`: 64 bits of the values as they are stored, several times cheaper than an MD5.

    A leaf's content is two sums: of the row hashes, and of another hash of each row hash. Equal numbers hash alike
    whatever their scale. Not promised to be stable between versions, so it is never kept and always probed.
    """

    name = "PostgreSQL's own hash"
    portable = False
    width = 16

    def __init__(self, relations: Relations) -> None:
        self.relations = relations

    def probe(self) -> Expression:
        return sa.literal_column(
            "hash_record_extended(ROW(1::bigint, -7.50::numeric, 'é ß 漢'::text COLLATE \"C\", '2001-02-03'::date,"
            " '2001-02-03 04:05:06.789'::timestamptz, '2001-02-03 04:05:06.789'::timestamp, true, 1.5::float8,"
            " '\\x00ff'::bytea, '00000000-0000-4000-8000-00000000000a'::uuid, NULL::text), 0)::text"
        )

    def of(self, cells: Sequence[Cell]) -> Expression:
        row = sa.func.row(*map(self._value, cells))
        return sa.func.hash_record_extended(row, sa.literal_column("0"), type_=sa.BigInteger)

    def key(self, cells: Sequence[Cell]) -> Expression:
        if [cell.kind for cell in cells] == [Kind.INTEGER]:
            return _bigint(cells[0])  # 64 bits already, and an index may serve them
        return self.of(cells)

    def _value(self, cell: Cell) -> Expression:
        """What is hashed of a column: where PostgreSQL's own hash of a type loses something, the bytes it is sent as.

        It folds a bigint and a timestamp to 32 bits (1 and 2**32 hash alike) and leaves out the sign of a numeric.
        """
        column, part = cell.column, cell.expression
        match cell.kind:
            case Kind.INTEGER:
                return sa.func.int8send(_bigint(cell))
            case Kind.DECIMAL:
                number = sa.cast(part, sa.Numeric)
                return sa.func.numeric_send(number if cell.as_it_is else sa.func.trim_scale(number))
            case Kind.FLOAT | Kind.TIMESTAMP | Kind.INSTANT | Kind.TIME:
                sent: Expression = getattr(sa.func, _SEND[_without_precision(column.type_name)])(part)
                return sent
            case Kind.TEXT:  # a collation that takes two texts for one hashes them alike, too
                return sa.collate(sa.cast(self.relations.read_as(column, part), sa.Text), "C")
        return part

    def bucket(self, key_hash: Expression, leaves: int) -> Expression:
        return key_hash.op("&")(sa.literal_column(str(leaves - 1)))

    def content(self, row: Expression, order: Sequence[Expression]) -> list[Expression]:  # noqa: ARG002 - sums have none
        again = sa.func.hashint8extended(row, sa.literal_column("1"))
        return [sa.func.sum(row), sa.func.sum(again)]

    def packed(self, key: Expression, row: Expression) -> Expression:
        both = sa.func.int8send(key, type_=sa.LargeBinary).op("||")(sa.func.int8send(row))
        return sa.func.string_agg(both, _NOTHING)

    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        return [int.from_bytes(found, "big", signed=True) for found in hashes], sa.BigInteger()


def _without_precision(type_name: str) -> str:
    """`timestamp(3) with time zone` -> `timestamp with time zone`."""
    return re.sub(r"\(\d+\)", "", type_name)


def _bigint(cell: Cell) -> Expression:
    number = sa.cast(cell.expression, sa.Integer) if cell.column.kind is Kind.BOOLEAN else cell.expression
    return sa.cast(number, sa.BigInteger)


class PostgresqlSpelling:
    """Values as texts that every product can make."""

    def __init__(self, relations: Relations) -> None:
        self.relations = relations

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        if column.kind is Kind.BOOLEAN:
            expression = sa.cast(expression, sa.Integer)
        match kind:
            case Kind.DECIMAL if not as_it_is:
                expression = sa.func.trim_scale(sa.cast(expression, sa.Numeric))
            case Kind.BYTES:
                return sa.func.encode(expression, "hex", type_=sa.Text)
            case Kind.UUID:
                return sa.func.replace(sa.cast(expression, sa.Text), "-", "", type_=sa.Text)
            case Kind.TIMESTAMP:  # microseconds since 2000, as they are stored
                return sa.func.encode(sa.func.timestamp_send(expression), "hex", type_=sa.Text)
            case Kind.INSTANT:
                return sa.func.encode(sa.func.timestamptz_send(expression), "hex", type_=sa.Text)
            case Kind.TEXT:
                expression = self.relations.read_as(column, expression)
        return sa.cast(expression, sa.Text)

    in_order = False

    def digits(self, column: Column, number: Expression) -> Expression:  # noqa: ARG002 - there is one form
        return sa.func.encode(sa.func.int8send(sa.cast(number, sa.BigInteger)), "hex", type_=sa.Text)

    def octets(self, text: Expression) -> Expression:
        return sa.func.octet_length(text)

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        nothing: Expression = sa.literal_column("''")
        return sa.func.string_agg(text, aggregate_order_by(nothing, *order) if order else nothing, type_=sa.Text)

    def whole(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - too long is an error here
        return True
