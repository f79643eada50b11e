"""A check of what has changed, in one database: it compares the marked rows, and what is alike is not looked up."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clock import START_S, FakeClock
from tests.conformance.conftest import _open
from tests.conformance.worlds import EngineClock, Pairing, Row, World
from trueup import Report, Verdict, marked
from trueup.adapters._sql import SqlAdapter
from trueup.core.plan import Keys, Segment
from trueup.errors import StatementTimeout

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}, seen {integer}"
ROWS = 40
BOTH = {"source": {"column": "seen"}, "target": {"column": "seen"}, "overlap": 0}
ONE = {"source": {"column": "seen"}, "overlap": 0}
Write = tuple[str, int, int | None]


@pytest.fixture(params=["postgresql", "mysql", "sqlite", "duckdb"])
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(Pairing(source=request.param, target=request.param, together=True), request, tmp_path)


@pytest.fixture(autouse=True)
def however_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marked, "KEYS_MIN", 1)


class Shop:
    """Two tables with the same rows, all read once, and what is written from then on."""

    def __init__(
        self, world: World, changes: dict[str, Any] = BOTH, *, columns: str = COLUMNS, **declared: Any
    ) -> None:
        self.world, self.clock = world, EngineClock(FakeClock())
        self.at = int(START_S)
        self.rows: dict[str, dict[int, int]] = {side: dict.fromkeys(range(ROWS), 0) for side in ("src", "dst")}
        world.source.sql("DROP TABLE IF EXISTS src", "DROP TABLE IF EXISTS dst")
        rows = [(key, 0, self.at - ROWS + key) for key in range(ROWS)]  # the last is at the mark, and so is read again
        world.tables(columns, rows, rows)
        self.app = world.app(columns=("v",), changes=changes, clock=self.clock, **declared)
        assert "everything: " in self.check().strategy

    def check(self) -> Report:
        return self.app.check("p", rows=0)

    def write(self, writes: list[Write]) -> None:
        """(table, key, value) in one moment of their own; None: the row is deleted."""
        self.at += 1
        for table, key, value in writes:
            self.world.source.sql(f"DELETE FROM {table} WHERE id = {key}")
            self.rows[table].pop(key, None)
            if value is not None:
                self.world.source.sql(f"INSERT INTO {table} (id, v, seen) VALUES ({key}, {value}, {self.at})")
                self.rows[table][key] = value

    def look(self) -> tuple[Report, set[Row], set[int]]:
        """A second check: its report, what it found, and the keys that it looked up."""
        looked_up, real = set[int](), SqlAdapter.differences

        def noting(adapter: SqlAdapter, binding: Any, segment: Segment) -> Any:
            if isinstance(segment, Keys):
                looked_up.update(key for (key,) in segment.keys if isinstance(key, int))
            return real(adapter, binding, segment)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SqlAdapter, "differences", noting)
            report = self.check()
        assert "everything: " not in report.strategy
        return report, {(row["kind"], row["key"]["id"]) for row in report.drift}, looked_up

    def wrong(self) -> set[Row]:
        source, target = self.rows["src"], self.rows["dst"]
        kinds = {key: ("missing" if key not in target else "different") for key in source}
        kinds |= {key: "extra" for key in target if key not in source}
        return {(kind, key) for key, kind in kinds.items() if source.get(key) != target.get(key)}


def on_both(keys: list[int], value: int) -> list[Write]:
    return [(table, key, value) for key in keys for table in ("src", "dst")]


def test_what_is_alike_is_not_looked_up(alone: World) -> None:
    shop = Shop(alone)
    shop.write(on_both([3, 5, 8], 7))
    report, found, looked_up = shop.look()
    assert (report.verdict, found, looked_up) == (Verdict.IN_SYNC, set(), set())
    assert "4 keys that may have changed" in report.strategy
    assert (report.source_rows, report.target_rows) == (4, 4)


def test_what_is_not_alike_is_looked_up(alone: World) -> None:
    shop = Shop(alone)
    shop.write([*on_both([3, 5, 8], 7), ("dst", 5, 6), ("src", 9, 1), ("dst", 10, None), ("dst", 99, 1)])
    report, found, looked_up = shop.look()
    assert found == shop.wrong() - {("missing", 10)}, "what no mark announces is found in turn"
    assert looked_up == {5, 9, 99}
    assert (report.source_rows, report.target_rows) == (5, 6)
    assert report.reason == "", "each of them was announced"


def test_known_drift_that_is_alike_now_is_right(alone: World) -> None:
    shop = Shop(alone)
    shop.write([("src", 5, 7), ("dst", 5, 6)])
    assert shop.look()[1] == {("different", 5)}
    shop.write(on_both([5], 7))
    assert shop.look()[1:] == (set(), set())
    assert shop.app.standing.drift("p") == []


def test_a_value_that_is_null_on_one_side_is_not_alike(alone: World) -> None:
    shop = Shop(alone)
    shop.write(on_both([3, 5], 7))
    alone.source.sql("UPDATE dst SET v = NULL WHERE id = 5", "UPDATE src SET v = NULL WHERE id = 3")
    alone.source.sql("UPDATE dst SET v = NULL WHERE id = 3")
    assert shop.look()[1:] == ({("different", 5)}, {5})


def test_a_marked_row_is_not_alike_beside_an_old_one_with_the_same_key(alone: World) -> None:
    """The comparison of the marked rows sees one row a side, and they are equal."""
    shop = Shop(alone, columns=COLUMNS.replace("PRIMARY KEY ", ""))
    at = shop.at + 1
    alone.source.sql(f"UPDATE src SET v = 7, seen = {at} WHERE id IN (3, 5)")
    alone.source.sql(f"UPDATE dst SET v = 7, seen = {at} WHERE id = 5", f"INSERT INTO dst VALUES (3, 7, {at})")
    report, _, looked_up = shop.look()
    assert looked_up == {3, 5, ROWS - 1}
    assert (report.verdict, report.duplicate_keys) == (Verdict.DRIFT, {"source": 0, "target": 1})


def test_a_row_that_goes_below_the_marks_meanwhile_is_not_alike(alone: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shop, real = Shop(alone), SqlAdapter.differences
    shop.write([*on_both([3, 5], 7), ("dst", 5, 6)])

    def going(adapter: SqlAdapter, binding: Any, segment: Segment) -> Any:
        if binding.source.since is not None:
            alone.source.sql("UPDATE src SET seen = 0 WHERE id = 5", "UPDATE dst SET seen = 0 WHERE id = 5")
        return real(adapter, binding, segment)

    monkeypatch.setattr(SqlAdapter, "differences", going)
    assert shop.look()[1] == {("different", 5)}


@pytest.mark.parametrize("why", ["few", "slow", "one side is marked"])
def test_rows_are_looked_up_where_that_is_less_work(alone: World, monkeypatch: pytest.MonkeyPatch, why: str) -> None:
    """The control: the same answer by the keys."""
    if why == "few":
        monkeypatch.setattr(marked, "KEYS_MIN", 99)
    if why == "slow":
        monkeypatch.setattr(marked, "LOOK_UP_S", -1.0)
    shop = Shop(alone, ONE if why == "one side is marked" else BOTH)
    shop.write([*on_both([3, 5], 7), ("dst", 5, 6)])
    _, found, looked_up = shop.look()
    assert found == {("different", 5)}
    assert looked_up == {3, 5, ROWS - 1}


@pytest.mark.parametrize("how", ["nothing", "too slow", "cut off"])
def test_no_row_is_alike_of_which_the_database_does_not_say_so(
    alone: World, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    shop, real = Shop(alone), SqlAdapter.differences
    shop.write([*on_both([3, 5], 7), ("dst", 5, 6)])

    def answering(adapter: SqlAdapter, binding: Any, segment: Segment) -> Any:
        look = real(adapter, binding, segment)
        if binding.source.since is None or look is None:
            return look
        if how == "too slow":
            raise StatementTimeout("it took too long")
        look.suspects.clear()
        return look if how == "cut off" else None

    monkeypatch.setattr(SqlAdapter, "differences", answering)
    report, found, looked_up = shop.look()
    assert found == {("different", 5)}
    assert looked_up == {3, 5, ROWS - 1}
    assert report.source_rows == 3


WRITES = st.lists(
    st.tuples(st.sampled_from(["src", "dst"]), st.integers(0, ROWS + 5), st.one_of(st.none(), st.integers(0, 1))),
    min_size=1,
    max_size=12,
)


@given(rounds=st.lists(WRITES, min_size=1, max_size=3))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_announced_difference_is_found_and_no_other(
    alone: World, rounds: list[list[Write]], new_ledger: Path
) -> None:
    ledger = alone.folder / f"{uuid4().hex}.db"
    shutil.copy(new_ledger, ledger)
    alone.close()
    shop = Shop(alone, ledger=f"sqlite:///{ledger}")
    known: set[int] = set()
    for writes in rounds:
        shop.write([*writes, *on_both([ROWS + 9], 0)])  # a mark that goes back with a row has everything read
        last = {(table, key): value for table, key, value in writes}
        told = {key for (_, key), value in last.items() if value is not None}
        _, found, _ = shop.look()
        wrong = shop.wrong()
        assert {row for row in wrong if row[1] in told | known} <= found <= wrong
        known = {key for _, key in found}
