"""The text of a row that its MD5 is taken of: one spelling in every database, and none that two rows share."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conformance.hashed import HASHED, HashedWorld, assert_differ, open_hashed
from trueup.access import hashing_of
from trueup.adapters import _mysql_hashing, postgresql
from trueup.adapters._portable import LONG
from trueup.core.binding import Binding
from trueup.core.digest import Hashing
from trueup.core.plan import Range, Ranges, slices

PORTABLE = [(pairing, way) for pairing, way in HASHED if way == "md5"]


@pytest.fixture(params=PORTABLE, ids=[str(pairing) for pairing, _ in PORTABLE])
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


def moments() -> list[datetime]:
    """Around each border of the quick way to spell them, and anywhere."""
    chance = random.Random(11)
    borders = [datetime(year, 1, 1) for year in (1000, 1900, 1930, 1970, 2000, 2038, 2070, 9999)]
    near = [
        at + timedelta(microseconds=by) for at in borders for by in (-1, 0, 1, 999_999) if at.year > 1000 or by >= 0
    ]
    span_us = (datetime(2070, 1, 1) - datetime(1930, 1, 1)) // timedelta(microseconds=1)
    within = [datetime(1930, 1, 1) + timedelta(microseconds=chance.randrange(span_us)) for _ in range(400)]
    late = [datetime(2069, 12, 31) + timedelta(microseconds=chance.randrange(86_400_000_000)) for _ in range(200)]
    return [*near, *within, *late]


def test_moments_are_spelt_alike_to_the_microsecond(world: HashedWorld) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, v {timestamp}"
    rows = list(enumerate(moments()))
    world.tables(columns, rows, rows)
    assert_differ(world, set())
    world.found()
    assert world.steps() == {"digests"}, "a spelling differs, or the rows would not have been looked at"
    world.again(columns, rows, [(n, at + timedelta(microseconds=1)) for n, at in rows])
    assert_differ(world, {("different", n) for n, _ in rows})


def test_instants_are_spelt_alike(world: HashedWorld) -> None:
    chance = random.Random(12)
    first = datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC)
    rows = [(n, first + timedelta(seconds=chance.randrange(2_145_000_000), microseconds=n)) for n in range(400)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {instant}", rows, rows)
    world.found()
    assert world.steps() == {"digests"}


#: A letter of one byte, and one of three.
LENGTHS = [0, 1, LONG - 1, LONG, LONG + 1, 3 * LONG]


@pytest.mark.parametrize("letter", ["x", "漢"])
def test_long_texts_are_told_apart_by_all_of_them(world: HashedWorld, letter: str) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, a {text}, b {text}, n varchar(100), v varchar(800)"
    texts = [letter * length for length in LENGTHS]
    rows = [(n, text, text, text[:100], text[:800]) for n, text in enumerate(texts)]
    world.tables(columns, rows, rows)
    world.found()
    assert world.steps() == {"digests"}, "spelt in two ways"
    changed = [(n, a[:-1] + "y" if a else "y", *rest) for n, a, *rest in rows]
    world.again(columns, rows, changed)
    assert_differ(world, {("different", n) for n, *_ in rows})


def test_a_text_is_not_its_own_hash(world: HashedWorld) -> None:
    """Longer texts are spelt as an MD5: a text of these digits is another one, and so are bytes."""
    long = "a" * (LONG + 1)
    (((digits,),)) = world.source.sql(f"SELECT md5('{long}')")
    columns = "id {integer} PRIMARY KEY NOT NULL, t {text}, b {bytes}"
    source = [(1, long, None), (2, None, long.encode()), (3, "x", b"x")]
    target = [(1, digits, None), (2, None, bytes.fromhex(digits)), (3, "x", b"x")]
    world.tables(columns, source, target)
    assert_differ(world, {("different", 1), ("different", 2)})


@pytest.mark.parametrize("length", [0, 1, LONG // 2, LONG // 2 + 1, 3 * LONG])
def test_bytes_of_any_length(world: HashedWorld, length: int) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, v {bytes}"
    data = bytes(range(256)) * (length // 256 + 1)
    world.tables(columns, [(1, data[:length])], [(1, data[:length])])
    world.found()
    assert world.steps() == {"digests"}
    world.again(columns, [(1, data[:length])], [(1, data[:length] + b"\0")])
    assert_differ(world, {("different", 1)})


VALUES = {"{integer}": 7, "{number}": "1.50", "{text}": ",7", "{boolean}": True, "{timestamp}": datetime(2001, 2, 3)}


@pytest.mark.parametrize("kind", VALUES)
def test_a_null_is_told_from_its_neighbour(world: HashedWorld, kind: str) -> None:
    """Where values stand one behind the other, the place of a NULL tells which of them is there."""
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, a {kind}, b {kind}, c {kind}"
    value = VALUES[kind]
    rows = [(1, value, None, None), (2, None, value, value), (3, None, None, None), (4, value, value, value)]
    moved = [(1, None, value, None), (2, value, None, value), (3, None, None, value), (4, value, value, None)]
    world.tables(columns, rows, rows)
    world.found()
    assert world.steps() == {"digests"}, "spelt in two ways"
    world.again(columns, rows, moved)
    assert_differ(world, {("different", n) for n in range(1, 5)})


def test_the_end_of_a_row_is_told_from_the_beginning_of_the_next(world: HashedWorld) -> None:
    """Without a comma between two rows both sides would have one text; their keys are in one leaf."""
    near, far = 4096 * 10**8 + 1, 10**12 + 4096 * 10**8 + 1
    source, target = [(1, 2), (far, 5)], [(1, 21), (near, 5)]
    assert "".join(f"{key},{v}" for key, v in source) == "".join(f"{key},{v}" for key, v in target)
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", source, target)
    assert_differ(world, {("different", 1), ("missing", far), ("extra", near)})


def test_a_row_of_more_columns_than_a_function_takes(world: HashedWorld) -> None:
    names = [f"v{n}" for n in range(120)]
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, {', '.join(f'{name} {{integer}}' for name in names)}"
    rows = [(key, *range(key, key + 120)) for key in range(3)] + [(3, *(n if n % 2 else None for n in range(120)))]
    world.tables(columns, rows, rows)
    world.found()
    assert world.steps() == {"digests"}
    world.again(columns, rows, [(*row[:-1], 1000) for row in rows])
    assert_differ(world, {("different", n) for n in range(4)})


def leaves_of(world: HashedWorld, name: str) -> tuple[Any, Binding, Ranges, Hashing]:
    """An adapter, and how it is asked for four leaves of the keys from 0 to 20."""
    app = world.app()
    binding = app.binding("p", writing=False)
    hashing, _ = hashing_of(app.pair(binding))
    assert hashing is not None
    span = Range(lower=(0,), upper=(20,))
    return app._adapter(name), binding, Ranges(within=span, ranges=tuple(slices(span, 4))), hashing


@pytest.mark.parametrize("by", ["", "_BY_BITMAP"], ids=["as it is", "control"])
def test_postgresql_reads_rows_in_order_and_sorts_none(
    world: HashedWorld, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if world.source.engine != "postgresql":
        pytest.skip("it is PostgreSQL that may read by a bitmap")
    if by:
        monkeypatch.setattr(postgresql, "_BY_INDEX", getattr(postgresql, by))
    rows = [(key, key) for key in range(20)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", rows, rows)
    adapter, binding, ranges, hashing = leaves_of(world, "a")
    with adapter.reading() as connection:
        connection.exec_driver_sql(adapter._digested_by(hashing))
        way = adapter.hashed.ways[hashing.name]
        statement, ends = adapter.hashed._given_ends(connection, way, binding.source, ranges, hashing)
        plan = " ".join(line for (line,) in connection.exec_driver_sql(f"EXPLAIN {statement}", ends))
    assert ("Sort Key" in plan) is bool(by)


@pytest.mark.parametrize("parts", [_mysql_hashing.PART_MAX, 10**6], ids=["as it is", "control"])
def test_no_leaf_costs_mariadb_a_file(world: HashedWorld, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control gives GROUP_CONCAT all numbers in one argument, however long it may be."""
    if world.target.engine != "mysql":
        pytest.skip("it is MariaDB that makes files")
    monkeypatch.setattr(_mysql_hashing, "PART_MAX", parts)
    columns = ", ".join(f"t{n} {{text}}, n{n} {{number}}" for n in range(40))
    rows = [(key, *(str(key), key) * 40) for key in range(20)]
    world.tables(f"id {{integer}} PRIMARY KEY NOT NULL, {columns}", rows, rows)
    asked = (
        "SELECT variable_value FROM information_schema.session_status WHERE variable_name = 'Created_tmp_disk_tables'"
    )
    adapter, binding, ranges, hashing = leaves_of(world, "b")
    with adapter.reading() as connection:

        def files() -> int:
            return int(connection.exec_driver_sql(asked).scalar_one())

        before, began = files(), files()
        assert len(adapter.hashed.digests(connection, binding.target, ranges, hashing)) == 4
        made = files() - began - (began - before)
    assert made == (4 if parts == 10**6 else 0)
