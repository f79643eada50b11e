"""PostgreSQL's own hash, row by row: no two values that differ by construction have one hash, and equal ones have.

Each case has the hash function that it is built on as a control, which has to take some of the values for one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import reduce
from itertools import product
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trueup import Database
from trueup.adapters import connect
from trueup.adapters._postgresql_hashing import Native, _again, _xor
from trueup.adapters._row_hash import Cell
from trueup.adapters.postgresql import PostgresqlAdapter
from trueup.core.binding import Column
from trueup.core.kinds import Kind

KINDS = {
    "bigint": Kind.INTEGER,
    "integer": Kind.INTEGER,
    "smallint": Kind.INTEGER,
    "boolean": Kind.BOOLEAN,
    "numeric": Kind.DECIMAL,
    "numeric(12,2)": Kind.DECIMAL,
    "double precision": Kind.FLOAT,
    "text": Kind.TEXT,
    "timestamp": Kind.TIMESTAMP,
    "timestamp with time zone": Kind.INSTANT,
    "date": Kind.DATE,
    "time": Kind.TIME,
    "bytea": Kind.BYTES,
    "uuid": Kind.UUID,
}


class Server:
    """Rows as PostgreSQL hashes them."""

    def __init__(self, adapter: PostgresqlAdapter) -> None:
        self.adapter = adapter
        (self.way,) = (way for way in adapter.hashed.ways.values() if not way.portable)

    def hashes(self, types: Sequence[str], rows: Sequence[Sequence[Any]], kinds: Sequence[Kind] = ()) -> list[int]:
        """One a row, in order; `rows` hold literals of these types."""
        as_hashed = kinds or [KINDS[name] for name in types]
        cells = [
            Cell(Column(name=f"c{at}", kind=KINDS[name], type_name=name), sa.column(f"c{at}"), kind)
            for at, (name, kind) in enumerate(zip(types, as_hashed, strict=True))
        ]
        columns = [sa.column(f"v{at}", sa.Text) for at in range(len(types))]
        data = sa.values(sa.column("n", sa.Integer), *columns, name="v").data(
            [(n, *(None if value is None else str(value) for value in row)) for n, row in enumerate(rows)]
        )
        typed = (sa.literal_column(f"v.v{at}::{name}").label(f"c{at}") for at, name in enumerate(types))
        found = sa.select(data.c.n, *typed).offset(0).subquery("t")
        statement = sa.select(self.way.of(cells)).select_from(found).order_by(found.c.n)
        with self.adapter.reading() as connection:
            return list(connection.execute(statement).scalars())

    def one(self, expression: str) -> Any:
        with self.adapter.reading() as connection:
            return connection.exec_driver_sql(f"SELECT {expression}").scalar_one()


@pytest.fixture(scope="module")
def server(postgres_url: str) -> Iterator[Server]:
    with closing(connect("a", Database(url=postgres_url))) as adapter:
        assert isinstance(adapter, PostgresqlAdapter)
        yield Server(adapter)


#: Halves that a fold of 64 bits to 32 takes for each other: mirrored, shifted, at borders of signs.
HALVES = [0, 1, 2, 5, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0x80000001, 0xFFFFFFFE, 0xFFFFFFFF]
SIGNED = sorted(
    {(high << 32 | low) - 2**63 for high, low in product(HALVES, repeat=2)}
    | {high << 32 | low for high, low in product(HALVES[:8], HALVES)}
)


#: What may stand before the columns of a case: nothing; a column that takes their hash for its seed; one that does not.
BEFORE = [[], [("bigint", "7")], [("text", "a")], [("date", "2001-02-03")]]
behind = pytest.mark.parametrize("before", BEFORE, ids=str)


def put(before: Sequence[tuple[str, str]], types: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[Any, Any]:
    """Types and rows of a case behind other columns."""
    return [name for name, _ in before] + [*types], [[value for _, value in before] + [*row] for row in rows]


@behind
def test_no_fold_of_two_halves_is_left_in_integers(server: Server, before: list[tuple[str, str]]) -> None:
    hashes = server.hashes(*put(before, ["bigint"], [(number,) for number in SIGNED]))
    assert len(set(hashes)) == len(SIGNED)
    values = ", ".join(f"({number})" for number in SIGNED)
    assert server.one(f"(SELECT count(DISTINCT hashint8extended(n, 7)) FROM (VALUES {values}) v (n))") < len(SIGNED)


def test_no_fold_of_two_halves_is_left_in_the_last_hash(server: Server) -> None:
    """Its seed is the XOR of the hashes of all columns, of which it takes all."""
    values = ", ".join(f"({number})" for number in SIGNED)
    last, folded = _again(sa.column("n", sa.BigInteger)), sa.func.hashint8extended(sa.column("n"), sa.text("0"))
    for hashed, enough in ((last, True), (folded, False)):
        told = server.one(f"(SELECT count(DISTINCT {hashed.compile()}) FROM (VALUES {values}) v (n))")
        assert (told == len(SIGNED)) is enough


#: Rows of which no two may move by the same, and a key of each type for the row `n`.
MANY = 200_000
KEYED = {
    "bigint": "n::bigint",
    "text": "'key ' || n",
    "uuid": "lpad(to_hex(n), 32, '0')::uuid",
    "date": "DATE '2000-01-01' + n",
}


@pytest.mark.parametrize("name", KEYED)
def test_what_changes_in_two_rows_does_not_cancel(server: Server, name: str) -> None:
    """The sum of a leaf stays the same if one row's hash moves by what another's moves back: as a value turns in one
    and turns back in the other, say. No two of many rows move by the same; of the control, which has the XOR of the
    same hashes for the hash of a row, some do.
    """
    types = {"k": name, "b": "boolean"}
    key, turns = (Column(name=n, kind=KINDS[of], type_name=of, nullable=False) for n, of in types.items())
    cells = [Cell(key, sa.literal_column(KEYED[name]), key.kind), Cell(turns, sa.column("b"), turns.kind)]
    native = server.way
    assert isinstance(native, Native)

    def amounts(row: Any) -> int:
        """How many different ones the hash of a row moves by where `b` turns."""
        hashed = row.compile(dialect=server.adapter.engine.dialect).string
        rows = f"generate_series(1, {MANY}) n, (VALUES (true), (false)) v (b)"
        moved = f"SELECT sum(CASE WHEN b THEN 1 ELSE -1 END * ({hashed})::numeric) AS by FROM {rows} GROUP BY n"
        return int(server.one(f"(SELECT count(DISTINCT by) FROM ({moved}) m)"))

    assert amounts(native.of(cells)) == MANY
    assert amounts(reduce(_xor, native._each(cells, 0))) < MANY


#: Microseconds since 2000 that a timestamp can hold, the first and the last among them.
FIRST, END = -211_813_488_000_000_000, 9_223_371_331_200_000_000
STEPS = [step * 2**31 + near for step in (-98_632, -98_631, -3, -2, -1, 0, 1, 2, 3, 98_631) for near in (-1, 0, 1, 5)]
#: The ends of the years that are hashed as they are, and neighbours that share a float far from there.
BORDERS = [years + near for years in (-2_208_988_800_000_000, 2_209_075_200_000_000) for near in range(-9, 9)]
FAR = [far + near for far in (FIRST, 2**61, 2**62 - 2**32, END - 5_000) for near in range(0, 5_000, 97)]
MOMENTS = sorted({n for n in [FIRST + 1, FIRST + 2**31, END - 1, *SIGNED, *STEPS, *BORDERS, *FAR] if FIRST <= n < END})


def moments(microseconds: Sequence[int]) -> list[str]:
    """As PostgreSQL reads them; years beyond Python's, too."""
    texts = []
    for n in microseconds:
        days, rest = divmod(n, 86_400_000_000)
        texts.append(
            f"J{2_451_545 + days} {rest // 3_600_000_000:02}:{rest // 60_000_000 % 60:02}:"
            f"{rest // 1_000_000 % 60:02}.{rest % 1_000_000:06}"
        )
    return texts


@pytest.mark.parametrize("name", ["timestamp", "timestamp with time zone"])
def test_no_fold_of_two_halves_is_left_in_moments(server: Server, name: str) -> None:
    texts = [*moments(MOMENTS), "infinity", "-infinity"]
    hashes = server.hashes([name], [(text,) for text in [*texts, None]])
    assert len(set(hashes)) == len(texts) + 1
    values = ", ".join(f"(timestamp '{text}')" for text in texts)
    assert server.one(f"(SELECT count(DISTINCT t) FROM (VALUES {values}) v (t))") == len(texts)
    for control in ("timestamp_hash_extended(t, 7)", "tsrange_subdiff(t, timestamp '2000-01-01')"):
        assert server.one(f"(SELECT count(DISTINCT {control}) FROM (VALUES {values}) v (t))") < len(texts)


#: A bigint from two halves that repeat, so that folds meet.
HALF = st.sampled_from([0, 1, 2, 3, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1]) | st.integers(0, 2**32 - 1)
BIGINT = st.builds(lambda high, low: (high << 32 | low) - 2**63, HALF, HALF)
MOMENT = st.builds(lambda high, low: (high << 32) + low, st.integers(-8, 8) | st.integers(-49_316, 0x7FFFFF00), HALF)
PROPERTY = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@PROPERTY
@given(st.lists(st.tuples(BIGINT, BIGINT), min_size=100, max_size=200, unique=True))
def test_pairs_of_integers_that_differ(server: Server, rows: list[tuple[int, int]]) -> None:
    assert len(set(server.hashes(["bigint", "bigint"], rows))) == len(rows)


@PROPERTY
@given(st.lists(MOMENT, min_size=50, unique=True))
def test_moments_that_differ(server: Server, rows: list[int]) -> None:
    assert len(set(server.hashes(["timestamp"], [(text,) for text in moments(rows)]))) == len(rows)


#: What PostgreSQL hashes to the seed, to the number before it, or to the seed XOR the place of the point.
NUMBERS = ["0", "NaN", "Infinity", "-Infinity", "1", "-1", "10000", "-10000", "0.0001", "1.5", "15", "100000000"]


@behind
def test_numbers_do_not_cancel_between_columns(server: Server, before: list[tuple[str, str]]) -> None:
    rows = [*product([*NUMBERS, None], repeat=2)]
    assert len(set(server.hashes(*put(before, ["numeric", "numeric"], rows)))) == len(rows)
    two = "hash_numeric_extended({}, 7) # hash_numeric_extended({}, 9)"
    assert server.one(f"{two.format(1, 10000)} = {two.format(10000, 1)}"), "the control has to fall for it"
    assert server.one(f"{two.format(0, chr(39) + 'NaN' + chr(39))} = {two.format(chr(39) + 'NaN' + chr(39), 0)}")


#: One value in several types, and the kind in which they meet.
ALIKE: list[tuple[Kind, list[tuple[str, str]]]] = [
    (Kind.INTEGER, [("smallint", "-7"), ("integer", "-7"), ("bigint", "-7")]),
    (Kind.INTEGER, [("integer", "-2147483648"), ("bigint", "-2147483648")]),
    (Kind.INTEGER, [("boolean", "true"), ("integer", "1"), ("bigint", "1")]),
    (Kind.DECIMAL, [("integer", "-100"), ("numeric", "-1e2"), ("numeric", "-100.00"), ("numeric(12,2)", "-100")]),
    (Kind.DECIMAL, [("numeric", "NaN"), ("numeric(12,2)", "NaN")]),
    (Kind.DECIMAL, [("bigint", "0"), ("numeric", "0.000"), ("numeric(12,2)", "-0")]),
    (Kind.FLOAT, [("double precision", "0"), ("double precision", "-0")]),
]


@behind
@pytest.mark.parametrize(("kind", "spellings"), ALIKE, ids=str)
def test_one_value_of_several_types(
    server: Server, kind: Kind, spellings: list[tuple[str, str]], before: list[tuple[str, str]]
) -> None:
    kinds = [*(KINDS[name] for name, _ in before), kind]
    assert len({server.hashes(*put(before, [name], [(value,)]), kinds)[0] for name, value in spellings}) == 1


@pytest.mark.parametrize("name", ["integer", "bigint", "text", "uuid"])
def test_the_first_column_beside_all_others(server: Server, name: str) -> None:
    """It takes their hash for its seed: values that change places with it, and NULL in each place."""
    ids = [f"00000000-0000-4000-8000-{n:012}" for n in range(3)]
    values = ids if name == "uuid" else ["0", "1", "-1"]
    rows = [*product([*values, None], repeat=3)]
    assert len(set(server.hashes([name] * 3, rows))) == len(rows)


def test_each_column_has_a_hash_of_its_own(server: Server) -> None:
    """Values that change places, a NULL that does, and a value beside nothing."""
    names = ["date", "time", "bytea", "uuid", "text", "boolean", "double precision", "timestamp"]
    values = ["2001-02-03", "04:05:06", "a", "00000000-0000-4000-8000-00000000000a", "a", "true", "0", "2000-01-01"]
    for name, value in zip(names, values, strict=True):
        rows = [*product([value, None], repeat=3)]
        assert len(set(server.hashes([name] * 3, rows))) == len(rows), name
    texts = [*product(["", "a", "b", "ab", None], repeat=2)]
    assert len(set(server.hashes(["text", "text"], texts))) == len(texts)
    times = [(f"00:00:00.{n:06}",) for n in range(50)] + [(f"01:11:34.{967296 + n}",) for n in range(50)]
    assert len(set(server.hashes(["time"], times))) == len(times)
    assert server.one("time_hash_extended('00:00:00.000001', 7) = time_hash_extended('01:11:34.967296', 7)")
