"""The portable row hash: values spelt as a text that every product can make, and the MD5 of that."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import sqlalchemy as sa

from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Relations
from trueup.adapters._row_hash import Cell, Way
from trueup.core.binding import Column
from trueup.core.digest import Hashing
from trueup.core.row import Kind, Value

NOTHING: Expression = sa.literal_column("''", sa.Text)
#: Bytes of the longest value that is spelt out; a longer one is its MD5.
LONG = 250
#: A text type with its length, in characters of up to four bytes.
_OF_LENGTH = re.compile(r"(?:var)?char(?:acter(?: varying)?)?\((\d+)\)", re.IGNORECASE)
#: Bytes that a value is spelt with at most, unless it is a text: of some kinds, and of any other.
_MOST = {Kind.INTEGER: 24, Kind.BOOLEAN: 24, Kind.DECIMAL: 80}
_MOST_OTHERWISE = 40
#: Kinds that are spelt behind their length.
_TEXTS = (Kind.TEXT, Kind.JSON, Kind.BYTES)


@dataclass(frozen=True, slots=True)
class Field:
    """A part of a row's text."""

    #: As the database shows it; NULL where `of` is.
    text: Expression
    #: What may be NULL; None: this never is.
    of: Expression | None
    #: Bytes that it has at most.
    most: int

    def or_nothing(self) -> Expression:
        """The empty text in place of NULL."""
        return self.text if self.of is None else sa.func.coalesce(self.text, NOTHING, type_=sa.Text)


class Spelling(Protocol):
    """What `Portable` needs of a database."""

    relations: Relations

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        """What every product shows as the same text, never an empty one unless it is a text; NULL for NULL."""

    def bounded(self, text: Expression, most: int) -> Expression:
        """A text of no more than `most` bytes, so that the database knows it."""

    def listed(self, fields: Sequence[Field]) -> Expression:
        """One text, with a comma between two fields; NULL is nothing."""

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        """An aggregate: the texts of all rows, one after the other, in this order."""

    #: Rows of a key range come in the order of the key by themselves: they are stored in it.
    in_order: bool

    def digits(self, column: Column, number: Expression) -> Expression:
        """A 64-bit integer as sixteen hexadecimal digits, in two's complement."""

    def whole(self, connection: sa.Connection) -> bool:
        """Was no joined text cut off in the statement that was just executed? Raises as `SqlAdapter.answered` does."""


class Portable(Way):
    """MD5 of a text in which each value is spelt in one way, and none can be taken for two.

    Numbers, moments and the lengths of texts come first, then the texts, all with commas between them. None of the
    former is empty, so nothing stands for NULL; a text that is longer than LONG is its MD5. So no two rows have one
    spelling. The rows of a leaf are joined in key order and hashed once: a hash a row and a sum cost
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

    def keys_of(self, hashes: Iterable[bytes], hashing: Hashing) -> list[int] | None:
        if hashing.key != (Kind.INTEGER,):
            return None
        signed = [int.from_bytes(bytes.fromhex(found.decode("ascii")), "big", signed=True) for found in hashes]
        # The same digits are a negative number where keys are signed, and one beyond 2**63 where they are not.
        return [key for number in signed for key in ((number, number + 2**64) if number < 0 else (number,))]

    def probe(self) -> Expression:
        # Not ASCII, so that two encodings give two answers; another number for each way to spell rows.
        return sa.func.md5(sa.literal("Trueup 3 é ß 漢", sa.Text))

    def row(self, cells: Sequence[Cell]) -> Expression:
        """All values in one text, none of whose spellings can be another's."""
        values, texts = list[Field](), list[Field]()
        for cell in cells:
            field = self._field(cell)
            if cell.kind in _TEXTS:
                measured = cell.expression if cell.kind is Kind.BYTES else field.text
                values.append(replace(field, text=sa.func.octet_length(measured), most=_MOST[Kind.INTEGER]))
                texts.append(self._short(cell, field))
            else:
                values.append(field)
        # Without a text behind it the last value of a row would run into the first of the next.
        return self.spelling.listed([*values, *(texts or [Field(NOTHING, None, 0)])])

    def _field(self, cell: Cell) -> Field:
        """A value as it is spelt; of a text, all of it."""
        of = cell.expression if cell.column.nullable else None
        text = self.spelling.spelled(cell.column, cell.kind, cell.expression, as_it_is=cell.as_it_is)
        return Field(text, of, _MOST.get(cell.kind, _MOST_OTHERWISE))

    def _short(self, cell: Cell, whole: Field) -> Field:
        """A text, or its MD5: which of them is told by its length."""
        text = whole.text
        declared = _OF_LENGTH.match(cell.column.type_name)
        if cell.kind is not Kind.BYTES and declared and (longest := 4 * int(declared[1])) <= LONG:
            return replace(whole, text=self.spelling.bounded(text, longest), most=longest)
        hashed, most = (cell.expression, LONG // 2) if cell.kind is Kind.BYTES else (text, LONG)
        short = sa.func.octet_length(hashed) <= sa.literal_column(str(most))
        known = sa.case((short, self.spelling.bounded(text, LONG)), else_=sa.func.md5(hashed, type_=sa.Text))
        return replace(whole, text=known, most=LONG)

    def of(self, cells: Sequence[Cell]) -> Expression:
        hashed = sa.func.md5(self.row(cells))
        return sa.func.left(hashed, sa.literal_column(str(self.width // 2)), type_=sa.String)

    def leaf(self, key: Sequence[Cell], leaves: int) -> Expression:
        """Some hexadecimal digits of its MD5; a text alone has to be told from nothing else."""
        alone = [cell.kind for cell in key] == [Kind.TEXT]
        text = self._field(key[0]).or_nothing() if alone else self.row(key)
        digits = (leaves - 1).bit_length() // 4
        return sa.func.left(sa.func.md5(text), sa.literal_column(str(digits)), type_=sa.String)

    def content(self, row: Expression, order: Sequence[Expression]) -> Expression:
        return sa.func.md5(self.spelling.joined(row, order))

    def whole(self, connection: sa.Connection) -> bool:
        return self.spelling.whole(connection)

    def packed(self, key: Expression, row: Expression) -> Expression:
        return self.spelling.joined(key + row, [])

    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        return [found.decode("ascii") for found in hashes], sa.Text()
