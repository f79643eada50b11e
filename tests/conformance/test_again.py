"""A check after one that read everything: what it reads, what it finds, and when it does not believe its marks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.clock import START_S, FakeClock
from tests.conformance.test_broken_reads import Nothing
from tests.conformance.worlds import EngineClock, Place, Postgresql, World
from trueup import Limits, Projection, Report, Side, Trueup, Verdict, again, in_time, judging, marked, run, scope, sweep
from trueup import narrow as narrowing_module
from trueup.adapters import Stream
from trueup.adapters._sql import SqlAdapter
from trueup.core.compare import DriftKind, Suspect
from trueup.core.plan import Keys, NullKeys, Range, Segment, partition_of, ranges
from trueup.core.row import Batch
from trueup.errors import (
    BrokenRead,
    ConfigError,
    DataProblem,
    DesignProblem,
    Interrupted,
    StatementTimeout,
    TrueupError,
)
from trueup.narrow import Route
from trueup.side_by_side import Covered, Pair
from trueup.store.records import OpenWork

#: What is asserted here is the engine's; of an adapter it needs the greatest value and a range of it.
FEW = ("sqlite-alone", "postgresql-mysql", "duckdb-postgresql")
DAY_S = 86400
COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}, seen {integer}"
ROWS = 60
#: Five segments of twelve rows.
CUTS = [(12,), (24,), (36,), (48,)]
CHANGES = {"source": {"column": "seen"}, "target": {"column": "seen"}, "overlap": 300, "verify_within": "7d"}


@dataclass
class Read:
    """What the engine asked of the databases."""

    #: Segments of the first stage, and keys whose rows were alike where their marks were read.
    segments: list[Segment] = field(default_factory=list)
    #: Rows that left a database, or were compared in one.
    rows: int = 0

    @property
    def keys(self) -> set[Any]:
        return {key[0] for span in self.segments if isinstance(span, Keys) for key in span.keys}

    @property
    def in_turn(self) -> list[Segment]:
        return [span for span in self.segments if not isinstance(span, Keys)]


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    """Counts, and has every table read in five segments."""
    seen = Read()
    route, narrow = narrowing_module.route, narrowing_module.narrow
    stream, differences = SqlAdapter.stream, SqlAdapter.differences

    def five(pair: Pair, *rest: Any) -> Route:
        whole = route(pair, *rest)
        if pair.binding.cut_kind is not None:
            return whole
        nulls = pair.binding.one_database or pair.binding.source.null_keys or pair.binding.target.null_keys
        return Route(
            strategy=whole.strategy, segments=[*ranges(CUTS), *([NullKeys()] if nulls else [])], reasons=whole.reasons
        )

    def narrowing(pair: Pair, segment: Segment, **how: bool) -> Iterator[Covered]:
        seen.segments.append(segment)
        return narrow(pair, segment, **how)

    as_work = marked.Changed.as_work

    def alike(self: marked.Changed) -> list[OpenWork]:
        found = as_work(self)
        seen.segments += [part.span for part in found]
        return found

    def compared(self: SqlAdapter, *rest: Any) -> Any:
        look = differences(self, *rest)
        seen.rows += 0 if look is None else look.counts.source_rows + look.counts.target_rows
        return look

    monkeypatch.setattr(scope, "route", five)
    monkeypatch.setattr(sweep, "narrow", narrowing)
    monkeypatch.setattr(marked.Changed, "as_work", alike)
    monkeypatch.setattr(SqlAdapter, "differences", compared)
    monkeypatch.setattr(SqlAdapter, "stream", lambda *args, **named: _Counted(stream(*args, **named), seen))
    return seen


class _Counted:
    """A stream whose rows are counted."""

    def __init__(self, stream: Stream, seen: Read) -> None:
        self._stream = stream
        self._seen = seen

    @property
    def ended(self) -> bool:
        return self._stream.ended

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._stream:
            self._seen.rows += len(batch)
            yield batch


class Shop:
    """Two tables that an application writes, a clock, and the engine."""

    def __init__(self, world: World, read: Read, **declared: Any) -> None:
        self.world = world
        self.read = read
        self.clock = EngineClock(FakeClock())
        self.declared = {"columns": ("v",), "changes": CHANGES} | declared
        self.app = self.engine()

    def engine(self, **declared: Any) -> Trueup:
        self.app = self.world.app(clock=self.clock, **(self.declared | declared))
        return self.app

    @classmethod
    def filled(cls, world: World, read: Read, **declared: Any) -> Shop:
        """All rows alike, and none changed within the overlap; everything was read once."""
        rows = [(n, n * 10, int(START_S) - DAY_S * (ROWS - n)) for n in range(ROWS)]
        world.tables(COLUMNS, rows, rows)
        shop = cls(world, read, **declared)
        report = shop.check()
        assert (report.verdict, report.source_rows) == (Verdict.IN_SYNC, ROWS)
        return shop

    def later(self, seconds: float = 3600) -> None:
        self.clock.fake.sleep(seconds)

    @property
    def now(self) -> int:
        return int(self.clock.fake.now())

    def check(self, **asked: Any) -> Report:
        return self.counted(lambda: self.app.check("p", **asked))

    def run(self, **asked: Any) -> Report:
        return self.counted(lambda: self.app.run("p", **asked))

    def counted(self, call: Callable[[], Report]) -> Report:
        self.read.segments, self.read.rows = [], 0
        return call()

    def place(self, side: str) -> tuple[Place, str]:
        return (self.world.source, "src") if side == "source" else (self.world.target, "dst")

    def sql(self, side: str, *statements: str) -> None:
        place, table = self.place(side)
        place.sql(*(statement.format(table=table, now=self.now) for statement in statements))

    def write(self, side: str, key: int, value: int, *, at: int | None = None) -> None:
        """The application changes a row, and says when."""
        self.sql(side, f"UPDATE {{table}} SET v = {value}, seen = {at or self.now} WHERE id = {key}")

    def forget(self, side: str, key: int, value: int) -> None:
        """It changes one, and does not."""
        self.sql(side, f"UPDATE {{table}} SET v = {value} WHERE id = {key}")

    def delete(self, side: str, key: int) -> None:
        self.sql(side, f"DELETE FROM {{table}} WHERE id = {key}")


def wrong(report: Report) -> set[Any]:
    keys = [row["key"]["id"] for row in report.drift]
    assert len(set(keys)) == len(keys) == report.drifted
    return set(keys)


def everything(report: Report, why: str) -> None:
    """The run read everything, and said why."""
    assert "everything: " in report.strategy
    assert why in report.strategy


SIDES = pytest.mark.parametrize("side", ["source", "target"])


# --- what is read ----------------------------------------------------------------------------------------------------


def test_unchanged_nothing_but_the_overlap_is_read(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    assert len(read.segments) >= len(CUTS) + 1, "everything, the first time"
    shop.later()
    report = shop.check()
    # The newest row is the mark itself: it is in the overlap of both sides, and is compared. Nothing else.
    assert read.keys == {ROWS - 1}
    assert read.in_turn == []
    # With its hash, where both databases have one; else to be looked up then.
    assert read.rows == (2 if "postgresql-mysql" in str(world.pairing) else 2 + 2)
    assert report.verdict is Verdict.IN_SYNC
    assert "1 keys that may have changed" in report.strategy
    assert "source.seen >= " in report.strategy


@SIDES
def test_a_changed_row_is_found_by_the_next_run(world: World, read: Read, side: str) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.write(side, 17, 999)
    report = shop.check()
    assert (report.verdict, wrong(report), report.reason) == (Verdict.DRIFT, {17}, "")
    assert read.keys == {17, ROWS - 1}
    assert read.in_turn == []


def test_a_row_that_is_new_on_one_side_is_found(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    world.source.insert("src", [(100, 1, shop.now)])
    world.target.insert("dst", [(-100, 1, shop.now)])
    report = shop.check()
    assert (report.missing, report.extra, wrong(report)) == (1, 1, {100, -100})


@pytest.mark.parametrize(("late_s", "found"), [(300, True), (301, False)])
def test_a_transaction_that_committed_late(world: World, read: Read, late_s: int, found: bool) -> None:
    """It took its moment before the last run read the marks, and committed after it: found, if within the overlap."""
    shop = Shop.filled(world, read)
    shop.later()
    shop.write("source", 1, 10)
    assert shop.check().verdict is Verdict.IN_SYNC
    shop.write("source", 30, 999, at=shop.now - late_s)
    assert wrong(shop.check()) == ({30} if found else set())
    shop.later(7 * DAY_S)
    report = shop.check()
    assert wrong(report) == {30}
    assert bool(report.reason) is not found


@SIDES
def test_a_delete_is_found_in_turn(world: World, read: Read, side: str) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.delete(side, 17)
    assert shop.check().verdict is Verdict.IN_SYNC, "no mark announces it"
    shop.later(7 * DAY_S)
    report = shop.check()
    assert wrong(report) == {17}
    assert "1 of the rows that drifted had no mark of a change" in report.reason


@SIDES
def test_a_write_that_forgets_the_column_is_found_within_the_time_and_named(
    world: World, read: Read, side: str
) -> None:
    shop = Shop.filled(world, read)
    shop.forget(side, 30, 999)
    found, turns = [], 0
    for _ in range(7):
        shop.later(DAY_S)
        report = shop.check()
        found.append(wrong(report))
        turns += len(read.in_turn)
        assert len(read.in_turn) <= 2, "never all at once"
    assert found[0] == set()
    assert found[-1] == {30}, "found in turn, and wrong until it is mended"
    assert turns in (5, 6), "each segment once (and the keys with a NULL part, where they are one)"
    first = next(at for at, keys in enumerate(found) if keys)
    reasons = [bool(stored.reason) for stored in reversed(shop.app.runs("p"))][1:]
    assert reasons == [at == first for at in range(7)], "named when it is found; known from then on"


def test_after_a_full_run_nothing_is_due(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later(5 * DAY_S)
    assert shop.check(full=True).source_rows == ROWS
    shop.later(60)
    shop.check()
    assert read.in_turn == []


def test_after_a_long_silence_all_take_their_turn_once(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later(100 * DAY_S)
    shop.check()
    assert len(read.in_turn) >= len(CUTS) + 1
    shop.later(60)
    shop.check()
    assert read.in_turn == []


def test_a_segment_that_was_read_in_pieces_has_had_its_turn(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its statement took too long, and it was cut in two: both halves together are the segment."""
    shop = Shop.filled(world, read)
    whole = sweep.narrow

    def narrow(pair: Pair, segment: Segment, **how: bool) -> Iterator[Covered]:
        if isinstance(segment, Range) and segment in ranges(CUTS)[1:-1]:
            raise StatementTimeout("too long")
        return whole(pair, segment, **how)

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "narrow", narrow)
        patch.setattr(in_time, "cuts_of", lambda _: [(at,) for at in range(0, ROWS, 6)])
        shop.later(8 * DAY_S)
        shop.check()
    assert {Range(lower=(12,), upper=(18,)), Range(lower=(18,), upper=(24,))} < set(read.in_turn)
    shop.later(60)
    shop.check()
    assert read.in_turn == []


# --- what is known ---------------------------------------------------------------------------------------------------


@SIDES
def test_known_drift_is_looked_at_until_it_is_right(world: World, read: Read, side: str) -> None:
    shop = Shop.filled(world, read)
    shop.forget("source", 30, 999)
    assert wrong(shop.check(full=True)) == {30}
    shop.later()
    report = shop.check()
    assert wrong(report) == {30}
    assert 30 in read.keys
    assert "1 known to be wrong or moving before" in report.strategy
    shop.forget(side, 30, 300 if side == "source" else 999)  # nothing announces that it is right now
    assert shop.check().verdict is Verdict.IN_SYNC
    assert shop.app.standing.drift("p") == []
    shop.check()
    assert 30 not in read.keys


def test_a_row_that_is_found_twice_is_one_row(world: World, read: Read) -> None:
    """It was changed, and its segment takes its turn: one difference, one decision, one row."""
    shop = Shop.filled(world, read)
    shop.later(8 * DAY_S)
    shop.write("source", 30, 999)
    shop.write("source", 5, 999)
    report = shop.check()
    assert 30 in read.keys
    assert len(read.in_turn) >= 5
    assert (wrong(report), report.different, report.reason) == ({5, 30}, 2, "")


def test_a_row_that_was_still_moving_is_looked_at_again(world: World, read: Read) -> None:
    """No mark announces that it came to rest, and wrong: only that it was in flight says so."""
    shop = Shop.filled(world, read, settle=10)
    shop.forget("target", 30, 1)
    assert wrong(shop.check(full=True)) == {30}
    shop.later()
    for looks in range(60):
        shop.clock.fake.after(5 * looks, lambda value=looks: shop.forget("target", 30, value))
    report = shop.check()
    assert (report.in_flight, report.drifted) == (1, 0)
    assert shop.app.standing.drift("p") == []
    shop.later()
    report = shop.check()
    assert wrong(report) == {30}
    assert read.in_turn == []
    assert report.reason == ""


def moves(shop: Shop, key: int) -> None:
    """A row is written at each look, and nothing announces it."""
    for looks in range(60):
        shop.clock.fake.after(5 * looks, lambda value=looks: shop.forget("target", key, value))


@pytest.mark.parametrize("asked", ["key", "refused", "refused full"])
def test_a_row_that_moved_in_a_run_without_marks_is_looked_at_again(world: World, read: Read, asked: str) -> None:
    """Such a run takes off what it found moving, and is not the one that the next begins from."""
    shop = Shop.filled(world, read, settle=10, limits=Limits(rows=0))
    shop.forget("target", 30, 1)
    shop.forget("target", 50, 1)
    assert wrong(shop.check(full=True)) == {30, 50}
    shop.later()
    moves(shop, 30)
    if asked == "key":
        report = shop.check(keys=[{"id": 30}])
    else:
        report = shop.run(full=asked == "refused full")
        assert report.verdict is Verdict.REFUSED
    assert report.in_flight == 1
    shop.later()
    report = shop.check()
    assert wrong(report) == {30, 50}
    assert read.in_turn == []


def test_what_a_complete_run_finds_meanwhile_is_no_run_over_keys_to_take_off(world: World, read: Read) -> None:
    """It saw the row when it was right still, and ends later for another one that has to settle."""
    shop = Shop.filled(world, read, settle=10)
    shop.forget("target", 50, 1)
    shop.later()

    def meanwhile() -> None:
        shop.forget("target", 30, 1)
        shop.app.standing.found(other, [(row(30), "")], shop.clock.now())

    other = shop.app.find_run(shop.check().run)
    shop.clock.fake.after(5, meanwhile)
    assert wrong(shop.check(keys=[{"id": 30}, {"id": 50}])) == {50}
    shop.later()
    assert wrong(shop.check()) == {30, 50}


def row(key: int) -> Suspect:
    return Suspect(kind=DriftKind.DIFFERENT, key=(key,), expected=(key * 10,), observed=(1,))


def test_an_unfinished_run_does_not_settle_what_it_never_looked_at(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.write("source", 30, 999)
    cut_off(shop, monkeypatch, shop.app.plan)
    shop.forget("source", 5, 999)
    assert wrong(shop.check(keys=[{"id": 5}])) == {5}
    report = shop.counted(lambda: shop.app.plan("p"))
    assert (report.resumed, wrong(report)) == (True, {30})
    assert {row.drift.key for row in shop.app.standing.drift("p")} == {(5,), (30,)}


# --- when marks are not believed -------------------------------------------------------------------------------------


@SIDES
def test_a_mark_that_went_back_has_everything_read(world: World, read: Read, side: str) -> None:
    shop = Shop.filled(world, read)
    shop.forget("source", 3, 999)
    shop.later()
    shop.delete(side, ROWS - 1)
    report = shop.check()
    everything(report, f"the {side}'s mark went back")
    assert wrong(report) == {3, ROWS - 1}
    shop.later(60)
    assert "everything" not in shop.check().strategy, "the new marks serve from then on"


def test_a_source_that_was_emptied_is_not_believed(world: World, read: Read) -> None:
    shop = Shop.filled(world, read, on_extra="delete", limits=Limits(rows=10**6, share=1.0, deletes=10**6))
    shop.later()
    shop.sql("source", "DELETE FROM {table}")
    report = shop.run()
    everything(report, "the source's mark went back")
    assert report.verdict is Verdict.REFUSED
    assert "source collapsed" in report.reason
    assert world.target.count("dst") == ROWS


def test_an_emptied_source_without_a_mark_is_not_believed_either(world: World, read: Read) -> None:
    """Only the target's changes are declared: the few rows that were looked at are no longer in the source."""
    changes = {name: value for name, value in CHANGES.items() if name != "source"}
    declared: dict[str, Any] = {"on_extra": "delete", "limits": Limits(rows=10**6, share=1.0, deletes=10**6)}
    shop = Shop.filled(world, read, changes=changes, **declared)
    shop.later()
    shop.delete("source", ROWS - 1)
    report = shop.run()
    assert report.verdict is Verdict.REPAIRED, "the source has other rows: this one was deleted"
    assert world.target.count("dst") == ROWS - 1
    shop.sql("source", "DELETE FROM {table}")
    shop.write("target", 7, 70)
    report = shop.run()
    assert report.verdict is Verdict.REFUSED
    assert "source collapsed" in report.reason
    assert world.target.count("dst") == ROWS - 1


BELIEVING: dict[str, Any] = {"on_extra": "delete", "limits": Limits(rows=10**6, share=1.0, deletes=10**6)}


@pytest.mark.parametrize("survivors", ["nothing", "id = 59"])
def test_an_emptied_source_is_not_believed_for_a_mark_that_survived(world: World, read: Read, survivors: str) -> None:
    """The mark is in another table, or on the only row that is left: neither says that the source is full."""
    changes: dict[str, Any] = CHANGES | {"verify_within": 0}
    if survivors == "nothing":
        world.source.table("ob", "nr {integer} PRIMARY KEY NOT NULL, id {integer}", [(1, 1)])
        changes = {"source": {"table": "ob", "column": "nr"}, "verify_within": 0}
    shop = Shop.filled(world, read, changes=changes, **BELIEVING)
    shop.later()
    shop.sql("source", "DELETE FROM {table}" + (" WHERE id <> 59" if survivors != "nothing" else ""))
    report = shop.run()
    assert report.verdict is Verdict.REFUSED
    assert "source collapsed" in report.reason
    assert "everything: " not in report.strategy
    assert world.target.count("dst") == ROWS


def test_rows_that_are_not_counted_to_their_end_make_no_source_believed(world: World, read: Read) -> None:
    """Of a target that seems to be empty any source has enough."""
    shop = Shop.filled(world, read, changes=CHANGES | {"verify_within": 0}, **BELIEVING)
    shop.later()
    shop.sql("source", "DELETE FROM {table} WHERE id <> 59")
    adapter = shop.app._adapter(shop.app.projection("p").target.database)
    stream = adapter.stream

    def short(binding, side, segment, *, tokens):  # type: ignore[no-untyped-def]
        found = stream(binding, side, segment, tokens=tokens)
        return Nothing(found) if side is binding.target and segment == Range() else found

    adapter.stream = short  # type: ignore[method-assign]
    with pytest.raises(BrokenRead, match="the target stopped before its end"):
        shop.run()
    assert world.target.count("dst") == ROWS


def test_a_segment_that_was_purged_is_believed_of_a_source_that_has_the_rest(world: World, read: Read) -> None:
    """Positive control: a run that reads everything would believe it too."""
    shop = Shop.filled(world, read, **BELIEVING)
    shop.sql("source", "DELETE FROM {table} WHERE id < 12")
    for _ in range(7):
        shop.later(DAY_S)
        report = shop.run()
        assert report.verdict is not Verdict.REFUSED
    assert world.target.count("dst") == ROWS - 12


def test_many_announced_deletes_are_bounded_by_their_limit(world: World, read: Read) -> None:
    world.source.table("ob", "nr {integer} PRIMARY KEY NOT NULL, id {integer}", [(1, 59)])
    changes: dict[str, Any] = {"source": {"table": "ob", "column": "nr"}, "verify_within": "7d", "overlap": 0}
    shop = Shop.filled(world, read, changes=changes, on_extra="delete", limits=Limits(rows=100, share=1.0, deletes=9))
    shop.sql("source", "DELETE FROM {table} WHERE id < 10")
    world.source.insert("ob", [(2 + n, n) for n in range(10)])
    assert "10 rows would be deleted" in shop.run().reason
    shop.engine(limits=Limits(rows=100, share=1.0, deletes=10))
    assert shop.run().verdict is Verdict.REPAIRED
    assert world.target.count("dst") == ROWS - 10


def test_too_many_changes_have_everything_read(world: World, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.filled(world, read)
    for module in (marked, again):  # who counts them, and who says so
        monkeypatch.setattr(module, "CHANGED_MAX", 10)
    shop.later()
    shop.sql("source", "UPDATE {table} SET seen = {now} WHERE id < 9")
    assert "everything" not in shop.check().strategy, "nine, and the newest row of the target: ten"
    shop.later()
    shop.sql("source", "UPDATE {table} SET seen = {now} WHERE id < 11")
    everything(shop.check(), "more than 10 keys may have changed since r-")


@pytest.mark.parametrize("ahead", [timedelta(hours=1), timedelta(days=4000)], ids=["a clock", "no clock"])
def test_a_row_that_is_dated_ahead_hides_no_change(world: World, read: Read, ahead: timedelta) -> None:
    """A wrong clock wrote it; what right ones write until then is below it."""
    if "sqlite" in (world.pairing.source, world.pairing.target):
        with pytest.raises(ConfigError, match="cannot grow with each change"):
            _with_moments(world, read)
        return
    shop = _with_moments(world, read)
    shop.later()
    _change(shop, 4, 40, shop.clock.now() + ahead)
    assert shop.check().verdict is Verdict.IN_SYNC
    for key in (5, 6):
        shop.later(60)
        _change(shop, key, 999, shop.clock.now())
        report = shop.check()
        assert "everything" not in report.strategy
        assert wrong(report) == {*range(5, key + 1)}
        assert 4 in read.keys, "it is read each time"


def test_a_mark_ahead_in_an_older_ledger_hides_no_change(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions before kept it as it was."""
    if "sqlite" in (world.pairing.source, world.pairing.target):
        pytest.skip("has no mark that is a moment")
    shop = _with_moments(world, read)
    shop.later()
    _change(shop, 4, 40, shop.clock.now() + timedelta(days=400))
    with monkeypatch.context() as before:
        before.setattr("trueup.scope.believed", lambda mark, _at: mark)
        assert shop.check().verdict is Verdict.IN_SYNC
    shop.later(60)
    _change(shop, 5, 999, shop.clock.now())
    assert wrong(shop.check()) == {5}


def _change(shop: Shop, key: int, value: int, at: datetime) -> None:
    shop.sql("source", f"UPDATE {{table}} SET v = {value}, changed = '{at:%Y-%m-%d %H:%M:%S.%f}' WHERE id = {key}")


def _with_moments(world: World, read: Read) -> Shop:
    columns = "id {integer} PRIMARY KEY NOT NULL, v {integer}, changed {instant}"
    began = datetime.fromtimestamp(START_S, UTC)
    rows = [(n, n * 10, began - timedelta(days=ROWS - n)) for n in range(ROWS)]
    world.tables(columns, rows, rows)
    mark = {"column": "changed"}
    shop = Shop(world, read, changes={"source": mark, "target": mark})
    assert shop.check().verdict is Verdict.IN_SYNC
    return shop


def test_moments_as_marks(world: World, read: Read) -> None:
    """The default overlap is five minutes, to the microsecond."""
    if "sqlite" in (world.pairing.source, world.pairing.target):
        with pytest.raises(ConfigError, match="cannot grow with each change"):  # no type of its own for moments
            _with_moments(world, read)
        return
    shop = _with_moments(world, read)
    began = datetime.fromtimestamp(START_S, UTC)
    newest = began - timedelta(days=1)
    for key, at in ((4, newest - timedelta(minutes=5)), (5, newest - timedelta(minutes=5, microseconds=1))):
        _change(shop, key, 999, at)
    report = shop.check()
    assert wrong(report) == {4}
    assert read.keys == {4, ROWS - 1}


def test_another_definition_begins_anew(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.forget("source", 5, 999)
    shop.engine(on_extra="delete")
    report = shop.check()
    everything(report, "no run under this declaration has read everything yet")
    assert wrong(report) == {5}


@pytest.mark.parametrize("asked", [{}, {"keys": [{"id": 5}]}], ids=["all", "the row"])
def test_a_definition_that_comes_back_begins_anew(world: World, read: Read, asked: dict[str, Any]) -> None:
    """What was wrong by it was right by the other, and is known no more: nothing announces that row."""
    shop = Shop.filled(world, read)
    shop.forget("source", 5, 999)
    assert wrong(shop.check(full=True)) == {5}
    shop.later()
    shop.engine(tolerance={"v": 10_000})
    other = shop.check(**asked)
    assert other.verdict is Verdict.IN_SYNC
    shop.later()
    shop.engine()
    report = shop.check()
    everything(report, f"{other.run} was declared otherwise, after r-")
    assert wrong(report) == {5}
    assert "everything" not in shop.check().strategy


def test_a_column_that_is_new_is_compared_in_all_rows(world: World, read: Read) -> None:
    """No mark tells of an ALTER TABLE: `made` was compared in the newest row, and taken as unchanged in the others."""
    shop = Shop.filled(world, read, columns=None)
    for side in ("source", "target"):
        shop.sql(side, "ALTER TABLE {table} ADD COLUMN made INT DEFAULT 1")
    shop.sql("target", "UPDATE {table} SET made = 2 WHERE id = 7")
    shop.engine()
    report = shop.check()
    everything(report, "did not compare made")
    assert wrong(report) == {7}
    shop.later()
    shop.check()
    assert read.keys == {7, ROWS - 1}, "positive control: the next run does not read everything"


@SIDES
def test_a_column_of_another_type_is_compared_in_all_rows(world: World, read: Read, side: str) -> None:
    """Digits were cut without a write that sets the mark."""
    shop = Shop.filled(world, read)
    place, table = shop.place(side)
    held = sorted((key, value + (key == 7), seen) for key, value, seen in place.rows(table))
    place.sql(f"DROP TABLE {table}")
    place.table(table, COLUMNS.replace("v {integer}", "v {number}"), held)
    shop.engine()
    report = shop.check()
    everything(report, f"{side}: column 'v': ")
    assert wrong(report) == {7}


@SIDES
def test_a_column_that_was_dropped_and_added_again_is_compared_in_all_rows(world: World, read: Read, side: str) -> None:
    """Same name, same type, and no value of before."""
    shop = Shop.filled(world, read)
    shop.later()
    assert shop.check().verdict is Verdict.IN_SYNC
    assert read.keys == {ROWS - 1}, "positive control: nothing was altered"
    integer = shop.place(side)[0].types["integer"]
    shop.sql(side, "ALTER TABLE {table} DROP COLUMN v", f"ALTER TABLE {{table}} ADD COLUMN v {integer} DEFAULT 0")
    shop.engine()
    report = shop.check()
    everything(report, f"the tables are not as {shop.app.runs('p')[1].id} read them: {side}: column 'v' ")
    assert wrong(report) == set(range(1, ROWS))
    shop.later()
    shop.check()
    assert "everything: " not in shop.app.runs("p")[0].strategy, "positive control: once is enough"


def test_the_last_column_dropped_and_added_again_is_noticed_by_its_number(postgres: str, tmp_path: Path) -> None:
    place = Postgresql(postgres)
    for table in ("src", "dst"):
        place.table(
            table, "id {integer} PRIMARY KEY NOT NULL, seen {integer}, v {integer}", [(n, n, 1) for n in (1, 2)]
        )
    declared = Projection(
        name="p",
        source=Side(database="app", table="src"),
        target=Side(database="app", table="dst"),
        key="id",
        changes={"source": {"column": "seen"}, "target": {"column": "seen"}, "overlap": 0},
    )
    asked: dict[str, Any] = {"databases": {"app": place.url}, "projections": [declared]}
    with Trueup(**asked, ledger=f"sqlite:///{tmp_path / 'ledger.db'}") as app:
        app.check("p")
        assert "everything: " not in app.check("p").strategy, "positive control"
        place.sql("ALTER TABLE dst DROP COLUMN v", "ALTER TABLE dst ADD COLUMN v bigint DEFAULT 0")
        report = app.check("p")
        everything(report, "target: column 'v' was dropped and added again")
        assert wrong(report) == {1, 2}


def test_full_reads_everything(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.forget("source", 5, 999)
    shop.later()
    assert shop.check().verdict is Verdict.IN_SYNC
    report = shop.check(full=True)
    everything(report, "that was asked for")
    assert (report.source_rows, wrong(report), report.reason) == (ROWS, {5}, "")


# --- runs that did not end well --------------------------------------------------------------------------------------


def cut_off(shop: Shop, monkeypatch: pytest.MonkeyPatch, call: Callable[[str], Report]) -> None:
    """A run that is stopped after its first segment."""
    shop.read.segments, shop.read.rows = [], 0
    with monkeypatch.context() as patch:
        patch.setattr(
            type(shop.app.progress), "narrowed", lambda *_: setattr(shop.app.stop_after_segment, "asked", True)
        )
        patch.setattr(again, "KEYS_AT_ONCE", 2)
        with pytest.raises(Interrupted):
            call("p")
    shop.app.stop_after_segment.asked = False
    assert shop.app.runs("p")[0].state == "interrupted"


def test_a_run_that_was_cut_off_goes_on(world: World, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.write("source", key, 999)
    cut_off(shop, monkeypatch, shop.app.check)
    looked_at = read.keys
    report = shop.check()
    assert report.resumed
    assert wrong(report) == {5, 30, 40, 50}
    assert read.keys < {5, 30, 40, 50, ROWS - 1}, "what was looked at before is not looked at again"
    assert looked_at | read.keys == {5, 30, 40, 50, ROWS - 1}
    shop.later()
    shop.write("target", 6, 999)
    assert wrong(shop.check()) == {5, 6, 30, 40, 50}


def test_what_changed_while_a_run_lay_there_is_found_by_the_one_after_it(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its marks are of its beginning."""
    shop = Shop.filled(world, read)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.write("source", key, key * 10)
    cut_off(shop, monkeypatch, shop.app.check)
    shop.later()
    shop.write("source", 20, 999)
    shop.later()
    assert shop.check().resumed
    assert wrong(shop.check()) == {20}


def test_full_does_not_go_on_with_less(world: World, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.filled(world, read)
    shop.forget("source", 7, 999)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.write("source", key, 999)
    cut_off(shop, monkeypatch, shop.app.check)
    report = shop.check(full=True)
    assert (report.resumed, wrong(report)) == (False, {5, 7, 30, 40, 50})
    assert [stored.state for stored in shop.app.runs("p")][:2] == ["done", "abandoned"]
    assert not shop.check().resumed


def test_a_run_that_another_has_overtaken_is_not_taken_up(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.write("source", key, key * 10)
    cut_off(shop, monkeypatch, shop.app.plan)
    shop.later()
    assert shop.check().verdict is Verdict.IN_SYNC
    shop.later()
    shop.write("source", 20, 999)
    report = shop.counted(lambda: shop.app.plan("p"))
    assert (report.resumed, wrong(report)) == (False, {20})


def test_full_goes_on_with_an_unfinished_run_that_reads_everything(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [(n, n * 10, n) for n in range(ROWS)]
    world.tables(COLUMNS, rows, rows)
    shop = Shop(world, read)
    cut_off(shop, monkeypatch, shop.app.check)
    report = shop.check(full=True)
    assert report.resumed
    assert report.source_rows == ROWS


def test_a_refused_run_leaves_no_marks(world: World, read: Read) -> None:
    shop = Shop.filled(world, read, limits=Limits(rows=1, share=1.0))
    shop.later()
    shop.write("source", 5, 999)
    shop.write("source", 30, 999)
    shop.later()
    shop.write("source", 40, 400)
    assert shop.run().verdict is Verdict.REFUSED
    shop.app.standing.settled("p", [(5,), (30,)])  # marks alone have to find them
    assert wrong(shop.check()) == {5, 30}


def test_a_failed_run_leaves_no_marks(world: World, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.write("source", 5, 999)
    shop.later()
    shop.write("source", 40, 400)

    def broken(*_: Any) -> Report:
        raise TrueupError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(run, "examine", broken)
        with pytest.raises(TrueupError, match="disk"):
            shop.check()
    shop.later(2 * DAY_S)  # too old to be resumed
    report = shop.check()
    assert (report.resumed, wrong(report)) == (False, {5})
    assert 5 in read.keys


def test_a_run_that_could_not_keep_all_differences_leaves_no_marks(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Shop.filled(world, read)
    monkeypatch.setattr(sweep, "DIFFERENCES_MAX", 2)
    monkeypatch.setattr(judging, "DIFFERENCES_MAX", 2)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.write("source", key, 999)
    shop.later()
    shop.write("source", 20, 200)
    shop.check()
    monkeypatch.undo()
    assert wrong(shop.check()) == {5, 30, 40, 50}


def test_after_a_run_over_all_that_could_not_keep_all_differences_everything_is_read(
    world: World, read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not keep nothing announces."""
    shop = Shop.filled(world, read)
    shop.later()
    for key in (5, 30, 40, 50):
        shop.forget("source", key, 999)
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "DIFFERENCES_MAX", 2)
        patch.setattr(judging, "DIFFERENCES_MAX", 2)
        short = shop.check(full=True)
    report = shop.check()
    assert wrong(report) == {5, 30, 40, 50}
    everything(report, f"{short.run} read everything, and could not compare or keep all of it")
    shop.later()
    assert "everything" not in shop.check().strategy


# --- repairing -------------------------------------------------------------------------------------------------------


def test_run_repairs_what_it_finds(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.write("source", 5, 999)
    report = shop.run()
    assert (report.verdict, read.keys) == (Verdict.REPAIRED, {5, ROWS - 1})
    assert (5, 999) in {row[:2] for row in world.target.rows("dst")}
    shop.later()
    assert shop.check().verdict is Verdict.IN_SYNC
    shop.forget("target", 6, 1)
    shop.later(8 * DAY_S)
    report = shop.run()
    assert report.verdict is Verdict.REPAIRED
    assert "no mark of a change" in report.reason


@pytest.mark.parametrize("limits", [Limits(rows=2, share=1.0), Limits(rows=100, share=1.0, deletes=2)])
def test_limits_apply(world: World, read: Read, limits: Limits) -> None:
    shop = Shop.filled(world, read, on_extra="delete", limits=limits)
    shop.later()
    held = world.target.rows("dst")
    if limits.rows == 2:
        shop.sql("source", "UPDATE {table} SET v = 999, seen = {now} WHERE id < 3")
    else:
        world.target.insert("dst", [(n, 1, shop.now) for n in (100, 101, 102)])
        held |= {(n, 1, shop.now) for n in (100, 101, 102)}
    assert shop.run().verdict is Verdict.REFUSED
    assert world.target.rows("dst") == held
    shop.engine(limits=Limits(rows=3, share=1.0, deletes=3))
    assert shop.run().verdict is Verdict.REPAIRED, "limits are not part of the definition: nothing was lost"
    assert len(read.in_turn) == 0


# --- marks of another table ------------------------------------------------------------------------------------------

LIKES = "id {integer} PRIMARY KEY NOT NULL, post {integer}, seen {integer}"
COUNTED = "SELECT post AS id, count(*) AS v FROM likes GROUP BY post"


def _posts(world: World, read: Read, mark: dict[str, Any]) -> Shop:
    """Counters of likes; each post has as many as its number."""
    likes = [(post, of) for post in range(1, 21) for of in range(post)]
    at = int(START_S) - DAY_S * 10
    world.source.table("likes", LIKES, [(n, post, at) for n, (post, _) in enumerate(likes)])
    world.source.table("outbox", "nr {integer} PRIMARY KEY NOT NULL, about {integer}", [(1, 1)])
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, v {integer} NOT NULL", [(n, n) for n in range(1, 21)])
    shop = Shop(world, read, changes={"source": mark, "verify_within": "7d", "overlap": 0})
    shop.engine(source=COUNTED)
    shop.declared["source"] = COUNTED
    assert shop.check().verdict is Verdict.IN_SYNC
    return shop


def test_likes_announce_the_posts_that_they_are_of(world: World, read: Read) -> None:
    shop = _posts(world, read, {"table": "likes", "column": "seen", "columns": {"id": "post"}})
    shop.later()
    world.source.insert("likes", [(1000, 7, shop.now), (1001, 7, shop.now), (1002, 50, shop.now)])
    report = shop.check()
    assert (wrong(report), report.missing, report.different) == ({7, 50}, 1, 1)
    assert "likes.seen >= " in report.strategy
    shop.later()
    shop.check()
    assert read.keys == {7, 50}
    assert read.in_turn == []


def test_an_outbox_announces_deletes_too(world: World, read: Read) -> None:
    shop = _posts(world, read, {"table": "outbox", "column": "nr", "columns": {"id": "about"}})
    shop.later()
    world.source.sql("DELETE FROM likes WHERE post = 7")
    world.source.insert("outbox", [(2, 7)])
    report = shop.check()
    assert (wrong(report), report.extra) == ({7}, 1)
    assert read.keys == {1, 7}


# --- NULLs -----------------------------------------------------------------------------------------------------------


def test_a_row_without_a_mark_is_found_in_turn(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.sql("source", "UPDATE {table} SET v = 999, seen = NULL WHERE id = 30")
    shop.write("source", 5, 999)
    assert wrong(shop.check()) == {5}
    shop.later(7 * DAY_S)
    report = shop.check()
    assert wrong(report) == {5, 30}
    assert "1 of the rows" in report.reason


def test_a_side_on_which_no_row_has_a_mark_is_read_by_the_first_that_gets_one(world: World, read: Read) -> None:
    rows = [(n, n * 10, None) for n in range(ROWS)]
    world.tables(COLUMNS, rows, rows)
    shop = Shop(world, read)
    shop.check()
    shop.later()
    report = shop.check()
    assert (report.verdict, read.keys) == (Verdict.IN_SYNC, set())
    assert report.strategy.startswith("0 keys that may have changed (no row had a mark), ")
    shop.write("target", 5, 999)
    assert wrong(shop.check()) == {5}
    assert read.keys == {5}


def test_keys_with_a_null_part_are_looked_at_together(world: World, read: Read) -> None:
    columns = "id {integer}, v {integer}, seen {integer}"
    rows = [(n, n, n) for n in range(ROWS)] + [(None, 1, 1), (None, 2, 1)]
    world.tables(columns, rows, rows)
    shop = Shop(world, read)
    assert shop.check().verdict is Verdict.IN_SYNC
    shop.later()
    shop.sql("source", "UPDATE {table} SET v = 999, seen = {now} WHERE id IS NULL AND v = 2")
    shop.write("source", 5, 999)
    report = shop.check()
    assert NullKeys() in read.segments
    assert {row["key"]["id"] for row in report.drift} == {None, 5}
    assert report.reason == "", "both were announced"
    shop.later()
    report = shop.check()
    assert {row["key"]["id"] for row in report.drift} == {None, 5}, "known, and looked at again"
    shop.sql("source", "UPDATE {table} SET v = 2 WHERE id IS NULL AND v = 999")
    assert {row["key"]["id"] for row in shop.check().drift} == {5}
    assert {row.drift.key for row in shop.app.standing.drift("p")} == {(5,)}


# --- with keys and partitions ----------------------------------------------------------------------------------------


def test_keys_that_are_asked_for_are_read_whatever_the_marks_say(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    shop.forget("source", 30, 999)
    shop.write("source", 5, 999)
    report = shop.check(keys=[{"id": 30}])
    assert (wrong(report), read.keys) == ({30}, {30})
    report = shop.check()
    assert wrong(report) == {5, 30}, "a run of some keys leaves no marks"


TENANTS = "id {integer} PRIMARY KEY NOT NULL, tenant {text}, v {integer}, seen {integer}"


def test_partitions_take_their_turn_and_new_ones_are_read_at_once(world: World, read: Read) -> None:
    rows = [(n, "abc"[n % 3], n, n) for n in range(ROWS)]
    world.tables(TENANTS, rows, rows)
    shop = Shop(world, read, partition={"by": "column", "column": "tenant"}, changes=CHANGES | {"overlap": 0})
    assert shop.check().verdict is Verdict.IN_SYNC
    shop.later()
    shop.forget("source", 4, 999)  # tenant b
    assert wrong(shop.check(partitions=["a"])) == set()
    assert wrong(shop.check()) == set()
    assert (read.keys, read.in_turn) == ({ROWS - 1}, [])
    world.source.insert("src", [(1000, "new", 1, 1)])  # neither is announced
    report = shop.check()
    assert wrong(report) == {1000}
    assert {str(partition_of(span)) for span in read.in_turn} != set()
    assert all("new" in str(partition_of(span)) for span in read.in_turn)
    shop.later(60)
    assert wrong(shop.check()) == {1000}
    assert read.in_turn == [], "the new one takes its turn like the rest from now on"
    shop.later(7 * DAY_S)
    assert wrong(shop.check()) == {4, 1000}


def test_partitions_of_time_are_read_as_they_close(world: World, read: Read) -> None:
    """What is still open is not read, so no run has read everything, and none takes anything as unchanged."""
    columns = "id {integer} PRIMARY KEY NOT NULL, day {date}, v {integer}, seen {integer}"
    days = [(datetime.fromtimestamp(START_S, UTC) - timedelta(days=n % 4)).date() for n in range(ROWS)]
    rows = [(n, days[n], n, n) for n in range(ROWS)]
    world.tables(columns, rows, rows)
    shop = Shop(world, read, partition={"by": "time", "column": "day", "bucket": "1d"})
    shop.check()
    shop.forget("source", 1, 999)
    report = shop.check()
    assert wrong(report) == {1}
    everything(report, "no run under this declaration has read everything yet")


# --- what is wrong with a declaration --------------------------------------------------------------------------------


def test_a_mark_that_is_not_there_is_said_with_the_nearest_name(world: World, read: Read) -> None:
    world.tables(COLUMNS)
    shop = Shop(world, read, changes={"target": {"column": "sene"}})
    with pytest.raises(ConfigError, match=r"changes\.target: .*no column 'sene'; did you mean 'seen'"):
        shop.check()


def test_an_outbox_whose_keys_are_of_another_kind_is_refused(world: World, read: Read) -> None:
    world.tables(COLUMNS, [(42, 1, 1)], [(42, 1, 1)])
    world.source.table("ob", "nr {integer} PRIMARY KEY NOT NULL, about {text}", [(1, "42")])
    mark = {"table": "ob", "column": "nr", "columns": {"id": "about"}}
    with pytest.raises(ConfigError, match=r"changes\.source\.columns: column 'about' of table 'ob'.*'id' \(integer\)"):
        Shop(world, read, changes={"source": mark}).check()


@pytest.mark.parametrize("column", ["seen", "id"])
def test_a_value_that_is_not_of_its_columns_kind_is_refused(world: World, read: Read, column: str) -> None:
    if world.pairing.source != "sqlite":
        return  # the others keep nothing but integers in such a column
    world.tables(COLUMNS, [(1, 1, 1)], [(1, 1, 1)])
    world.source.table("ob", "nr {integer}, id {integer}, seen {integer}", [(1, 1, 1)])
    shop = Shop(world, read, changes={"source": {"table": "ob", "column": "seen"}})
    assert shop.check().verdict is Verdict.IN_SYNC, "positive control"
    world.source.sql(f"UPDATE ob SET {column} = 'n/a'")
    with pytest.raises(DesignProblem, match=rf"changes\.source: column '{column}' of ob holds 'n/a'.*no integer"):
        shop.check()


def test_a_moment_that_is_none_is_told_as_a_mark(world: World, read: Read) -> None:
    """It was told as a value that is compared, of no projection and no column, with what to do about that."""
    if world.pairing.source != "postgresql":
        return
    world.tables(COLUMNS, [(1, 1, 1)], [(1, 1, 1)])
    world.source.table("ob", "id {integer}, seen {timestamp}", [(1, datetime(2026, 1, 1))])
    shop = Shop(world, read, changes={"source": {"table": "ob", "column": "seen"}})
    assert shop.check().verdict is Verdict.IN_SYNC, "positive control"
    world.source.sql("UPDATE ob SET seen = 'infinity'")
    with pytest.raises(
        DataProblem, match=r"p\.changes\.source: column 'seen' of ob holds .*'infinity'\); mend that row"
    ):
        shop.check()


def test_what_was_read_is_in_the_report_as_json(world: World, read: Read) -> None:
    shop = Shop.filled(world, read)
    shop.later()
    told = json.loads(shop.check().to_json_text())
    assert "the rest is taken as unchanged since 2026-01-01 00:00 UTC or later" in told["strategy"]


# --- any history -----------------------------------------------------------------------------------------------------

ROW = (st.sampled_from(["source", "target"]), st.integers(0, 59), st.integers(0, 2))
STEPS = st.one_of(
    st.tuples(st.just("write"), *ROW),
    st.tuples(st.just("commit late"), *ROW),
    st.tuples(st.just("forget"), *ROW),
    st.tuples(st.just("delete"), *ROW),
    st.tuples(st.just("wait"), st.floats(0, 5)),
    st.tuples(st.just("check")),
)


class Oracle:
    """What is wrong, and what of it a run must find: at once what was announced, in turn what was not."""

    def __init__(self) -> None:
        self.source = dict.fromkeys(range(ROWS), 0)
        self.target = dict.fromkeys(range(ROWS), 0)
        self.announced: set[tuple[str, int]] = set()
        #: Rows that the last run found wrong: they are looked at until they are right.
        self.known: set[int] = set()
        #: When a row was last changed without a mark.
        self.silent: dict[int, int] = {}

    def wrong(self) -> set[int]:
        return {key for key in range(ROWS) if self.source.get(key) != self.target.get(key)}

    def must_be_found(self, now: int) -> set[int]:
        overdue = {key for key, at in self.silent.items() if now - at >= 7 * DAY_S}
        return self.wrong() & ({key for _, key in self.announced} | self.known | overdue)

    def found(self, keys: set[int]) -> None:
        self.known = keys
        self.announced = set()


def _step(shop: Shop, oracle: Oracle, step: tuple[Any, ...]) -> None:
    """What the application does, in the databases and in the oracle."""
    what, side, key, value = step
    held: dict[int, int] = getattr(oracle, side)
    if key not in held:
        return  # it was deleted
    held[key] = value
    if what == "delete":
        shop.delete(side, key)
        del held[key]
        oracle.announced.discard((side, key))  # with the row went its mark
    elif what == "forget":
        shop.forget(side, key, value)
    else:
        shop.write(side, key, value, at=shop.now - (300 if what == "commit late" else 0))
        oracle.announced.add((side, key))
    oracle.silent |= {key: shop.now} if what in ("forget", "delete") else {}


@given(steps=st.lists(STEPS, min_size=4, max_size=20))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_of_writes_and_runs(
    world: World, new_ledger: Path, read: Read, steps: list[tuple[Any, ...]]
) -> None:
    """Every announced difference is found by the next run, and every difference within the time that is set."""
    shop, oracle = _afresh(world, new_ledger, read), Oracle()
    for step in [("check",), *steps, ("wait", 7.0), ("check",), ("check",)]:
        if step[0] == "wait":
            shop.later(step[1] * DAY_S)
        elif step[0] == "check":
            found = wrong(shop.check(rows=0))
            assert oracle.must_be_found(shop.now) <= found <= oracle.wrong()
            oracle.found(found)
        else:
            _step(shop, oracle, step)
    assert oracle.known == oracle.wrong()


def _afresh(world: World, new_ledger: Path, read: Read) -> Shop:
    world.close()
    world.opened.clear()
    rows = [(n, 0, int(START_S) - DAY_S) for n in range(ROWS)]
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.sql(f"DROP TABLE IF EXISTS {table}")
        place.table(table, COLUMNS, rows)
    ledger = world.folder / f"{uuid4().hex}.db"
    shutil.copy(new_ledger, ledger)
    return Shop(world, read, ledger=f"sqlite:///{ledger}")
