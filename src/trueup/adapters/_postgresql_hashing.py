"""PostgreSQL's row hashes: its own extended hash functions between two PostgreSQL servers, MD5 of a text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

import psycopg
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by

from trueup.adapters._dialect import BINARY, Expression
from trueup.adapters._portable import Field
from trueup.adapters._relations import Relations
from trueup.adapters._row_hash import Cell, Way
from trueup.core.binding import Column
from trueup.core.digest import Hashing
from trueup.core.row import Kind, Value

_NOTHING: Expression = sa.literal_column("''::bytea")
_COMMA: Expression = sa.literal_column("','", sa.Text)
#: Where PostgreSQL's days and moments begin to count.
_FIRST_DAY: Expression = sa.literal_column("DATE '2000-01-01'")
#: Years between which a moment's seconds since 2000, a float, tell each microsecond: there are less than 2**51.
_EXACT = (1930, 2070)
_MILLION: Expression = sa.literal_column("DOUBLE PRECISION '1000000'")
#: From 1970 to 2000.
_YEARS_S = 946_684_800
#: Microseconds from 2000 to no moment that PostgreSQL has.
_NEVER = 2**63 - 1
#: Parts of a row that one call takes: with commas between them they are no more than the 100 that a function may have.
_ARGUMENTS = 45
_NO_OFFSET: Expression = sa.literal_column("INTERVAL '0'")
_INFINITY: Expression = sa.literal_column("'Infinity'::numeric")
#: Kinds whose function hashes all of the seed and, with what is lost of the value in the seed, all of the value.
_TAKES_A_SEED = (Kind.INTEGER, Kind.TEXT, Kind.UUID)
#: Three seeds of a column, and what stands for NULL.
Seeds = tuple[Expression, Expression, Expression, Expression]
#: Column type -> a value: together they call every function that rows are hashed with.
_PROBES = (
    (Kind.INTEGER, "bigint", "-9876543210"),
    (Kind.INTEGER, "integer", "-7"),
    (Kind.BOOLEAN, "boolean", "true"),
    (Kind.DECIMAL, "numeric", "-7.50"),
    (Kind.TEXT, "text", "é ß 漢"),
    (Kind.FLOAT, "real", "1.5"),
    (Kind.FLOAT, "double precision", "-0.1"),
    (Kind.DATE, "date", "2001-02-03"),
    (Kind.TIME, "time", "04:05:06.789"),
    (Kind.TIMESTAMP, "timestamp", "1901-02-03 04:05:06.789"),
    (Kind.INSTANT, "timestamp with time zone", "2001-02-03 04:05:06.789+00"),
    (Kind.BYTES, "bytea", r"\x00ff"),
    (Kind.UUID, "uuid", "00000000-0000-4000-8000-00000000000a"),
)


class Native(Way):
    """PostgreSQL's extended hash functions: 64 bits of each value as it is stored, several times cheaper than an MD5.

    The values of a row are hashed each with a seed of its own, so that a value that changes its column is another one.
    The XOR of these is the seed of a last hash: that of the key's first part, if that has a function to itself. So what
    differs in two rows does not cancel in the sum of row hashes that is a leaf's content. Equal numbers hash alike
    whatever their scale. Not promised to be stable between versions, so it is never kept and always probed.
    """

    name = "PostgreSQL's own hash"
    portable = False
    width = 16
    as_they_come = True

    def __init__(self, relations: Relations) -> None:
        self.relations = relations

    def probe(self) -> Expression:
        cells = [
            Cell(Column(name="", kind=kind, type_name=name), sa.literal_column(f"'{value}'::{name}"), kind)
            for kind, name, value in _PROBES
        ]
        nothing = [replace(cell, expression=sa.literal_column(f"NULL::{cell.column.type_name}")) for cell in cells]
        return sa.func.concat_ws("_", self.of(cells), self.of(nothing))

    def of(self, cells: Sequence[Cell]) -> Expression:
        first, *others = cells
        if first.kind not in _TAKES_A_SEED:
            return _again(_xor(*self._each(cells, 0)))
        seed, *_, null = _seeds(0)
        beside = _xor(*self._each(others, 1)) if others else seed
        found = self._first(first, beside)
        if not first.column.nullable:
            return found
        return sa.func.coalesce(found, _again(_xor(beside, null)), type_=sa.BigInteger)

    def _each(self, cells: Sequence[Cell], place: int) -> Iterator[Expression]:
        """The hash of each column; these are from this place in the row on."""
        numbers = 0
        for at, cell in enumerate(cells, place):
            found = self._hashed(cell, _seeds(at))
            if cell.kind is Kind.DECIMAL:
                numbers += 1
                if numbers > 1:  # or their points would cancel
                    found = _again(found)
            yield found

    def _first(self, cell: Cell, seed: Expression) -> Expression:
        """The hash of the first column, with the hash of all others for its seed; NULL for NULL."""
        if cell.kind is Kind.TEXT:
            return self._of_text(cell, seed)
        if cell.kind is Kind.UUID:
            return _hash("uuid_hash_extended", cell.expression, seed)
        number = _bigint(cell)  # what the fold of its halves loses is in the seed
        return _hash("hashint8extended", number, number.bitwise_xor(seed))

    def key(self, cells: Sequence[Cell]) -> Expression:
        if [cell.kind for cell in cells] == [Kind.INTEGER]:
            return _bigint(cells[0])  # 64 bits already, and an index may serve them
        return self.of(cells)

    def keys_of(self, hashes: Iterable[bytes], hashing: Hashing) -> list[int] | None:
        """Looked for as the column's own type, which its index is made of."""
        if hashing.key != (Kind.INTEGER,):
            return None
        return [int.from_bytes(found, "big", signed=True) for found in hashes]

    def _hashed(self, cell: Cell, seeds: Seeds) -> Expression:
        """The hash of one column, never NULL. Where PostgreSQL's own function takes two values for one, the rest of the
        value is hashed, too.
        """
        column, part = cell.column, cell.expression
        seed, *_, null = seeds
        match cell.kind:
            case Kind.INTEGER | Kind.BOOLEAN if column.kind is Kind.BOOLEAN:
                yes, no = (_hash("hashint4extended", _number(value), seed) for value in (1, 0))  # computed once
                return sa.case((part, yes), (part.is_not(None), no), else_=null)
            case Kind.INTEGER | Kind.BOOLEAN:
                found = _of_integer(cell, seed)
            case Kind.DECIMAL:
                number = sa.cast(_bigint(cell) if column.kind is Kind.INTEGER else part, sa.Numeric)
                found = _of_number(column, number, seeds)
            case Kind.FLOAT:
                found = _hash("hashfloat4extended" if column.type_name == "real" else "hashfloat8extended", part, seed)
            case Kind.TEXT | Kind.JSON:
                found = self._of_text(cell, seed)
            case Kind.UUID:
                found = _hash("uuid_hash_extended", part, seed)
            case Kind.TIMESTAMP | Kind.INSTANT:
                return _of_moment(cell, seed, null)
            case Kind.DATE:
                found = _hash("hashfloat8extended", sa.func.daterange_subdiff(part, _FIRST_DAY), seed)
            case _:  # there is no function to be called, but that of a record of one
                whole = sa.func.time_send(part) if cell.kind is Kind.TIME else part
                return sa.case((part.is_not(None), _hash("hash_record_extended", sa.func.row(whole), seed)), else_=null)
        return sa.func.coalesce(found, null, type_=sa.BigInteger)

    def _of_text(self, cell: Cell, seed: Expression) -> Expression:
        """A collation that takes two texts for one hashes them alike, too: it is left out."""
        text = sa.cast(self.relations.read_as(cell.column, cell.expression), sa.Text)
        return _hash("hashtextextended", sa.collate(text, "C"), seed)

    def leaf(self, key: Sequence[Cell], leaves: int) -> Expression:
        return self.of(key) % sa.literal_column(str(leaves))

    def content(self, row: Expression, order: Sequence[Expression]) -> Expression:  # noqa: ARG002 - sums have none
        return sa.func.sum(row)

    def packed(self, key: Expression, row: Expression) -> Expression:
        both = sa.func.int8send(key, type_=sa.LargeBinary).op("||")(sa.func.int8send(row))
        return sa.func.string_agg(both, _NOTHING)

    def headless(self, key: Expression, row: Expression) -> Expression:
        """A delimiter may be of its row, and stands before all values but the first: two calls less for each row."""
        return sa.func.string_agg(sa.func.int8send(key), sa.func.int8send(row), type_=sa.LargeBinary)

    def hash_values(self, hashes: Iterable[bytes]) -> tuple[list[Value], sa.types.TypeEngine[Any]]:
        return [int.from_bytes(found, "big", signed=True) for found in hashes], sa.BigInteger()


def _seeds(at: int) -> Seeds:
    """Three seeds, and what stands for NULL, of the column at this place: numbers of 63 bits far from each other."""
    one, other, third, null = (_number((4 * at + n) * 0x9E3779B97F4A7C15 % 2**63) for n in (1, 2, 3, 4))
    return one, other, third, null


def _xor(*parts: Expression) -> Expression:
    """All of these, as a balanced tree: a chain of some hundred is too deep to be rendered."""
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return _xor(*parts[:middle]).bitwise_xor(_xor(*parts[middle:]))


def _number(value: int) -> Expression:
    return sa.literal_column(str(value))


def _again(found: Expression) -> Expression:
    """Another hash of all 64 bits of a hash: as a value its halves would be folded, as a seed they are not."""
    return _hash("hashint4extended", _number(0), found)


def _hash(function: str, value: Expression, seed: Expression) -> Expression:
    found: Expression = getattr(sa.func, function)(value, seed, type_=sa.BigInteger)
    return found


def _bigint(cell: Cell) -> Expression:
    number = sa.cast(cell.expression, sa.Integer) if cell.column.kind is Kind.BOOLEAN else cell.expression
    return sa.cast(number, sa.BigInteger)


def _of_integer(cell: Cell, seed: Expression) -> Expression:
    """PostgreSQL folds the halves of a bigint, so that 1 and 2**32 hash alike: what the fold loses goes into the seed.

    That is 0 for whatever an `integer` can hold, so that integers of all sizes hash alike.
    """
    if cell.column.type_name in ("smallint", "integer"):
        return _hash("hashint4extended", sa.cast(cell.expression, sa.Integer), seed)
    number = _bigint(cell)
    beyond = number.bitwise_rshift(_number(31)).bitwise_xor(number.bitwise_rshift(_number(63)))
    return _hash("hashint8extended", number, seed.bitwise_xor(beyond))


def _of_number(column: Column, number: Expression, seeds: Seeds) -> Expression:
    """PostgreSQL leaves out the sign, and takes NaN and the infinities for one: other seeds tell them apart.

    The place of the point is only XORed in, so there may be one such hash in a XOR that is hashed again.
    """
    seed, below, infinite, _ = seeds
    apart = [(number < _number(0), below)]
    if column.type_name == "numeric":  # with a precision there is no infinity
        apart.append((number == _INFINITY, infinite))
    return _hash("hash_numeric_extended", number, sa.case(*apart, else_=seed))


def _of_moment(cell: Cell, seed: Expression, null: Expression) -> Expression:
    """PostgreSQL folds a timestamp as it does a bigint; its seconds since 2000, a float, are hashed whole.

    Far from 2000 some microseconds (a thousand at the end) share one float: there the fold, which tells these apart,
    is the seed.
    """
    moment, kind = cell.expression, cell.kind
    at_utc = sa.func.timezone(_NO_OFFSET, moment) if kind is Kind.INSTANT else moment
    seconds = _seconds(moment, kind)
    return sa.case(
        (_exact(moment, kind), _hash("hashfloat8extended", seconds, seed)),
        (moment.is_not(None), _hash("hashfloat8extended", seconds, _hash("timestamp_hash_extended", at_utc, seed))),
        else_=null,
    )


def _new_year(year: int, kind: Kind) -> Expression:
    name = "TIMESTAMPTZ" if kind is Kind.INSTANT else "TIMESTAMP"
    return sa.literal_column(f"{name} '{year}-01-01 00:00:00Z'")


def _exact(moment: Expression, kind: Kind) -> Expression:
    """Holds for a moment of which `_seconds` tells each microsecond."""
    first, last = (_new_year(year, kind) for year in _EXACT)
    return sa.and_(moment >= first, moment < last)


def _seconds(moment: Expression, kind: Kind) -> Expression:
    """Seconds since 2000, by what indexes of ranges measure distances with: `date_part` costs ten times as much."""
    distance = sa.func.tstzrange_subdiff if kind is Kind.INSTANT else sa.func.tsrange_subdiff
    return distance(moment, _new_year(2000, kind), type_=sa.Double)


class PostgresqlSpelling:
    """Values as texts that every product can make."""

    def __init__(self, relations: Relations) -> None:
        self.relations = relations

    def spelled(self, column: Column, kind: Kind, expression: Expression, *, as_it_is: bool) -> Expression:
        if column.kind is Kind.BOOLEAN:
            return sa.cast(expression, sa.Integer)
        match kind:
            case Kind.INTEGER:
                return expression
            case Kind.DECIMAL:
                return expression if as_it_is else sa.func.trim_scale(sa.cast(expression, sa.Numeric))
            case Kind.BYTES:
                return sa.func.encode(expression, "hex", type_=sa.Text)
            case Kind.UUID:
                return sa.func.replace(sa.cast(expression, sa.Text), "-", "", type_=sa.Text)
            case Kind.TIMESTAMP | Kind.INSTANT:
                return _microseconds(expression, kind)
            case Kind.TEXT:
                expression = self.relations.read_as(column, expression)
        return sa.cast(expression, sa.Text)

    in_order = False

    def digits(self, column: Column, number: Expression) -> Expression:  # noqa: ARG002 - there is one form
        return sa.func.encode(sa.func.int8send(sa.cast(number, sa.BigInteger)), "hex", type_=sa.Text)

    def bounded(self, text: Expression, most: int) -> Expression:  # noqa: ARG002 - every text is one to it
        return text

    def listed(self, fields: Sequence[Field]) -> Expression:
        """`concat_ws` is quicker than `concat`, and passes over what is NULL: it is for rows without one."""
        parts = [field.text for field in fields]
        # A text is NULL where its length is.
        without_null = [of.is_not(None) for of in dict.fromkeys(field.of for field in fields) if of is not None]
        calls = [parts[at : at + _ARGUMENTS] for at in range(0, len(parts), _ARGUMENTS)]
        quick = _one_text(sa.func.concat_ws(_COMMA, *some, type_=sa.Text) for some in calls)
        if not without_null:
            return quick
        exact = _one_text(sa.func.concat(*_with_commas(some), type_=sa.Text) for some in calls)
        return sa.case((sa.and_(*without_null), quick), else_=exact)

    def joined(self, text: Expression, order: Sequence[Expression]) -> Expression:
        nothing: Expression = sa.literal_column("''")
        return sa.func.string_agg(text, aggregate_order_by(nothing, *order) if order else nothing, type_=sa.Text)

    def whole(self, connection: sa.Connection) -> bool:  # noqa: ARG002 - too long is an error here
        return True


def _microseconds(moment: Expression, kind: Kind) -> Expression:
    """Microseconds since 2000, of any moment; of `infinity` more than any has."""

    def part(name: str, of: Expression) -> Expression:
        return sa.func.date_part(sa.literal_column(f"'{name}'"), of, type_=sa.Double)

    def whole(number: Expression) -> Expression:
        return sa.cast(number, sa.BigInteger)

    at_utc = sa.func.timezone(_NO_OFFSET, moment) if kind is Kind.INSTANT else moment
    seconds = whole(part("epoch", sa.func.date_trunc(sa.literal_column("'second'"), at_utc))) - _number(_YEARS_S)
    exact = seconds * _number(10**6) + whole(part("microseconds", at_utc)) % _number(10**6)
    return sa.case(
        (_exact(moment, kind), whole(_seconds(moment, kind) * _MILLION)),
        (sa.func.isfinite(moment), exact),
        (moment.is_not(None), sa.case((moment > _new_year(2000, kind), _number(_NEVER)), else_=_number(-_NEVER))),
    )


def _with_commas(parts: Sequence[Expression]) -> Iterator[Expression]:
    yield parts[0]
    for part in parts[1:]:
        yield from (_COMMA, part)


def _one_text(texts: Iterable[Expression]) -> Expression:
    """With a comma between them."""
    return reduce(lambda a, b: a.concat(_COMMA).concat(b), texts)


def binary_results(_connection: object, cursor: Any, _sql: str, _given: object, context: Any, _many: bool) -> None:
    """Before a statement with the option BINARY: its bytes are not sent as hexadecimal digits, to be read again."""
    if context.execution_options.get(BINARY):
        cursor.format = psycopg.pq.Format.BINARY
