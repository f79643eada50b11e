"""What makes a digest say "equal" wrongly, on every pair of databases that hash rows alike.

Everything falls into one leaf here, so that whatever may cancel gets its chance. Each pitfall has a digest that falls
for it, as a positive control: were the rows not as awkward as they have to be, that one would tell them apart.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import reduce
from pathlib import Path
from uuid import UUID

import pytest

from tests.conformance.hashed import HASHED, HASHED_IDS, NATIVE, HashedWorld, assert_differ, open_hashed
from tests.conformance.worlds import Row
from trueup import by_digest
from trueup.access import hashing_of


@pytest.fixture(params=HASHED, ids=HASHED_IDS)
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


@pytest.fixture(params=NATIVE, ids=str)
def native(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


@pytest.fixture(autouse=True)
def one_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", 1)


# --- naive digests -----------------------------------------------------------------------------------------------

Digesting = Callable[[Sequence[Row]], object]


def xor_of_rows(rows: Sequence[Row]) -> int:
    """XOR of a CRC a row."""
    return reduce(int.__xor__, (zlib.crc32(repr(row).encode()) for row in rows), 0)


def xor_of_values(rows: Sequence[Row]) -> int:
    return reduce(int.__xor__, (zlib.crc32(repr(v).encode()) for row in rows for v in row), 0)


def sum_of_values(rows: Sequence[Row]) -> int:
    return sum(v for row in rows for v in row)


def squares(rows: Sequence[Row]) -> int:
    """A sum whose terms are not linear, but are taken value by value."""
    return sum(hash((at, v)) for row in rows for at, v in enumerate(row))


def joined(separator: str = "", null: str | None = None) -> Digesting:
    """The values of all rows as one text; a NULL is `null`, or left out."""

    def digest(rows: Sequence[Row]) -> str:
        texts = [null if v is None else str(v) for row in rows for v in row]
        return separator.join(text for text in texts if text is not None)

    return digest


def lengths_of_rows(rows: Sequence[Row]) -> str:
    """A length, but of a whole row and not of each value."""
    return "".join(f"{len(''.join(map(str, row)))}:{''.join(map(str, row))}" for row in rows)


@dataclass(frozen=True, kw_only=True)
class Pitfall:
    about: str
    #: Falls for it.
    naive: Digesting
    source: list[Row]
    target: list[Row]
    columns: str = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {integer}"
    expected: set[Row] = field(default_factory=lambda: {("different", 1), ("different", 2)})


TEXTS = "id {integer} PRIMARY KEY NOT NULL, a {text}, b {text}"
ONE = {("different", 1)}
PITFALLS = [
    Pitfall(
        about="two values swapped", naive=xor_of_values, source=[(1, 5, 7), (2, 6, 8)], target=[(1, 6, 7), (2, 5, 8)]
    ),
    Pitfall(
        about="two rows swapped", naive=xor_of_values, source=[(1, 5, 7), (2, 6, 8)], target=[(1, 6, 8), (2, 5, 7)]
    ),
    Pitfall(
        about="changed by one delta",
        naive=xor_of_rows,
        source=[(1, 100, 7), (2, 102, 7)],
        target=[(1, 101, 7), (2, 103, 7)],
    ),
    Pitfall(about="an amount moved", naive=sum_of_values, source=[(1, 5, 7), (2, 6, 8)], target=[(1, 3, 7), (2, 8, 8)]),
    Pitfall(
        about="a value moved, column by column",
        naive=squares,
        source=[(1, 5, 7), (2, 6, 8)],
        target=[(1, 6, 7), (2, 5, 8)],
    ),
    Pitfall(
        about="three values in a ring",
        naive=squares,
        source=[(1, 1, 0), (2, 2, 0), (3, 3, 0)],
        target=[(1, 2, 0), (2, 3, 0), (3, 1, 0)],
        expected={("different", 1), ("different", 2), ("different", 3)},
    ),
    Pitfall(about="columns swapped", naive=xor_of_values, source=[(1, 5, 7)], target=[(1, 7, 5)], expected=ONE),
    Pitfall(
        about="the pair is nothing",
        naive=xor_of_values,
        source=[(3, 9, 9)],
        target=[(3, 4, 4)],
        expected={("different", 3)},
    ),
    Pitfall(
        about="no separator",
        naive=joined(),
        columns=TEXTS,
        source=[(1, "ab", "c")],
        target=[(1, "a", "bc")],
        expected=ONE,
    ),
    Pitfall(
        about="comma",
        naive=joined(","),
        columns=TEXTS,
        source=[(1, "a,b", "c")],
        target=[(1, "a", "b,c")],
        expected=ONE,
    ),
    Pitfall(
        about="a length of its own",
        naive=joined(),
        columns=TEXTS,
        source=[(1, "1:a", "")],
        target=[(1, "1:", "a")],
        expected=ONE,
    ),
    Pitfall(
        about="a length, row by row",
        naive=lengths_of_rows,
        columns=TEXTS,
        source=[(1, "1:a", "b")],
        target=[(1, "1:", "ab")],
        expected=ONE,
    ),
    Pitfall(
        about="our own spelling within a text",
        naive=joined(),
        columns=TEXTS,
        source=[(1, "1:a,1:b,", "")],
        target=[(1, "1:a,", "1:b,")],
        expected=ONE,
    ),
    Pitfall(
        about="a row within a value",
        naive=joined(","),
        columns=TEXTS,
        source=[(1, "x,y,2", "x"), (3, "u", "v")],
        target=[(1, "x", "y,2,x"), (3, "u", "v")],
        expected=ONE,
    ),
    Pitfall(
        about="NULL left out",
        naive=joined(),
        columns=TEXTS,
        source=[(1, None, "a")],
        target=[(1, "a", None)],
        expected=ONE,
    ),
    *(
        Pitfall(
            about=f"NULL and {mark!r}",
            naive=joined("|", null=mark),
            columns=TEXTS,
            source=[(1, None, "a"), (2, mark, mark)],
            target=[(1, mark, "a"), (2, None, mark)],
        )
        for mark in ("", "~", "~,", "NULL", "\\N", "0:")
    ),
    Pitfall(
        about="keys moved, values stayed",
        naive=lambda rows: sorted(row[1:] for row in rows),
        source=[(1, 5, 7), (2, 6, 8)],
        target=[(3, 5, 7), (4, 6, 8)],
        expected={("missing", 1), ("missing", 2), ("extra", 3), ("extra", 4)},
    ),
    Pitfall(
        about="as many rows, one of them another",
        naive=len,
        source=[(1, 5, 7), (2, 6, 8)],
        target=[(1, 5, 7), (3, 6, 8)],
        expected={("missing", 2), ("extra", 3)},
    ),
]


def test_what_cancels_for_others_does_not_here(world: HashedWorld) -> None:
    for case in PITFALLS:
        assert case.naive(case.source) == case.naive(case.target), f"{case.about}: the control has to fall for it"
        world.again(case.columns, case.source, case.target)
        assert_differ(world, case.expected)


@pytest.mark.parametrize("keys", [(1, 4, 2, 3), tuple(128 * 512 * (2**32 + 1) * n for n in (1, 4, 2, 3))])
def test_keys_without_columns_are_no_mere_numbers(world: HashedWorld, keys: tuple[int, ...]) -> None:
    """Two pairs of keys with one sum; of the second, PostgreSQL's own hash is one number, too: its halves cancel."""
    assert sum(keys[:2]) == sum(keys[2:])
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL", [(key,) for key in keys[:2]])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL", [(key,) for key in keys[2:]])
    assert_differ(world, {("missing", key) for key in keys[:2]} | {("extra", key) for key in keys[2:]})
    if world.source.engine == "postgresql":
        folded = f"SELECT count(DISTINCT hashint8extended(k, 1)) FROM unnest(ARRAY{list(keys)}::bigint[]) k"
        assert world.source.sql(folded) == [(1 if keys[0] > 1 else 4,)]


# --- values that one database's own hash takes for one ------------------------------------------------------------

FOLDED = datetime(2000, 1, 1) + timedelta(microseconds=1), datetime(2000, 1, 1) + timedelta(microseconds=2**32)
#: Type, two values, and how PostgreSQL's own hash takes them for one.
LOOSE = [
    ("integer", 1, 2**32, "hashint8extended(1, 0) = hashint8extended(4294967296, 0)"),
    ("number", Decimal("-0.5"), Decimal("0.5"), "hash_numeric_extended(-0.5, 0) = hash_numeric_extended(0.5, 0)"),
    ("timestamp", *FOLDED, f"timestamp_hash_extended('{FOLDED[0]}', 0) = timestamp_hash_extended('{FOLDED[1]}', 0)"),
    ("instant", *(at.replace(tzinfo=UTC) for at in FOLDED), "hashint8extended(1, 0) = hashint8extended(4294967296, 0)"),
    ("timestamp", FOLDED[0], FOLDED[0] + timedelta(microseconds=1), ""),
    ("text", "a", "a ", "hashbpcharextended('a', 0) = hashbpcharextended('a ', 0)"),
    ("text", "a", "A", ""),
    ("text", "é", "e\u0301", ""),
    ("date", date(2000, 1, 1), date(2000, 1, 2), ""),
    ("boolean", False, None, ""),
    ("integer", 0, None, ""),
    ("bytes", b"", None, ""),
    ("bytes", b"a\0", b"a", ""),
    ("uuid", UUID(int=0), None, ""),
    ("uuid", UUID(int=1), UUID(int=2**64), ""),
]


def test_what_a_database_hashes_alike_differs_here(world: HashedWorld) -> None:
    """A column a pair of values, and in it two rows: one that differs by that pair only, and one that does not."""
    loose = [by for *_, by in LOOSE if by]
    if world.source.engine == "postgresql":
        assert world.source.sql("SELECT " + ", ".join(loose)) == [(True,) * len(loose)], "the control falls for it"
    columns = ", ".join(f"c{at} {{{kind}}}" for at, (kind, *_) in enumerate(LOOSE))
    same = [one for _, one, _, _ in LOOSE]
    target = [(n, *(pair[2] if at == n else pair[1] for at, pair in enumerate(LOOSE))) for n in range(len(LOOSE))]
    source = [(n, *same) for n in range(len(LOOSE))]
    world.tables(f"id {{integer}} PRIMARY KEY NOT NULL, {columns}", [*source, (99, *same)], [*target, (99, *same)])
    assert_differ(world, {("different", n) for n in range(len(LOOSE))})


def test_a_collation_that_takes_two_texts_for_one(native: HashedWorld) -> None:
    for place in (native.source, native.target):
        place.sql("CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
    columns = "id {integer} PRIMARY KEY NOT NULL, v text COLLATE loose"
    native.tables(columns, [(1, "Ann"), (2, "Bob")], [(1, "ANN"), (2, "Bob")])
    alike = "SELECT hashtextextended('Ann' COLLATE loose, 0) = hashtextextended('ANN' COLLATE loose, 0)"
    assert native.source.sql(alike) == [(True,)], "the control has to fall for it"
    assert_differ(native, {("different", 1)})


def test_a_sum_of_record_hashes_falls_for_values_that_moved(native: HashedWorld) -> None:
    """A record's hash is linear in those of its columns, so that their sum does not see two values change places."""
    source, target = [(1, "x"), (2, "y")], [(1, "y"), (2, "x")]
    native.tables("id {integer} PRIMARY KEY NOT NULL, v {text}", source, target)
    lane = 'SELECT sum(hash_record_extended(ROW(int8send(id), v COLLATE "C"), 0)) % 18446744073709551616 FROM '
    ((one,),), ((other,),) = native.source.sql(lane + "src"), native.target.sql(lane + "dst")
    assert (one - other) % 2**64 == 0, "the control has to fall for it"
    assert_differ(native, {("different", 1), ("different", 2)})


# --- what is the same ----------------------------------------------------------------------------------------------

#: Types of both sides, and a value of each that is the same.
SAME = [
    ("{number}", "{number}", Decimal("1.0"), Decimal("1.00")),
    ("numeric(12,2)", "numeric(14,4)", Decimal("-7.50"), Decimal("-7.5000")),
    ("numeric(12,2)", "numeric(10,2)", Decimal("0.00"), Decimal("0")),
    ("numeric(12,0)", "numeric(12,3)", Decimal(100), Decimal("100.000")),
    ("{integer}", "numeric(12,2)", 100, Decimal("100.00")),
    ("{integer}", "numeric(12,2)", -5, Decimal("-5.00")),
    ("{small}", "{integer}", -7, -7),
    ("{boolean}", "{integer}", True, 1),
    ("{boolean}", "{boolean}", False, False),
    ("varchar(20)", "{text}", "Größe 漢 👍🏽", "Größe 漢 👍🏽"),
    ("char(9)", "{text}", "ab", "ab"),
    ("char(9)", "char(5)", "ab", "ab"),
    ("{bytes}", "{bytes}", b"\0\xff,~", b"\0\xff,~"),
    ("{uuid}", "{uuid}", UUID(int=2**127), UUID(int=2**127)),
    ("{date}", "{date}", date(1582, 10, 15), date(1582, 10, 15)),
    (
        "{timestamp}",
        "{timestamp}",
        datetime(1969, 12, 31, 23, 59, 59, 999999),
        datetime(1969, 12, 31, 23, 59, 59, 999999),
    ),
    ("{instant}", "{instant}", datetime(2038, 1, 1, tzinfo=UTC), datetime(2038, 1, 1, tzinfo=UTC)),
]


def test_one_value_in_two_spellings(world: HashedWorld) -> None:
    places = ((world.source, "src", 0), (world.target, "dst", 1))
    for place, table, side in places:
        columns = ", ".join(f"c{at} {pair[side]}" for at, pair in enumerate(SAME))
        rows = [(1, *(pair[2 + side] for pair in SAME)), (2, *(None for _ in SAME))]
        place.table(table, f"id {{integer}} PRIMARY KEY NOT NULL, {columns}", rows)
    assert_differ(world, set())
    world.found()
    assert world.steps() == {"digests"}, "spellings that differ cost a closer look"


FLOATS = [
    (-0.0, 0.0, True),
    (float("nan"), float("nan"), True),
    (0.1, 0.1, True),
    (0.1 + 0.2, 0.3, False),
    (1e308, float("inf"), False),
]


def test_floats_are_hashed_as_they_are_compared(native: HashedWorld) -> None:
    rows = list(enumerate(FLOATS))
    columns = "id {integer} PRIMARY KEY NOT NULL, v {float}"
    native.tables(columns, [(n, a) for n, (a, _, _) in rows], [(n, b) for n, (_, b, _) in rows])
    assert_differ(native, {("different", n) for n, (_, _, same) in rows if not same})


#: Documents of both sides, and whether they mean the same.
DOCUMENTS = [
    ('{"a": 1, "b": [1, 2]}', '{"a": 1, "b": [1, 2]}', True),
    ('{"b": [1.0], "a": 1}', '{"a":1,"b":[1.00]}', True),
    ('{"n": 9007199254740993}', '{"n": 9007199254740992}', False),
    ('{"a": "1"}', '{"a": 1}', False),
    ("null", None, False),
]


@pytest.mark.parametrize("kind", ["json", "jsonb"])
def test_documents_that_are_spelt_alike_are_not_read(native: HashedWorld, kind: str) -> None:
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, v {kind}"
    for one, other, same in DOCUMENTS:
        native.again(columns, [(1, one), (2, "{}")], [(1, other), (2, "{}")])
        assert_differ(native, set() if same else {("different", 1)})
    rows = [(n, one) for n, (one, *_) in enumerate(DOCUMENTS)]
    native.again(columns, rows, rows)
    native.found()
    assert native.steps() == {"digests"}


def test_documents_of_two_types_are_read(native: HashedWorld) -> None:
    native.source.sql("CREATE TABLE src (id bigint PRIMARY KEY, v json)")
    native.target.sql("CREATE TABLE dst (id bigint PRIMARY KEY, v jsonb)")
    app = native.app()
    hashing, why = hashing_of(app.pair(app.binding("p", writing=False)))
    assert (hashing, why) == (None, "column 'v' (json and jsonb) has no spelling that both databases hash alike")


def test_each_world_has_the_hash_that_it_is_named_for(world: HashedWorld) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1)], [(1, 1)])
    app = world.app()
    hashing, why = hashing_of(app.pair(app.binding("p", writing=False)))
    assert hashing is not None
    assert hashing.name == world.way
    assert why == f"rows are hashed by {world.way}"


def test_there_are_two_databases_of_one_kind_and_two_hashes() -> None:
    assert {"md5"} < {way for _, way in HASHED}
    assert {(p.source, p.target) for p, _ in NATIVE} == {("postgresql", "postgresql")}
    assert not any(pairing.together for pairing, _ in HASHED)
