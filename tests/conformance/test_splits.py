"""A segment whose statement takes too long is cut in two, and the answer is the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import psycopg
import pytest

from tests.conformance.worlds import World
from tests.conftest import Pair as Databases
from trueup import Database, Projection, Side, Trueup, Verdict, diff, in_time, side_by_side, sweep
from trueup import narrow as narrowing
from trueup.adapters import _mysql_survey, _postgresql_survey, _results, duckdb, sqlite
from trueup.core.plan import Everything, Keys, Range, Segment
from trueup.errors import StatementTimeout
from trueup.side_by_side import Covered, Pair

FEW = ("postgresql-alone", "sqlite-alone", "postgresql-mysql", "mysql-duckdb")
ROWS = [(n, n % 7) for n in range(2000)]
WRONG = {3, 700, 701, 1999}


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut points for a table of two thousand rows, of which one is used."""
    for adapter in (duckdb, _mysql_survey, _postgresql_survey, sqlite):
        monkeypatch.setattr(adapter, "SEGMENT_ROWS", 100)
    monkeypatch.setattr(_postgresql_survey, "COST_PER_SEGMENT", 5.0)
    monkeypatch.setattr(narrowing, "merge_by_work", lambda cuts, _work, _segments: cuts[len(cuts) // 2 :][:1])


def too_long(segment: Segment, limit: int) -> bool:
    """Would this segment take longer than a statement may?"""
    match segment:
        case Everything():
            return True
        case Range(lower=lower, upper=upper):
            return (2000 if upper is None else int(upper[0])) - (0 if lower is None else int(lower[0])) > limit
        case Keys(keys=keys):
            return len(keys) > limit
    return False


def impatient(monkeypatch: pytest.MonkeyPatch, limit: int) -> list[Segment]:
    """Narrowing that gives up on segments of more than `limit` keys; what it gave up on."""
    given_up: list[Segment] = []
    whole = sweep.narrow

    def narrow(pair: Pair, segment: Segment, **how: bool) -> Iterator[Covered]:
        if too_long(segment, limit):
            given_up.append(segment)
            raise StatementTimeout("too long")
        yield from whole(pair, segment, **how)

    monkeypatch.setattr(sweep, "narrow", narrow)
    monkeypatch.setattr(in_time, "narrow", narrow)
    return given_up


def planted(world: World) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL, v {integer}", ROWS, [(n, v + (n in WRONG)) for n, v in ROWS])
    for place, table in ((world.source, "src"), (world.target, "dst")):
        place.analyze(table)


@pytest.mark.usefixtures("cut")
def test_halves_until_they_are_short_enough(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(world)
    app = world.app()
    if len(in_time.cuts_of(app.pair(app.binding("p", writing=False)))) < 4:
        pytest.skip("this database reads everything in one pass and has no cut points")
    given_up = impatient(monkeypatch, 600)
    report = app.check("p", rows=0)
    assert given_up, "nothing took too long, so nothing was proven"
    assert {row["key"]["id"] for row in report.drift} == WRONG
    assert (report.source_rows, report.target_rows) == (2000, 2000)
    assert report.segments["planned"] == report.segments["done"] >= 2


def test_what_has_no_cut_points_is_cut_at_a_key(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small table, whose rows cost much: nobody cuts it before it takes too long."""
    planted(world)
    app = world.app()
    assert in_time.cuts_of(app.pair(app.binding("p", writing=False))) == []
    given_up = impatient(monkeypatch, 600)
    report = app.check("p", rows=0)
    assert len(given_up) >= 3
    assert {row["key"]["id"] for row in report.drift} == WRONG
    assert (report.source_rows, report.target_rows) == (2000, 2000)
    assert report.segments["planned"] == report.segments["done"] >= 4


def test_keys_of_any_kind_are_cut(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of text, in two parts, some of them NULL: each row is in one half."""
    rows = [(f"{n % 5}é'", None if n % 50 == 0 else f"{n:04}", n) for n in range(400)]
    world.tables("a {text}, b {text}, v {integer}", rows, [(a, b, v + (v % 99 == 0)) for a, b, v in rows])
    app = world.app(key=["a", "b"])
    pair = app.pair(app.binding("p", writing=False))
    parts = in_time.in_two(pair, Everything())
    assert len(parts) >= 2
    found = [piece.covered for piece in in_time.pieces(pair, parts)]
    assert (sum(of.counts.source_rows for of in found), sum(of.counts.differing for of in found)) == (400, 5)


@pytest.mark.parametrize("limit", [300, 0])
def test_a_comparison_that_is_not_kept_is_cut_too(world: World, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    planted(world)
    given_up = impatient(monkeypatch, limit)
    monkeypatch.setattr(in_time, "SPLITS_MAX", 9)
    sides = (f"{world.source.url}#src", f"{world.target.url}#dst")
    if not limit:
        with pytest.raises(StatementTimeout):
            diff(*sides, key="id")
        assert len(given_up) == 10
        return
    report = diff(*sides, key="id", rows=0)
    assert len(given_up) >= 7
    assert {row["key"]["id"] for row in report.drift} == WRONG
    assert (report.source_rows, report.target_rows) == (2000, 2000)
    assert report.segments["planned"] == report.segments["done"] >= 8


def test_a_costly_query_is_cut_by_the_clock(postgres_pair: Databases, tmp_path: Path) -> None:
    """The server's own time limit, and a query that takes five times as long; its table is small."""
    with psycopg.connect(postgres_pair.source, autocommit=True) as source:
        source.execute("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)")
        source.execute("INSERT INTO t SELECT n, n FROM generate_series(1, 200) n")
    with psycopg.connect(postgres_pair.target, autocommit=True) as target:
        target.execute("CREATE TABLE t (id bigint PRIMARY KEY, v bigint)")
        target.execute("INSERT INTO t SELECT n, n + (n = 77)::int FROM generate_series(1, 200) n")
    slow = "SELECT id, v + length(pg_sleep(0.01)::text) AS v FROM t"
    projection = Projection(
        name="p",
        source=Side(database="a", query=slow),
        target=Side(database="b", table="t"),
        key=["id"],
        settle=0,
    )
    databases = {
        "a": Database(url=postgres_pair.source, statement_timeout="800ms"),
        "b": Database(url=postgres_pair.target),
    }
    with Trueup(databases=databases, projections=[projection], ledger=f"sqlite:///{tmp_path / 'ledger.db'}") as app:
        report = app.check("p")
    assert ([row["key"] for row in report.drift], report.source_rows) == ([{"id": 77}], 200)
    assert report.segments["planned"] == report.segments["done"] >= 3


def test_explicit_keys_are_halved(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(world)
    given_up = impatient(monkeypatch, 3)
    report = world.app().check("p", keys=[{"id": n} for n in (1, 2, 3, 4, 5, 700, 1999)])
    assert len(given_up) >= 2
    assert {row["key"]["id"] for row in report.drift} == {3, 700, 1999}


def test_what_cannot_be_cut_is_said(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One key that takes too long: the error stands, and nothing passes for compared."""
    planted(world)
    impatient(monkeypatch, 0)
    app = world.app()
    with pytest.raises(StatementTimeout):
        app.check("p", keys=[{"id": 3}])
    assert app.runs("p")[0].verdict is not Verdict.IN_SYNC


def test_halving_has_an_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    planted(world)
    given_up = impatient(monkeypatch, 0)
    monkeypatch.setattr(sweep, "SPLITS_MAX", 5)
    with pytest.raises(StatementTimeout):
        world.app().check("p", keys=[{"id": n} for n in range(100)])
    assert len(given_up) > 5


def test_a_stream_that_is_cut_off_goes_on_where_it_was(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that were committed before the time was up are neither read nor counted again."""
    if world.together:
        pytest.skip("nothing is streamed")
    planted(world)
    monkeypatch.setattr(side_by_side, "PIECE_ROWS", 500)
    monkeypatch.setattr(side_by_side, "BATCH_ROWS", 100)
    monkeypatch.setattr(_results, "BATCH_ROWS", 100)
    whole, looks = sweep.narrow, count()

    def narrow(pair: Pair, segment: Segment, **how: bool) -> Iterator[Covered]:
        cut_off = next(looks) < 2
        for at, piece in enumerate(whole(pair, segment, **how)):
            if cut_off and at == 2:
                raise StatementTimeout("too long")
            yield piece

    monkeypatch.setattr(sweep, "narrow", narrow)
    report = world.app(exact=True).check("p", rows=0)
    assert next(looks) >= 3, "it was never cut off"
    assert (report.source_rows, report.target_rows) == (2000, 2000)
    assert sorted(row["key"]["id"] for row in report.drift) == sorted(WRONG)
