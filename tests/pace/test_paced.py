"""A paced adapter answers what the adapter behind it answers, in statements of the size that it should have."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.pace.stepped import SteppedClock
from trueup import Database, Limits, Projection, Report, Side, Trueup
from trueup.adapters import Adapter, connect
from trueup.core.partition import Holding
from trueup.core.plan import Range
from trueup.core.states import Verdict
from trueup.pace.admission import Admission, Gate, Worker
from trueup.pace.paced import Paced, _narrower, _until, _width
from trueup.store.paces import PaceRow

#: Never waits: what is looked at here is what is asked, not when.
WIDE_OPEN = {"adaptive": False, "fixed": 1000, "most": 1000, "statement": "1ms"}
ROWS = 30_000


def fill(url: str, table: str, rows: int, wrong: dict[int, str]) -> None:
    made = f"CREATE TABLE {table} (id INTEGER PRIMARY KEY, n TEXT)"
    values = [(at, wrong.get(at, f"v{at}")) for at in range(1, rows + 1) if wrong.get(at) != "gone"]
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as db, db:
            db.execute(made)
            db.executemany(f"INSERT INTO {table} VALUES (?, ?)", values)
        return
    with psycopg.connect(url, autocommit=True) as pg:
        pg.execute(made)
        with pg.cursor().copy(f"COPY {table} FROM STDIN") as copy:
            for row in values:
                copy.write_row(row)
        pg.execute(f"ANALYZE {table}")


def engine(folder: Path, url: str, other: str = "", **pace: Any) -> Trueup:
    declared = {"pace": pace} if pace else {}
    return Trueup(
        databases={"app": Database(url=url, **declared), "other": Database(url=other or url, **declared)},
        projections=[
            Projection(
                name="copy",
                source=Side(database="app", table="one"),
                target=Side(database="other" if other else "app", table="two"),
                key=["id"],
                writers="same_transaction",
                settle="0s",
                on_extra="delete",
                limits=Limits(rows=10_000, share=1, deletes=1000),
            )
        ],
        ledger=f"sqlite:///{folder}/{'paced' if pace else 'plain'}.db",
    )


def told(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report.to_json_text())
    return {name: value for name, value in found.items() if name not in ("run", "seconds", "segments")}


@pytest.fixture(params=["postgres", "sqlite_url"])
def url(request: pytest.FixtureRequest) -> str:
    """Rows 100, 20,000 and 29,999 differ, 7 is missing, 20,001 to 20,003 are too many."""
    found: str = request.getfixturevalue(request.param)
    fill(found, "one", ROWS, dict.fromkeys(range(20_001, 20_004), "gone"))
    fill(found, "two", ROWS, {100: "x", 20_000: "y", 29_999: "z", 7: "gone"})
    return found


def test_a_paced_check_finds_what_a_plain_one_finds(url: str, tmp_path: Path) -> None:
    with engine(tmp_path, url) as plain, engine(tmp_path, url, **WIDE_OPEN) as paced:
        assert told(paced.check("copy")) == told(plain.check("copy"))


def test_a_paced_repair_repairs_and_says_how_it_went(url: str, tmp_path: Path) -> None:
    with engine(tmp_path, url, **WIDE_OPEN) as paced:
        report = paced.run("copy")
        assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 7)
        assert paced.check("copy").verdict is Verdict.IN_SYNC
        row = paced.paces.find("app")
    assert isinstance(row, PaceRow)
    assert row.nodes == 0  # what it had was given back


def test_a_stream_is_one_transaction_however_many_batches_it_has(sqlite_url: str) -> None:
    """Each batch was taken for one of ours, and so for one less of others."""
    fill(sqlite_url, "one", ROWS, {})
    app, clock = Database(url=sqlite_url), SteppedClock()
    side = Side(database="app", table="one")
    projection = Projection(name="p", source=side, target=side, key=["id"])
    with Trueup(databases={"app": app}, projections=[projection], ledger=f"{sqlite_url}.ledger") as made:
        pair = made.pair(made.binding("p", writing=False))
        gate = Gate("app", 1000.0, 0.001, clock.at_s)
        gate.bucket = replace(gate.bucket, credit=1000.0)
        paced = Paced(pair.source, gate, Admission(clock), Worker(name="w"))
        assert sum(map(len, paced.stream(pair.binding, pair.binding.source, Range(), tokens=False))) == ROWS
        assert gate.begun > 2
        assert gate.committed == 1
        paced.tables()
        assert gate.committed == 2  # the control


def test_two_paced_databases(postgres_pair: Any, tmp_path: Path) -> None:
    fill(postgres_pair.source, "one", ROWS, {5: "gone"})
    fill(postgres_pair.target, "two", ROWS, {100: "x", 29_999: "z"})
    there, here = postgres_pair.source, postgres_pair.target
    with engine(tmp_path, there, here) as plain, engine(tmp_path, there, here, **WIDE_OPEN) as paced:
        assert told(paced.check("copy")) == told(plain.check("copy"))


def test_where_nothing_is_paced_the_adapters_are_the_plain_ones(sqlite_url: str, tmp_path: Path) -> None:
    fill(sqlite_url, "one", 10, {})
    fill(sqlite_url, "two", 10, {})
    with engine(tmp_path, sqlite_url) as plain:
        pair = plain.pair(plain.binding("copy", writing=False))
        with plain._working("check", pair) as same:
            assert same is pair
        assert plain.paces.find("app") is None


def paced_over(app: Trueup) -> tuple[Paced, Any, Any]:
    binding = app.binding("copy", writing=False)
    clock = SteppedClock()
    gate = Gate("app", 1000.0, 0.02, clock.at_s)
    return Paced(app._adapter("app"), gate, Admission(clock), Worker(name="copy")), binding, clock


def asked(paced: Paced, clock: Any, rows_per_s: float) -> list[Range]:
    """Ranges that are compared from now on, by a database that takes its time."""
    found: list[Range] = []
    inner = paced.inner.differences

    def differences(binding: Any, part: Any) -> Any:
        look = inner(binding, part)
        found.append(part)
        clock.pass_(0.0005 + look.counts.source_rows / rows_per_s)
        return look

    paced.inner.differences = differences  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("span", [Range(lower=(1,), upper=(ROWS + 1,)), Range()])
def test_a_range_is_cut_so_that_a_statement_takes_what_it_should(url: str, tmp_path: Path, span: Range) -> None:
    with engine(tmp_path, url) as app:
        paced, binding, clock = paced_over(app)
        ranges = asked(paced, clock, rows_per_s=100_000)
        look = paced.differences(binding, span)
    assert look is not None
    assert (look.counts.source_rows, look.counts.target_rows, look.counts.differing) == (ROWS - 3, ROWS - 1, 7)
    assert ranges[0].lower == span.lower
    assert ranges[-1].upper == span.upper
    assert all(one.upper == two.lower for one, two in pairwise(ranges))
    assert 12 <= len(ranges) <= 40  # 0.3 s of work in statements of about 20 ms
    assert clock.at_s - 1005 < 0.5


def test_rows_are_counted_piece_by_piece(url: str, tmp_path: Path) -> None:
    with engine(tmp_path, url) as app:
        paced, binding, clock = paced_over(app)
        ranges, inner = [], paced.inner.tally

        def tally(side: Any, part: Any, wanted: Any) -> Any:
            ranges.append(part)
            counts = inner(side, part, wanted)
            clock.pass_(0.0005 + (counts or [0])[0] / 100_000)
            return counts

        paced.inner.tally = tally  # type: ignore[method-assign]
        column = binding.target.values[0]
        wanted = [(column, Holding(value=value)) for value in ("v5", "y", None, "nobody's")]
        assert paced.tally(binding.target, Range(), wanted) == [ROWS - 1, 1, 1, 0, 0]
    assert len(ranges) >= 8
    assert all(one.upper == two.lower for one, two in pairwise(ranges))


def test_cutting() -> None:
    span = Range(lower=(0,), upper=(100,))
    assert _width(span) == 100
    assert [_width(other) for other in (Range(lower=(0,)), Range(lower=("a",), upper=("b",)), Range())] == [None] * 3
    assert _narrower(span, 30) == (Range(lower=(0,), upper=(30,)), Range(lower=(30,), upper=(100,)))
    assert _narrower(span, 80) == (span, None)  # no crumbs
    assert _until(span, None) == (span, None)
    assert _until(span, (0,)) == (span, None)  # many rows with one key: not to be cut there


@pytest.mark.parametrize(("u", "many"), [(0.0, 1), (0.3, 1), (1.0, 1), (1.2, 2), (1000.0, 2)])
def test_no_more_connections_than_are_admitted(postgres: str, u: float, many: int) -> None:
    """Two are what the database allows; it is asked anew each time, since what is admitted changes."""
    with closing(engine_adapter(postgres)) as adapter:
        clock = SteppedClock()
        gate = Gate("app", 1000.0, 0.02, clock.at_s)
        paced = Paced(adapter, gate, Admission(clock), Worker(name="w"))
        assert paced.connections() == 2
        gate.u = u
        assert paced.connections() == many
        assert Paced(adapter, None, Admission(clock), Worker(name="w")).connections() == 2, "not paced itself"


def engine_adapter(url: str) -> Adapter:
    return connect("app", Database(url=url))
