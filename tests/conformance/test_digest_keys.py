"""Keys of every kind under digests: dealt to the same leaves on both sides, found again by their hashes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conformance.hashed import HASHED, HASHED_IDS, HashedWorld, assert_differ, open_hashed
from tests.conformance.worlds import Row
from trueup import by_digest
from trueup.adapters._hashing import Hashed
from trueup.core.digest import Digests


@pytest.fixture(params=HASHED, ids=HASHED_IDS)
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


MOMENT = datetime(2026, 3, 1, 12, 0, 0, 123456)
KEYS = {
    "integer": [-(2**63), -513, -509, -1, 0, 1, 509, 512, 2**32, 2**63 - 1],
    "text": ["", "a", "A", "a ", "ä", "~", "1:a", "漢", "z" * 50],
    "uuid": [UUID(int=n) for n in (0, 1, 2**64, 2**127, 2**128 - 1)],
    "timestamp": [
        MOMENT,
        MOMENT + timedelta(microseconds=1),
        datetime(1970, 1, 1),
        datetime(1999, 12, 31, 23, 59, 59, 999999),
    ],
    "date": [date(1000, 1, 1), date(1970, 1, 1), date(2026, 3, 1), date(9999, 12, 31)],
}


@pytest.mark.parametrize("leaves", [1, 4096])
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_each_kind(world: HashedWorld, kind: str, leaves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One row missing, one extra, one different; all others are dealt to the same leaves on both sides."""
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", leaves)
    keys: Sequence[Any] = KEYS[kind]
    source = [(key, n) for n, key in enumerate(keys) if n != 1]
    target = [(key, n + (n == 2)) for n, key in enumerate(keys) if n != 0]
    world.tables(f"id {{{kind}}} PRIMARY KEY NOT NULL, v {{integer}}", source, target)
    report, found = world.found()
    assert (report.missing, report.extra, report.different) == (1, 1, 1)
    assert_differ(world, found)


@pytest.mark.parametrize("leaves", [1, 4096])
def test_keys_of_several_parts(world: HashedWorld, leaves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_digest, "LEAVES_OF_ALL", leaves)
    columns = "a {text} NOT NULL, b {integer} NOT NULL, v {integer}, PRIMARY KEY (a, b)"
    source = [("x", 12, 0), ("x1", 2, 0), ("", -1, 0), ("y", 5, 1)]
    target = [("x1", 2, 0), ("x", 12, 0), ("", -1, 0), ("y5", 5, 1), ("y", 5, 2)]
    world.tables(columns, source, target)
    assert_differ(world, {("extra", "y5", 5), ("different", "y", 5)}, key=["a", "b"])


def test_rows_without_a_key_are_looked_at_by_themselves(world: HashedWorld) -> None:
    """A unique index allows any number of NULLs, so it does not make a key."""
    columns = "id {integer}, v {integer}"
    world.tables(columns, [(1, 1), (None, 2)], [(1, 1), (None, 3), (7, 7)])
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.sql(f"CREATE UNIQUE INDEX u ON {table} (id)")
    report, found = world.found()
    assert found == {("different", None), ("extra", 7)}
    assert report.null_keys == {"source": 1, "target": 1}
    assert world.found(exact=True)[1] == found


@pytest.mark.parametrize(("source", "target"), [([], []), ([(1, 1)], []), ([], [(1, 1), (-1, 1)])])
def test_leaves_that_are_empty_on_one_side(world: HashedWorld, source: list[Row], target: list[Row]) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", source, target)
    expected = {("missing", key) for key, _ in source} | {("extra", key) for key, _ in target}
    assert_differ(world, expected)


DEALT: dict[str, tuple[str, str, list[tuple[Any, ...]]]] = {
    "in steps": ("id {integer} PRIMARY KEY NOT NULL", "id", [(n * 4096 * 50,) for n in range(600)]),
    "two that grow together": (
        "a {integer} NOT NULL, b {integer} NOT NULL",
        "a, b",
        [(n * 4096, -n * 4096) for n in range(600)],
    ),
    "a number and a text": ("a {integer} NOT NULL, b {text} NOT NULL", "a, b", [(1, f"x{n}") for n in range(600)]),
    "texts": ("id {text} PRIMARY KEY NOT NULL", "id", [(f"order-{n}",) for n in range(600)]),
    "UUIDs": ("id {uuid} PRIMARY KEY NOT NULL", "id", [(UUID(int=n << 64 | 1 << 63),) for n in range(600)]),
}


@pytest.mark.parametrize("kind", DEALT)
def test_keys_are_dealt_out_evenly(world: HashedWorld, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where all keys fell to a few leaves, one row that differs would be sought among all."""
    answers: list[Digests] = []
    digests = Hashed.digests

    def noting(*given: Any) -> Digests:
        answers.append(digests(*given))
        return answers[-1]

    monkeypatch.setattr(Hashed, "digests", noting)
    columns, key, keys = DEALT[kind]
    rows = [(*parts, n) for n, parts in enumerate(keys)]
    whole = f"{columns}, v {{integer}}" if "PRIMARY" in columns else f"{columns}, v {{integer}}, PRIMARY KEY ({key})"
    world.tables(whole, rows, [*rows[:-1], (*keys[-1], -1)])
    world.found(key=key.split(", "))
    of_source, of_target = answers[:2]
    assert of_source.keys() == of_target.keys()
    assert max(leaf.rows for leaf in of_source.values()) <= 20
    assert sum(of_source[leaf] != of_target[leaf] for leaf in of_source) == 1
