"""A check of what has changed, in two databases that hash rows alike: what hashes rule out is not read by its key."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clock import START_S, FakeClock
from tests.conformance.hashed import HASHED, HASHED_IDS, HashedWorld, open_hashed
from tests.conformance.worlds import EngineClock, Row
from trueup import Report, Verdict, by_digest, marked, run
from trueup.adapters import _hashing
from trueup.adapters._sql import SqlAdapter
from trueup.core.binding import Column
from trueup.core.digest import Prints
from trueup.core.plan import KeyHashes, Keys
from trueup.errors import BrokenRead, DataProblem, Interrupted

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}, seen {integer}"
ROWS = 40
BOTH = {"source": {"column": "seen"}, "target": {"column": "seen"}, "overlap": 0}
ONE = {"source": {"column": "seen"}, "overlap": 0}
Write = tuple[str, int, int | None]


@pytest.fixture(params=HASHED, ids=HASHED_IDS)
def world(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[HashedWorld]:
    yield from open_hashed(request.param, request, new_ledger, tmp_path)


class Shop:
    """Two tables with the same rows, all read once, and what is written from then on."""

    def __init__(self, world: HashedWorld, changes: dict[str, Any] = BOTH, **declared: Any) -> None:
        self.world = world
        self.at = int(START_S)
        self.rows: dict[str, dict[int, int]] = {side: dict.fromkeys(range(ROWS), 0) for side in ("source", "target")}
        rows = [(key, 0, self.at - ROWS + key) for key in range(ROWS)]  # the last is at the mark, and so is read again
        world.again(COLUMNS, rows, rows)
        app = world.app(
            columns=("v",),
            changes=changes,
            clock=EngineClock(FakeClock()),
            ledger=declared.pop("ledger", ""),
            **declared,
        )
        self.check: Callable[[], Report] = lambda: app.check("p", rows=0)
        assert "everything: " in self.check().strategy

    def write(self, writes: list[Write]) -> None:
        """(side, key, value) in one moment of their own; None: the row is deleted."""
        self.at += 1
        for side, key, value in writes:
            place, table = (self.world.source, "src") if side == "source" else (self.world.target, "dst")
            place.sql(f"DELETE FROM {table} WHERE id = {key}")
            self.rows[side].pop(key, None)
            if value is not None:
                place.sql(f"INSERT INTO {table} (id, v, seen) VALUES ({key}, {value}, {self.at})")
                self.rows[side][key] = value

    def look(self) -> tuple[Report, set[Row], list[Any]]:
        """A second check: its report, what it found, and the parts that it asked for by key."""
        self.world.asked.clear()
        report = self.check()
        assert "everything: " not in report.strategy
        by_key = [part for _, _, part in self.world.asked if isinstance(part, Keys | KeyHashes)]
        return report, {(row["kind"], row["key"]["id"]) for row in report.drift}, by_key

    def wrong(self) -> set[Row]:
        source, target = self.rows["source"], self.rows["target"]
        kinds = {key: ("missing" if key not in target else "different") for key in source}
        kinds |= {key: "extra" for key in target if key not in source}
        return {(kind, key) for key, kind in kinds.items() if source.get(key) != target.get(key)}


def on_both(keys: list[int], value: int) -> list[Write]:
    return [(side, key, value) for key in keys for side in ("source", "target")]


@pytest.fixture
def hash_any(monkeypatch: pytest.MonkeyPatch) -> None:
    """Explicit keys are hashed however few they are."""
    monkeypatch.setattr(by_digest, "KEYS_MIN", 1)


# --- both sides are marked -------------------------------------------------------------------------------------------


def test_what_is_alike_where_the_marks_are_is_not_read_again(world: HashedWorld) -> None:
    shop = Shop(world)
    shop.write(on_both([3, 5, 8], 7))
    report, found, by_key = shop.look()
    assert (report.verdict, found, by_key) == (Verdict.IN_SYNC, set(), [])
    assert "4 keys that may have changed" in report.strategy
    assert (report.source_rows, report.target_rows) == (4, 4)


def test_what_is_not_alike_is_read_by_its_key(world: HashedWorld) -> None:
    shop = Shop(world)
    shop.write([*on_both([3, 5, 8], 7), ("target", 5, 6), ("source", 9, 1), ("target", 10, None), ("target", 99, 1)])
    report, found, by_key = shop.look()
    assert found == shop.wrong() - {("missing", 10)}, "what no mark announces is found in turn"
    read = {key for part in by_key if isinstance(part, Keys) for (key,) in part.keys}
    assert read == {5, 9, 99}
    assert (report.source_rows, report.target_rows) == (5, 6)


def test_known_drift_that_is_alike_now_is_right(world: HashedWorld) -> None:
    shop = Shop(world)
    shop.write([("source", 5, 7), ("target", 5, 6)])
    assert shop.look()[1] == {("different", 5)}
    shop.write(on_both([5], 7))
    report, found, by_key = shop.look()
    assert (report.verdict, found, by_key) == (Verdict.IN_SYNC, set(), [])


def test_what_was_alike_is_in_the_ledger_when_a_run_is_interrupted(
    world: HashedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was looked at: who goes on reads the rest, and what differs was announced."""
    shop = Shop(world)
    shop.write([*on_both([3, 5, 8], 7), ("target", 5, 6)])
    with monkeypatch.context() as patch:

        def interrupted(*_: Any, **__: Any) -> Any:
            raise Interrupted("stopped before the first segment")

        patch.setattr(run, "sweep", interrupted)
        with pytest.raises(Interrupted):
            shop.check()
    report, found, by_key = shop.look()
    assert report.resumed
    assert found == {("different", 5)}
    assert {key for part in by_key for key in part.keys} == {(5,)}
    assert (report.source_rows, report.target_rows) == (4, 4)
    assert report.reason == ""


def test_too_many_to_look_at_leaves_nothing_alike(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop(world)
    shop.write([*on_both([3, 5], 7), ("target", 5, 6)])
    monkeypatch.setattr(marked, "CHANGED_MAX", 1)
    report = shop.check()
    assert "everything: " in report.strategy
    assert report.drifted == 1
    assert report.source_rows == ROWS


def test_values_are_compared_where_exact_is_declared(world: HashedWorld) -> None:
    """The control: without hashes the same check reads the rows by their keys."""
    shop = Shop(world, exact=True)
    shop.write([*on_both([3, 5], 7), ("target", 5, 6)])
    _, found, by_key = shop.look()
    assert found == {("different", 5)}
    assert {key for part in by_key for key in part.keys} == {(3,), (5,), (ROWS - 1,)}


def test_a_row_that_is_marked_as_deleted_is_not_alike(world: HashedWorld) -> None:
    """Its columns are the same on both sides; that it counts as not there is what differs."""
    columns = f"{COLUMNS}, gone {{boolean}}"
    rows = [(key, key, int(START_S), None) for key in range(ROWS)]
    shop = Shop.__new__(Shop)
    shop.world = world
    world.tables(columns, rows, rows)
    tombstone = {"column": "gone"}
    app = world.app(
        columns=("v", "seen"),
        version="seen",
        writers="versioned",
        tombstone=tombstone,
        changes=BOTH,
        clock=EngineClock(),
    )
    shop.check = lambda: app.check("p", rows=0)
    assert shop.check().verdict is Verdict.IN_SYNC
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.sql(f"UPDATE {table} SET seen = seen + 1 WHERE id < 3")
    world.target.sql("UPDATE dst SET gone = true WHERE id = 1")
    _, found, _ = shop.look()
    assert found == {("missing", 1)}


def test_rows_that_cannot_be_hashed_are_looked_at_by_their_keys(
    world: HashedWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop(world)
    shop.write([*on_both([3, 5], 7), ("target", 5, 6)])
    real = SqlAdapter.stream

    def failing(self: SqlAdapter, binding: Any, side: Any, part: Any, *, tokens: bool) -> Any:
        if any(column.computed for column in side.columns):
            raise DataProblem("a value that no function takes")
        return real(self, binding, side, part, tokens=tokens)

    for name in ("a", "b"):
        adapter: Any = world.opened[-1]._adapter(name)
        monkeypatch.setattr(adapter, "stream", failing.__get__(adapter))
    report, _, _ = shop.look()
    assert report.drifted == 1
    assert "3 keys that may have changed" in report.strategy


def test_a_hash_of_nothing_is_no_agreement(world: HashedWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rows whose hash is not known are not alike, though both say the same."""
    real = SqlAdapter.row_hash

    def nothing(self: SqlAdapter, *given: Any) -> Column:
        return replace(real(self, *given), computed="NULL")

    monkeypatch.setattr(SqlAdapter, "row_hash", nothing)
    shop = Shop(world)
    shop.write([("source", 5, 6), ("target", 5, 7)])
    assert shop.look()[1] == {("different", 5)}


# --- one side is marked ----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("hash_any")
def test_keys_that_one_side_announces_are_hashed_on_both(world: HashedWorld) -> None:
    shop = Shop(world, ONE)
    shop.write([*on_both([3, 5, 8], 7), ("target", 5, 6), ("target", 8, None)])
    report, found, by_key = shop.look()
    assert found == {("different", 5), ("missing", 8)}
    assert [type(part) for part in by_key[:2]] == [Keys, Keys], "hashes of all of them, first"
    assert {type(part) for part in by_key[2:4]} == {KeyHashes}, "rows of those that differ, next"
    assert (report.source_rows, report.target_rows) == (4, 3)


@pytest.mark.usefixtures("hash_any")
def test_keys_that_are_alike_move_no_row(world: HashedWorld) -> None:
    shop = Shop(world, ONE)
    shop.write(on_both([3, 5, 8], 7))
    report, _, _ = shop.look()
    assert report.verdict is Verdict.IN_SYNC
    streamed = [part for _, what, part in world.asked if what == "stream" and isinstance(part, Keys | KeyHashes)]
    assert streamed == []


def test_a_few_keys_are_read_at_once(world: HashedWorld) -> None:
    shop = Shop(world, ONE)
    shop.write(on_both([3, 5], 7))
    shop.look()
    assert "prints" not in {what for _, what, _ in world.asked}


@pytest.mark.usefixtures("hash_any")
@pytest.mark.parametrize("side", ["source", "target"])
def test_hashes_that_were_cut_off_are_no_agreement(
    world: HashedWorld, monkeypatch: pytest.MonkeyPatch, side: str
) -> None:
    """Of both sides the same rows are lacking: nothing but their number tells."""
    shop = Shop(world, ONE)
    shop.write(on_both([3, 5], 7))
    real = _hashing._prints

    def cut(row: Any, way: Any) -> Prints:
        count, _ = row
        return real((count, ""), way)

    monkeypatch.setattr(_hashing, "_prints", cut)
    with pytest.raises(BrokenRead, match="cut them off"):
        shop.look()


# --- any changes -----------------------------------------------------------------------------------------------------

WRITES = st.lists(
    st.tuples(st.sampled_from(["source", "target"]), st.integers(0, ROWS + 5), st.one_of(st.none(), st.integers(0, 1))),
    min_size=1,
    max_size=12,
)


@pytest.mark.usefixtures("hash_any")
@pytest.mark.parametrize("changes", [BOTH, ONE], ids=["both sides marked", "one side marked"])
@given(rounds=st.lists(WRITES, min_size=1, max_size=3))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_announced_difference_is_found_and_no_other(
    world: HashedWorld, changes: dict[str, Any], rounds: list[list[Write]], new_ledger: Path
) -> None:
    ledger = world.folder / f"{uuid4().hex}.db"
    shutil.copy(new_ledger, ledger)
    world.close()
    shop = Shop(world, changes, ledger=f"sqlite:///{ledger}")
    known: set[int] = set()
    for writes in rounds:
        shop.write([*writes, *on_both([ROWS + 9], 0)])  # a mark that goes back with a row has everything read
        last = {(side, key): value for side, key, value in writes}
        told = {key for (side, key), value in last.items() if side in changes and value is not None}
        _, found, _ = shop.look()
        wrong = shop.wrong()
        assert {row for row in wrong if row[1] in told | known} <= found <= wrong
        known = {key for _, key in found}
