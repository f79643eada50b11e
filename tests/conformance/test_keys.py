"""Keys of every kind: each row is seen once, in the same order on both sides, whatever the batch size."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.conformance.worlds import World
from trueup import Verdict, diff, side_by_side
from trueup.adapters import _results, sqlite

TEXTS = [
    *("", " ", "  ", "a", "A", "a ", "a b", "ab", "b", "B", "Z", "z", "ä", "Ä", "a\u0308", "é", "e\u0301", "ß", "ss"),
    *("'", '"', "%", "\\", ":x", "$1", "?", "_", "-", ".", "0", "00", "10", "9", "-1", "1e3", "null", "NULL", "NA"),
    *("👍", "👍🏽", "日本", "\u00a0", "\u200b", "\n", "\t", "ﬁ", "fi", "İ", "i", "\u0131", "I", "\uffff", "\U0010ffff"),
]
#: Of versions 1, 4 and 7, with what they differ in at either end: some databases order them by parts.
UUIDS = [
    UUID(int=(n * 0x0123456789ABCDEF0123456789ABCD & ~(0xF << 76 | 0x3 << 62)) | (1, 4, 7)[n % 3] << 76 | 0x2 << 62)
    for n in range(1, 30)
]
DAYS = [date(1, 1, 1), date(1582, 10, 15), *(date(2026, 1, 1) + timedelta(days=n) for n in range(20)), date.max]
MOMENTS = [datetime(2026, 1, 1) + timedelta(hours=n * 7, microseconds=n % 3) for n in range(25)]


@dataclass(frozen=True, kw_only=True)
class Keys:
    name: str
    #: One type a key part.
    types: Sequence[str]
    keys: Sequence[tuple[Any, ...]]

    def __str__(self) -> str:
        return self.name

    @property
    def parts(self) -> list[str]:
        return [f"k{at}" for at in range(len(self.types))]

    def columns(self) -> str:
        parts = [f"{name} {{{of}}} NOT NULL" for name, of in zip(self.parts, self.types, strict=True)]
        return f"{', '.join(parts)}, v {{integer}}, PRIMARY KEY ({', '.join(self.parts)})"


KINDS = [
    Keys(name="integer", types=["integer"], keys=[(n,) for n in (-(2**63), -(2**31), -7, -1, *range(20), 2**63 - 1)]),
    Keys(name="text", types=["text"], keys=[(text,) for text in TEXTS]),
    Keys(name="uuid", types=["uuid"], keys=[(key,) for key in UUIDS]),
    Keys(name="date", types=["date"], keys=[(day,) for day in DAYS]),
    Keys(name="timestamp", types=["timestamp"], keys=[(moment,) for moment in MOMENTS]),
    Keys(name="instant", types=["instant"], keys=[(moment.replace(tzinfo=UTC),) for moment in MOMENTS]),
    Keys(
        name="text, integer",
        types=["text", "integer"],
        keys=[(text, n) for text in ("", "a", "A", "ä", "z") for n in (-1, 0, 1, 10, 9)],
    ),
    Keys(
        name="date, text, uuid",
        types=["date", "text", "uuid"],
        keys=[(day, text, key) for day in DAYS[:3] for text in ("x", "X") for key in UUIDS[:4]],
    ),
]


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that every kind of key is compared across batches and pieces."""
    for module in (_results, side_by_side):
        monkeypatch.setattr(module, "BATCH_ROWS", 3)
    monkeypatch.setattr(side_by_side, "PIECE_ROWS", 10)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("kind", KINDS, ids=[str(kind) for kind in KINDS])
@pytest.mark.every_pairing
def test_each_row_is_seen_once_and_found_by_its_key(world: World, kind: Keys) -> None:
    count = len(kind.keys)
    source = [(*key, at) for at, key in enumerate(kind.keys) if at % 5 != 1]
    target = [(*key, at if at % 5 else -at - 1) for at, key in enumerate(kind.keys) if at % 5 != 2]
    world.tables(kind.columns(), source, target)
    report = world.app(key=kind.parts, on_extra="delete").run("p", rows=0)
    assert (report.source_rows, report.target_rows) == (len(source), len(target))
    expected = {"missing": range(2, count, 5), "extra": range(1, count, 5), "different": range(0, count, 5)}
    assert {name: getattr(report, name) for name in expected} == {name: len(of) for name, of in expected.items()}
    by_value = {
        name: sorted((row["expected"] or row["observed"])["v"] for row in report.drift if row["kind"] == name)
        for name in expected
    }
    assert by_value == {name: list(of) for name, of in expected.items()}
    assert (report.verdict, report.left, report.repaired) == (Verdict.REPAIRED, 0, report.drifted)
    assert sorted(v for *_, v in world.target.rows("dst")) == [v for *_, v in source]


def test_a_key_wider_than_the_other_sides_column(world: World) -> None:
    """A bigint key beyond int4: missing in the narrow column, not an error; and it cannot be inserted there."""
    world.source.table("src", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1), (2**31, 2), (-(2**40), 3)])
    world.target.table("dst", "id {small} PRIMARY KEY NOT NULL, v {integer}", [(1, 9)])
    app = world.app()
    report = app.check("p")
    assert (report.missing, report.different, report.source_rows, report.target_rows) == (2, 1, 3, 1)
    by_key = app.check("p", keys=[{"id": 2**31}, {"id": 2**40}])
    assert (by_key.missing, by_key.drifted) == (1, 1)
    repaired = app.run("p")
    assert (1, 1) in world.target.rows("dst")
    if world.target.engine == "sqlite":
        assert repaired.verdict is Verdict.REPAIRED
    else:
        assert (repaired.verdict, repaired.repaired, repaired.left) == (Verdict.DRIFT, 1, 2)
        assert world.target.rows("dst") == {(1, 1)}


def test_null_keys_are_counted_reported_and_never_repaired(world: World) -> None:
    world.source.table("src", "a {integer}, b {text}, v {integer}", [(1, "x", 1), (1, None, 2), (None, None, 3)])
    world.target.table("dst", "a {integer}, b {text}, v {integer}", [(1, "x", 1), (1, None, 9), (None, "y", 4)])
    world.target.sql("CREATE UNIQUE INDEX one ON dst (a, b)")
    before = world.target.rows("dst")
    app = world.app(key=["a", "b"], on_extra="delete")
    report = app.check("p")
    assert report.null_keys == {"source": 2, "target": 2}
    assert (report.source_rows, report.target_rows) == (3, 3)
    assert (report.missing, report.extra, report.different) == (1, 1, 1)
    assert all("NULL" in row["reason"] for row in report.drift)
    run = app.run("p")
    assert (run.verdict, run.repaired, run.left) == (Verdict.DRIFT, 0, 3)
    assert world.target.rows("dst") == before


def test_null_keys_that_agree_are_in_sync(world: World) -> None:
    rows = [(1, "x", 1), (1, None, 2), (None, None, 3)]
    world.tables("a {integer}, b {text}, v {integer}", rows, rows)
    report = world.app(key=["a", "b"]).check("p")
    assert (report.verdict, report.null_keys) == (Verdict.IN_SYNC, {"source": 2, "target": 2})
    assert (report.source_rows, report.target_rows) == (3, 3)


def test_duplicate_keys_are_compared_as_multisets(world: World) -> None:
    world.source.table("src", "id {integer}, v {integer}", [(1, 1), (1, 2), (2, 5), (2, 5), (3, 7), (4, 1), (5, 1)])
    world.target.table("dst", "id {integer}, v {integer}", [(1, 2), (1, 1), (2, 5), (3, 7), (3, 7), (4, 9), (5, 1)])
    report = world.app().check("p", rows=0)
    assert {row["key"]["id"]: row["kind"] for row in report.drift} == dict.fromkeys((2, 3, 4), "different")
    assert report.duplicate_keys == {"source": 2, "target": 2}
    assert (report.source_rows, report.target_rows) == (7, 7)
    assert "2 times in the source and once" in next(r["reason"] for r in report.drift if r["key"]["id"] == 2)
    assert report.verdict is Verdict.DRIFT


def test_duplicates_in_the_source_are_never_repaired(world: World) -> None:
    world.source.table("src", "id {integer}, v {integer}", [(1, 1), (1, 2), (2, 5), (3, 3), (3, 3)])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer}", [(1, 1), (2, 6)])
    app = world.app()
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 2)
    assert world.target.rows("dst") == {(1, 1), (2, 5)}
    by_key = app.run("p", keys=[{"id": 1}])
    assert (by_key.verdict, by_key.left) == (Verdict.DRIFT, 1)


def test_duplicates_that_agree_are_in_sync_and_still_counted(world: World) -> None:
    rows = [(1, 1), (1, 2), (1, 2), (2, 5)]
    world.tables("id {integer}, v {integer}", rows, reversed(rows))
    report = world.app().check("p")
    assert (report.verdict, report.duplicate_keys) == (Verdict.IN_SYNC, {"source": 1, "target": 1})


@pytest.mark.parametrize("together", [True, False])
def test_an_sqlite_key_that_only_looks_like_the_rowid(
    together: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An `INTEGER PRIMARY KEY DESC` may hold NULL, once or often: between two keys these rows were in no range."""
    monkeypatch.setattr(sqlite, "SEGMENT_ROWS", 10)
    sides = []
    for side, value in (("src", 1), ("dst", 2)):
        path = tmp_path / ("one.db" if together else f"{side}.db")
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"CREATE TABLE {side} (id INTEGER PRIMARY KEY DESC, v INT)")
            connection.executemany(f"INSERT INTO {side} VALUES (?, ?)", [(n, n) for n in range(100)])
            connection.execute(f"INSERT INTO {side} VALUES (NULL, {value})")
        sides.append(f"sqlite:///{path}#{side}")
    report = diff(*sides)
    assert "key ranges" in report.strategy, "positive control"
    assert (report.different, report.source_rows, report.null_keys["source"]) == (1, 101, 1)
