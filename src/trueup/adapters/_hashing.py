"""Row hashes inside a database: leaves, their digests, and the hashes of single rows.

There are two ways. `Native` uses a hash function of the product on values as they are stored: cheap, and only for two
servers that give the same answers to the same probes. `Portable` spells each value as a text that every product can
make, and takes the MD5 of the text: dearer by several times, and the same everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import exc

from trueup.adapters._dialect import Expression
from trueup.adapters._relations import Relations
from trueup.core.binding import BoundSide, Column
from trueup.core.digest import PRINTS_MAX, Digest, Digests, Hashing, Prints, RowHash
from trueup.core.plan import KeyHashes, Leaves, Part
from trueup.core.row import Kind, Value
from trueup.errors import BrokenRead

#: What a database says of a probe that it cannot answer, in its version, encoding or mode of operation.
_NOT_THERE = (exc.ProgrammingError, exc.DataError, exc.InternalError, exc.NotSupportedError, UnicodeEncodeError)
_COLON, _COMMA, _NULL = (sa.literal_column(f"'{mark}'", sa.Text) for mark in (":", ",", "~,"))


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of a row, as it is hashed."""

    column: Column
    expression: Expression
    #: The kind in which both sides hash it.
    kind: Kind
    #: Both sides have the same scale, so that it needs no canonical spelling.
    as_it_is: bool = False


class Way(ABC):
    """One way to hash rows, as expressions."""

    name: str
    portable: bool
    #: Bytes of a key's hash and a row's hash together.
    width: int

    @abstractmethod
    def probe(self) -> Expression:
        """What this way makes of a fixed set of values."""

    @abstractmethod
    def of(self, cells: Sequence[Cell]) -> Expression:
        """The hash of these values together."""

    def key(self, cells: Sequence[Cell]) -> Expression:
        """The hash of a key: enough to tell keys apart, not to be added up."""
        return self.of(cells)

    def row(self, cells: Sequence[Cell]) -> Expression:
        """What `content` wants of a row."""
        return self.of(cells)

    @abstractmethod
    def bucket(self, key_hash: Expression, leaves: int) -> Expression:
        """One of about `leaves` values, from the hash of a key."""

    @abstractmethod
    def content(self, row: Expression, order: Sequence[Expression]) -> list[Expression]:
        """What the rows of a leaf amount to, as aggregates."""

    def whole(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - the default
        """Was nothing cut off in the statement that was just executed?"""
        return True

    @abstractmethod
    def packed(self, key: Expression, row: Expression) -> Expression:
        """The hashes of all rows of a group in one value, as an aggregate."""

    @abstractmethod
    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        """Hashes from `packed` as `of` has them, and their type."""


class Spelling(Protocol):
    """What `Portable` needs of a database."""

    relations: Relations

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        """`expression` as the text of its value, the same in every product; NULL for NULL."""

    def octets(self, text: Expression) -> Expression:
        """Length of a text in bytes of UTF-8."""

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        """An aggregate: the texts of all rows, one after the other, in this order."""

    def whole(self, connection: sa.Connection) -> bool:
        """Was no joined text cut off in the statement that was just executed?"""


class Hasher:
    """Row hashes of one database, as the comparison asks for them."""

    def __init__(self, relations: Relations, ways: Sequence[Way]) -> None:
        self.relations = relations
        self.ways = {way.name: way for way in ways}

    def offers(self, connection: sa.Connection) -> list[RowHash]:
        """The ways that this very server has: an old one lacks a function, an encoding a letter of the probe."""
        offers = []
        for way in self.ways.values():
            try:
                with connection.begin_nested():
                    proof = connection.execute(sa.select(way.probe())).scalar()
            except _NOT_THERE:
                continue
            offers.append(RowHash(name=way.name, proof=str(proof), portable=way.portable))
        return offers

    def chosen(self, side: BoundSide, parts: Sequence[Expression], part: Leaves | KeyHashes) -> Expression:
        """Holds for the rows of `part`, within its range."""
        way = self.ways[part.hashing.name]
        if isinstance(part, Leaves):
            return self._leaf(way, side, parts, part.hashing).in_(part.leaves)
        values, type_ = way.hash_values(part.hashes)
        return self.relations.dialect.among(way.key(_cells(side, parts, part.hashing)), type_, values)

    def digests(self, connection: sa.Connection, side: BoundSide, part: Part, hashing: Hashing) -> Digests:
        """Leaves of `part` -> what they amount to."""
        way = self.ways[hashing.name]
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        order = [self.relations.ordered(c, k) for c, k in zip(side.key, keys, strict=True)]
        parts = [self._leaf(way, side, keys, hashing), way.row(_cells(side, columns, hashing)), *order]
        hashed = sa.select(*(part.label(f"h{at}") for at, part in enumerate(parts)))
        hashed = hashed.where(*self.relations.within(side, keys, part))
        if not way.portable:
            hashed = hashed.offset(0)  # a fence, or the hash of each row would be computed once for each sum
        leaf, row, *keys_in_order = hashed.subquery("h").c
        statement = sa.select(leaf, sa.func.count(), *way.content(row, keys_in_order)).group_by(leaf)
        found = connection.execute(statement).all()
        whole = way.whole(connection)
        return {row[0]: Digest(rows=row[1], content=tuple(row[2:]) if whole else (None,)) for row in found}

    def prints(self, connection: sa.Connection, side: BoundSide, part: Part, hashing: Hashing) -> Prints:
        """The hashes of all rows of `part`. Raises BrokenRead if some did not arrive."""
        way = self.ways[hashing.name]
        _, columns = self.relations.columns(side)
        keys = columns[: len(side.key)]
        key, row = way.key(_cells(side, keys, hashing)), way.of(_cells(side, columns, hashing))
        hashed = sa.select(key.label("k"), row.label("r")).where(*self.relations.within(side, keys, part))
        of = hashed.limit(PRINTS_MAX + 1).subquery("h").c
        count, found = connection.execute(sa.select(sa.func.count(), way.packed(of.k, of.r))).one()
        blob = b"" if found is None else found.encode("ascii") if isinstance(found, str) else bytes(found)
        if len(blob) != count * way.width:
            raise BrokenRead(
                f"{count} rows were to arrive as {count * way.width} bytes of hashes, and {len(blob)} did: "
                f"the database cut them off. Let it send longer values, or set exact = true to do without hashes"
            )
        return Prints(width=way.width, packed=blob)

    def _leaf(self, way: Way, side: BoundSide, keys: Sequence[Expression], hashing: Hashing) -> Expression:
        """Keys are dealt out evenly; integers without hashing them, by the remainder of a division."""
        if hashing.key == (Kind.INTEGER,):
            return sa.cast(keys[0], sa.BigInteger) % sa.literal_column(str(hashing.leaves))
        return way.bucket(way.key(_cells(side, keys, hashing)), hashing.leaves)


def _cells(side: BoundSide, parts: Sequence[Expression], hashing: Hashing) -> list[Cell]:
    """The first columns of a side, as many as there are `parts`: its key, or all."""
    whole = zip(side.columns, hashing.kinds, hashing.as_they_are, strict=True)
    return [Cell(column, part, kind, same) for part, (column, kind, same) in zip(parts, whole, strict=False)]


class Portable(Way):
    """MD5 of a text in which each value is spelt in one way, and none can be taken for two.

    A text value comes with its length, a NULL as a mark of its own, so that no two rows have one spelling. The rows of
    a leaf are joined in key order and hashed once: a hash a row and a sum cost twice as much.
    """

    name = "md5"
    portable = True
    width = 32

    def __init__(self, spelling: Spelling) -> None:
        self.spelling = spelling

    def probe(self) -> Expression:
        # Not ASCII, so that two encodings give two answers.
        return sa.func.md5(sa.literal("Trueup é ß 漢", sa.Text))

    def row(self, cells: Sequence[Cell]) -> Expression:
        """All values in one text, none of whose spellings can be another's."""
        return reduce(lambda a, b: a + b, map(self._field, cells))

    def _field(self, cell: Cell) -> Expression:
        text = self.spelling.spelled(cell.column, cell.kind, cell.expression, as_it_is=cell.as_it_is)
        if cell.kind is Kind.TEXT:
            text = sa.cast(self.spelling.octets(text), sa.String) + _COLON + text
        return sa.func.coalesce(text + _COMMA, _NULL, type_=sa.Text) if cell.column.nullable else text + _COMMA

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
