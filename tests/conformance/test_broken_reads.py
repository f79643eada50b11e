"""A read that did not prove its end is no answer: neither in sync, nor drift, and nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.conformance.worlds import World
from trueup import Trueup, TrueupError, Verdict
from trueup import side_by_side as reading
from trueup.adapters import Stream
from trueup.core.plan import Range
from trueup.core.row import Batch
from trueup.errors import BrokenRead, Busy, DesignProblem, StatementTimeout
from trueup.isolate import keys_of
from trueup.side_by_side import side_by_side

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, v {integer}"
ROWS = [(n, n) for n in range(50)]


class Half:
    """A stream whose connection went away half-way, and nobody said so."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.ended = False

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.stream:
            yield batch.slice(0, len(batch) // 2)


class Nothing(Half):
    def __iter__(self) -> Iterator[Batch]:
        yield from ()


class Breaks(Half):
    """Raises in the middle."""

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.stream:
            yield batch.slice(0, len(batch) // 2)
            raise DesignProblem("the cable was pulled")


class Whole(Half):
    """The positive control: the wrapper itself changes nothing."""

    def __iter__(self) -> Iterator[Batch]:
        yield from self.stream
        self.ended = self.stream.ended


class Watched(Half):
    """Tells whether it is open."""

    def __init__(self, stream: Stream, opened: list[Watched]) -> None:
        super().__init__(stream)
        self.opened = opened

    def __iter__(self) -> Iterator[Batch]:
        self.opened.append(self)
        try:
            yield from self.stream
            self.ended = self.stream.ended
        finally:
            self.opened.remove(self)


def wrap(app: Trueup, side: str, kind: Callable[[Stream], Half]) -> None:
    """Put `kind` around every stream of one side."""
    adapter = app._adapter(getattr(app.projection("p"), side).database)
    real = adapter.stream

    def stream(binding, bound, segment, *, tokens):  # type: ignore[no-untyped-def]
        found = real(binding, bound, segment, tokens=tokens)
        return kind(found) if bound is getattr(binding, side) else found

    adapter.stream = stream  # type: ignore[method-assign]


def one_by_one(first: Iterator[type[Half]], then: type[Half]) -> Callable[[Stream], Half]:
    """Each stream gets the next of `first`, and `then` when they are used up."""

    def make(stream: Stream) -> Half:
        return next(first, then)(stream)

    return make


BROKEN = [(kind, side) for kind in (Half, Nothing, Breaks) for side in ("source", "target")]


@pytest.mark.parametrize("by_key", [False, True], ids=["all", "keys"])
def test_a_read_without_an_end_is_no_answer(world: World, by_key: bool) -> None:
    # In one database rows are compared where they are, unless keys occur twice: those make it stream.
    twice = [(49, 49)] if world.together else []
    world.source.table("src", "id {integer} NOT NULL, v {integer}", ROWS + twice)
    world.target.table("dst", "id {integer} NOT NULL, v {integer}", ROWS + twice)
    for kind, side in BROKEN:
        app = world.app(exact=True)
        wrap(app, side, kind)
        with pytest.raises(DesignProblem) as caught:
            app.check("p", keys=[{"id": 49}, {"id": 3}] if by_key else None)
        assert kind is Breaks or isinstance(caught.value, BrokenRead)
        last = app.status()[0].last
        assert last is not None
        assert (last.state, last.verdict) == ("failed", None)
        assert app.drift("p") == []


def test_a_run_on_a_broken_read_writes_nothing(world: World) -> None:
    if world.together:
        pytest.skip("compared inside the database: nothing is streamed")
    world.tables(COLUMNS, ROWS, [*ROWS[:20], (77, 7)])
    before = world.target.rows("dst")
    for kind, side in BROKEN:
        app = world.app(exact=True, on_extra="delete")
        wrap(app, side, kind)
        with pytest.raises(DesignProblem):
            app.run("p")
        assert world.target.rows("dst") == before


def test_the_wrapper_alone_changes_nothing(world: World) -> None:
    world.tables(COLUMNS, ROWS, [*ROWS[:20], (77, 7)])
    app = world.app(exact=True, on_extra="delete")
    for side in ("source", "target"):
        wrap(app, side, Whole)
    assert app.run("p").verdict is Verdict.REPAIRED
    assert world.target.rows("dst") == set(ROWS)


def test_the_source_breaks_only_when_it_is_read_for_the_repair(world: World) -> None:
    """The look was whole; the reading under the lock is not: what is missing there must not be deleted."""
    if world.together:
        pytest.skip("the source is read by a statement of the repair's own transaction")
    world.tables(COLUMNS, ROWS, [(n, v + 1) for n, v in ROWS])
    app = world.app(exact=True, on_extra="delete")
    looks = iter([Whole, Whole])  # narrow, confirm
    wrap(app, "source", one_by_one(looks, Nothing))
    with pytest.raises(BrokenRead):
        app.run("p")
    assert world.target.rows("dst") == {(n, v + 1) for n, v in ROWS}
    assert next(looks, None) is None, "it never came to the repair"


def test_an_interrupted_run_goes_on_and_ends_well(world: World) -> None:
    if world.together:
        pytest.skip("nothing is streamed")
    world.tables(COLUMNS, ROWS, ROWS[:20])
    app = world.app(exact=True)
    broken = iter([Half])
    wrap(app, "source", one_by_one(broken, Whole))
    with pytest.raises(BrokenRead):
        app.run("p")
    report = app.run("p")
    assert (report.verdict, report.repaired, report.resumed) == (Verdict.REPAIRED, 30, True)
    assert world.target.rows("dst") == set(ROWS)


@pytest.mark.parametrize("error", [Busy, StatementTimeout], ids=["busy", "timeout"])
def test_an_error_while_looking_again_is_no_resolution(world: World, error: type[TrueupError]) -> None:
    """The second look fails for good: the suspects of the first are neither drift nor resolved."""
    if world.together:
        pytest.skip("one look is proof")
    world.tables(COLUMNS, ROWS, ROWS[:20])
    app = world.app(exact=True)

    class Fails(Half):
        def __iter__(self) -> Iterator[Batch]:
            raise error("not now")

    looks = iter([Whole])
    wrap(app, "source", one_by_one(looks, Fails))
    with pytest.raises(error):
        app.check("p")
    assert app.drift("p") == []


def test_an_empty_source_is_not_believed(world: World) -> None:
    """Whole, proven, and empty: still far more often a broken load than the truth."""
    world.tables(COLUMNS, [], ROWS)
    app = world.app(exact=True, on_extra="delete", limits={"rows": 10**6, "deletes": 10**6, "share": "100%"})
    report = app.run("p")
    assert (report.verdict, report.exit_code) == (Verdict.REFUSED, 4)
    assert "source collapsed" in report.reason
    assert world.target.rows("dst") == set(ROWS)
    believed = world.app(exact=True, on_extra="delete").run("p")
    assert (believed.verdict, believed.repaired) == (Verdict.REPAIRED, 50)


@pytest.mark.parametrize("side", ["source", "target"])
def test_the_row_to_blame_is_not_told_from_some_of_the_keys(world: World, side: str) -> None:
    world.tables(COLUMNS, ROWS, ROWS)
    app = world.app(exact=True)
    reader = app._adapter(getattr(app.projection("p"), side).database)
    real = reader.stream
    reader.stream = lambda *args, **named: Half(real(*args, **named))  # type: ignore[method-assign]
    with pytest.raises(BrokenRead, match=f"the {side} stopped before its end"):
        list(keys_of(app.pair(app.binding("p", writing=False)), side, Range()))


@pytest.mark.parametrize("side", ["source", "target"])
def test_no_stream_is_open_while_an_error_of_the_other_is_waited_out(
    world: World, side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who caught the error has its traceback, and with it all that the functions on the way held."""
    monkeypatch.setattr(reading, "BATCH_ROWS", 1)  # nothing is read on while there are rows
    world.tables(COLUMNS, ROWS, ROWS)
    app = world.app(exact=True)
    opened: list[Watched] = []
    wrap(app, "source" if side == "target" else "target", lambda stream: Watched(stream, opened))
    wrap(app, side, Breaks)
    stayed: list[Watched] | None = None
    try:
        list(side_by_side(app.pair(app.binding("p", writing=False)), Range()))
    except DesignProblem:
        stayed = [*opened]
    assert stayed == []
