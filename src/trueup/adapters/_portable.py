"""The portable row hash: values spelt as a text that every product can make, and the MD5 of that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.adapters._hashing import Cell, Way
from trueup.adapters._relations import Relations
from trueup.core.binding import Column
from trueup.core.digest import Hashing
from trueup.core.row import Key, Kind, Value

_NULL, _NOTHING, _HASHED = (sa.literal_column(f"'{mark}'", sa.Text) for mark in ("~", "", "#"))
#: Bytes of the longest value that is spelt out; a longer one is its MD5.
LONG = 500
#: A text type with its length, in characters of up to four bytes.
_OF_LENGTH = re.compile(r"(?:var)?char(?:acter(?: varying)?)?\((\d+)\)", re.IGNORECASE)
#: More characters than any number or moment has.
_FEW = 80


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a row's text."""

    #: Never NULL.
    text: Expression
    #: Characters that it has at most.
    most: int = _FEW


class Spelling(Protocol):
    """What `Portable` needs of a database."""

    relations: Relations

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        """`expression` as the text of its value, the same in every product; NULL for NULL."""

    def length(self, text: Expression) -> Expression:
        """The number of bytes in UTF-8 of a spelt text, as text."""

    def bounded(self, text: Expression, most: int) -> Expression:
        """A text of no more than `most` bytes, so that the database knows it."""

    def listed(self, fields: Sequence[Field]) -> Expression:
        """One text of all fields, with a comma behind each."""

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        """An aggregate: the texts of all rows, one after the other, in this order."""

    #: Rows of a key range come in the order of the key by themselves: they are stored in it.
    in_order: bool

    def digits(self, column: Column, number: Expression) -> Expression:
        """A 64-bit integer as sixteen hexadecimal digits, in two's complement."""

    def whole(self, connection: sa.Connection) -> bool:
        """Was no joined text cut off in the statement that was just executed?"""


class Portable(Way):
    """MD5 of a text in which each value is spelt in one way, and none can be taken for two.

    A text comes behind its length, a NULL is a mark of its own, and what is longer than LONG is its MD5, so that no two
    rows have one spelling. The rows of a leaf are joined in key order and hashed once: a hash a row and a sum cost
    twice as much.
    """

    name = "md5"
    portable = True
    width = 32

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling
        self.as_they_come = spelling.in_order

    def key(self, cells: Sequence[Cell]) -> Expression:
        """An integer is its own hash: an index serves it, and nothing has to be computed."""
        if [cell.kind for cell in cells] == [Kind.INTEGER]:
            return self.spelling.digits(cells[0].column, cells[0].expression)
        return self.of(cells)

    def keys_of(self, hashes: Iterable[bytes], hashing: Hashing) -> list[Key] | None:
        if hashing.key != (Kind.INTEGER,):
            return None
        signed = [int.from_bytes(bytes.fromhex(found.decode("ascii")), "big", signed=True) for found in hashes]
        # The same digits are a negative number where keys are signed, and one beyond 2**63 where they are not.
        return [(key,) for number in signed for key in ((number, number + 2**64) if number < 0 else (number,))]

    def probe(self) -> Expression:
        # Not ASCII, so that two encodings give two answers.
        return sa.func.md5(sa.literal("Trueup é ß 漢", sa.Text))

    def row(self, cells: Sequence[Cell]) -> Expression:
        """All values in one text, none of whose spellings can be another's."""
        return self.spelling.listed([field for cell in cells for field in self._fields(cell)])

    def _fields(self, cell: Cell) -> list[Field]:
        text = self.spelling.spelled(cell.column, cell.kind, cell.expression, as_it_is=cell.as_it_is)
        if cell.kind is Kind.BYTES:
            hashed = _HASHED + sa.func.md5(cell.expression, type_=sa.Text)
            short = sa.func.octet_length(cell.expression) <= _number(LONG // 2)
            return [Field(_never(cell, sa.case((short, self.spelling.bounded(text, LONG)), else_=hashed), _NULL), LONG)]
        if cell.kind not in (Kind.TEXT, Kind.JSON):
            return [Field(_never(cell, text, _NULL))]
        length = Field(_never(cell, self.spelling.length(text), _NULL))
        declared = _OF_LENGTH.match(cell.column.type_name)
        if declared and 4 * int(declared[1]) <= LONG:
            return [length, Field(_never(cell, text, _NOTHING), int(declared[1]))]
        short = sa.func.octet_length(text) <= _number(LONG)
        known = sa.case((short, self.spelling.bounded(text, LONG)), else_=sa.func.md5(text, type_=sa.Text))
        return [length, Field(_never(cell, known, _NOTHING), LONG)]

    def of(self, cells: Sequence[Cell]) -> Expression:
        hashed = sa.func.md5(self.row(cells))
        return sa.func.left(hashed, sa.literal_column(str(self.width // 2)), type_=sa.String)

    def bucket(self, key_hash: Expression, leaves: int) -> Expression:
        digits = (leaves - 1).bit_length() // 4  # hexadecimal
        return sa.func.left(key_hash, sa.literal_column(str(digits)), type_=sa.String)

    def content(self, row: Expression, order: Sequence[Expression]) -> list[Expression]:
        return [sa.func.md5(self.spelling.joined(row, order))]

    def whole(self, connection: sa.Connection) -> bool:
        return self.spelling.whole(connection)

    def packed(self, key: Expression, row: Expression) -> Expression:
        return self.spelling.joined(key + row, [])

    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        return [found.decode("ascii") for found in hashes], sa.Text()


def _never(cell: Cell, text: Expression, null: Expression) -> Expression:
    """`text`, and `null` where it is NULL."""
    return sa.func.coalesce(text, null, type_=sa.Text) if cell.column.nullable else text


def _number(value: int) -> Expression:
    return sa.literal_column(str(value))
