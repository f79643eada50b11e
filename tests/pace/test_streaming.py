"""What is read beside a pause: nothing stays open, and each row arrives once, however much changes meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pace.stepped import SteppedClock
from tests.pace.test_paced import ROWS, WIDE_OPEN, fill
from tests.servers import Pair, run_mariadb, run_sql
from trueup import Database, Projection, Report, Side, Trueup
from trueup.adapters import _documents, _results
from trueup.core.kinds import Kind
from trueup.core.plan import Keys, Part, Range
from trueup.core.row import Batch, batch_of
from trueup.core.states import Verdict
from trueup.errors import BrokenRead
from trueup.observe import Silent
from trueup.pace import admission as admitting
from trueup.pace import streaming
from trueup.pace.admission import PAUSE_S, Admission, Gate, Worker
from trueup.pace.open_here import OpenHere
from trueup.pace.streaming import PacedStream
from trueup.python import End
from trueup.python import Part as Wanted

Rows = list[tuple[int, str]]


class Table:
    """Rows that change; who reads them reads one instant of them."""

    def __init__(self, rows: Sequence[tuple[int, str]], size: int, *, parts: bool = True) -> None:
        self.rows, self.size, self.parts = sorted(rows), size, parts
        self.open = 0
        self.begun: list[Part] = []

    def read(self, part: Part) -> Reading:
        return Reading(self, part)


class Reading:
    """A stream of a table."""

    ended = False

    def __init__(self, table: Table, part: Part) -> None:
        self.table, self.part, self.parts = table, part, table.parts

    def __iter__(self) -> Iterator[Batch]:
        table, part = self.table, self.part
        table.begun.append(part)
        low = part.lower[0] if isinstance(part, Range) and part.lower is not None else 0
        rows = [row for row in table.rows if row[0] >= low]  # type: ignore[operator]
        table.open += 1
        try:
            for at in range(0, len(rows), table.size):
                some = rows[at : at + table.size]
                yield batch_of(some, (Kind.INTEGER, Kind.TEXT), 1, tokens=False)
            self.ended = True
        finally:
            table.open -= 1


def rows_of(batches: Sequence[Batch]) -> Rows:
    return [row for batch in batches for row in zip(batch.keys[0], batch.values[0], strict=True)]  # type: ignore[misc]


TABLE = st.lists(st.tuples(st.integers(0, 20), st.sampled_from("abc")), max_size=40)


@given(tables=st.lists(TABLE, min_size=1, max_size=4), size=st.integers(1, 7), pauses=st.sets(st.integers(0, 30)))
def test_all_rows_of_a_key_are_of_one_instant_and_none_is_left_out(
    tables: list[Rows], size: int, pauses: set[int]
) -> None:
    """At each pause all rows become other ones."""
    open_here, table = OpenHere(), Table(tables[0], size)
    instants = [sorted(rows) for rows in tables]
    stream = PacedStream(table.read, Range(), nullcontext, open_here)
    found: list[Batch] = []
    for at, batch in enumerate(stream):
        found.append(batch)
        if at in pauses:
            open_here.let_go()
            assert table.open == 0
            table.rows = instants[at % len(instants)]
    assert stream.ended
    assert (table.open, open_here.here()) == (0, [])
    rows = rows_of(found)
    assert [key for key, _ in rows] == sorted(key for key, _ in rows)
    for key, some in groupby(rows, key=itemgetter(0)):
        assert sorted(some) in [[row for row in rows if row[0] == key] for rows in instants]
    everywhere = set.intersection(*({key for key, _ in rows} for rows in instants))
    assert everywhere <= {key for key, _ in rows}
    if not pauses:
        assert rows == instants[0]


def test_a_key_with_very_many_rows_is_handed_on_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "SAME_KEY_MAX", 5)
    open_here, table = OpenHere(), Table([(7, "a")] * 20, 2)
    stream = PacedStream(table.read, Range(), nullcontext, open_here)
    found = []
    for batch in stream:
        found.append(batch)
        open_here.let_go()  # not any more: which of them were handed on is not known
    assert (len(rows_of(found)), len(table.begun), stream.ended) == (20, 1, True)


KEYS = Keys(keys=((1,),))


@pytest.mark.parametrize(("part", "parts"), [(KEYS, True), (Range(), False)])
@pytest.mark.parametrize(
    ("many", "opened"),
    [
        pytest.param(0, [], id="none"),
        pytest.param(1, [0], id="less than a batch"),
        pytest.param(5, [1, 1, 0], id="some batches and less"),
        pytest.param(6, [1, 1, 1], id="some batches"),
    ],
)
def test_what_cannot_be_cut_is_of_one_instant_and_ends_with_its_last_rows(
    monkeypatch: pytest.MonkeyPatch, part: Part, parts: bool, many: int, opened: list[int]
) -> None:
    """`opened`: is the table open, while what was handed on is worked on?"""
    monkeypatch.setattr(streaming, "BATCH_ROWS", 2)
    open_here, table = OpenHere(), Table([(at, "a") for at in range(many)], 2, parts=parts)
    stream = PacedStream(table.read, part, nullcontext, open_here)
    found, seen = [], []
    for batch in stream:
        found.append(batch)
        open_here.let_go()
        seen.append(table.open)
        table.rows = [(at, "b") for at, _ in table.rows]
    assert rows_of(found) == [(at, "a") for at in range(many)]
    assert (seen, len(table.begun), table.open, stream.ended) == (opened, 1, 0, True)


def test_a_small_read_by_key_is_one_admission() -> None:
    admitted: list[int] = []

    def admission(_first: bool) -> nullcontext[None]:
        admitted.append(1)
        return nullcontext()

    table = Table([(at, "a") for at in range(500)], 10_000)
    assert len(rows_of(list(PacedStream(table.read, KEYS, admission, OpenHere())))) == 500
    assert len(admitted) == 1


def test_who_reads_no_further_leaves_nothing_open_and_has_no_proof() -> None:
    open_here, table = OpenHere(), Table([(at, "a") for at in range(6)], 2)
    stream = PacedStream(table.read, Range(), nullcontext, open_here)
    batches = iter(stream)
    next(batches)
    assert (table.open, len(open_here.here())) == (1, 1)
    batches.close()  # type: ignore[attr-defined]
    assert (table.open, open_here.here(), stream.ended) == (0, [], False)


@pytest.mark.parametrize("why", ["paused", "closed", "none"])
def test_what_is_open_is_let_go_of_at_a_pause_and_not_at_a_rest(why: str) -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), Gate("app", 1000.0, 0.02, clock.at_s)
    table, seen = Table([(at, "a") for at in range(9)], 3), list[int]()
    worker = Worker(name="w", look=lambda: seen.append(table.open), paused=lambda: why == "paused" and len(seen) == 1)
    stream = PacedStream(table.read, Range(), lambda _: admission.admitted([gate], worker), worker.open_here)
    batches = iter(stream)
    next(batches)
    clock.pass_(1)
    next(batches)  # a look
    if why == "closed":
        admission.permit(gate, 0.0, 0.02)
        waits = int(PAUSE_S / admitting.LOOK_S) + 2
        clock.meanwhile = [lambda: None] * waits + [lambda: admission.permit(gate, 1000.0, 0.02)]
    elif why == "none":  # a rest of a minute
        admission.permit(gate, 0.001, 0.02)
        gate.bucket = gate.bucket.__class__(credit=-0.06, at=clock.at_s)
    clock.pass_(1)
    rows = [*rows_of(list(batches))]
    assert [key for key, _ in rows][-3:] == [6, 7, 8]
    assert (seen[0], seen[-1] if why != "paused" else seen[1]) == (1, 1 if why == "none" else 0)
    assert len(table.begun) == (1 if why == "none" else 2)


_SNAPSHOTS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'trueup' AND state <> 'idle' AND xact_start IS NOT NULL"""


class Paused(Silent):
    """Somebody who looks when a run is paused, changes rows behind what was read, and lets it go on."""

    def __init__(self, meanwhile: Callable[[], None]) -> None:
        self.meanwhile = meanwhile
        self.pauses = 0

    def paused(self, why: str) -> None:
        self.pauses += 1
        self.meanwhile()


def pausing(monkeypatch: pytest.MonkeyPatch, at: int, before: Callable[[], None]) -> None:
    """Call `before` when the batch number `at` of a run is about to be read."""
    real, batches = PacedStream._next, list[int]()

    def counting(self: PacedStream) -> Any:
        batches.append(1)
        if len(batches) == at:
            before()
        return real(self)

    for reading in (_results, streaming):
        monkeypatch.setattr(reading, "BATCH_ROWS", 1_000)
    monkeypatch.setattr(admitting, "LOOK_S", 0.0)
    monkeypatch.setattr(PacedStream, "_next", counting)


def engine(folder: Path, told: Paused, pair: Pair, source: Side, target: Side) -> Trueup:
    """Compares two sides row by row."""
    urls = {"app": pair.source, "other": pair.target}
    return Trueup(
        databases={name: Database(url=url, pace=WIDE_OPEN) for name, url in urls.items()},  # type: ignore[arg-type]
        projections=[
            Projection(
                name="copy",
                source=source,
                target=target,
                key=["id"],
                exact=True,
                writers="same_transaction",
                settle="0s",
            )
        ],
        ledger=f"sqlite:///{folder}/ledger.db",
        progress=told,
    )


def test_a_paused_run_keeps_no_snapshot_open(
    postgres_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(postgres_pair.source, "one", ROWS, {5: "gone"})
    fill(postgres_pair.target, "two", ROWS, {100: "x", 29_999: "z"})
    opened: dict[str, list[Any]] = {"going on": [], "paused": []}

    def look(when: str) -> None:
        opened[when].append([run_sql(url, _SNAPSHOTS)[0][0] for url in postgres_pair])

    def pause() -> None:
        look("going on")
        app.pause("copy")

    def meanwhile() -> None:
        look("paused")
        for url, table in zip(postgres_pair, ("one", "two"), strict=True):
            run_sql(url, f"UPDATE {table} SET n = 'moved' WHERE id = 29000", f"DELETE FROM {table} WHERE id = 29001")
        app.resume("copy")

    pausing(monkeypatch, 30, pause)  # of some sixty, of both sides
    told = Paused(meanwhile)
    source, target = Side(database="app", table="one"), Side(database="other", table="two")
    with engine(tmp_path, told, postgres_pair, source, target) as app:
        report: Report = app.check("copy")
    assert told.pauses == 1
    assert opened == {"going on": [[1, 1]], "paused": [[0, 0]]}
    assert {row["key"]["id"] for row in report.drift} == {5, 100, 29_999}
    assert (report.source_rows, report.target_rows) == (ROWS - 2, ROWS - 1)


@pytest.mark.parametrize("paused", [False, True])
def test_a_pause_hides_no_value_that_mariadb_coerced(
    mariadb_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """Row 5 is 'n/a' and is read as 0, as the target has it. The server says so after the last row; then the row is
    searched for.
    """
    for url, kind, value in zip(mariadb_pair, ("TEXT", "INT"), ("'n/a'", "0"), strict=True):
        run_mariadb(
            url,
            f"CREATE TABLE held (id INT PRIMARY KEY, n {kind})",
            f"INSERT INTO held SELECT seq, IF(seq = 5, {value}, seq) FROM seq_1_to_4000",
        )
    pausing(monkeypatch, 6, lambda: app.pause("copy") if paused else None)
    told = Paused(lambda: app.resume("copy"))
    source = Side(database="app", query="SELECT id, CAST(n AS SIGNED) AS n FROM held")
    target = Side(database="other", table="held")
    with engine(tmp_path, told, mariadb_pair, source, target) as app:
        report = app.check("copy")
    assert told.pauses == paused
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "{'id': 5}: databases.app: a value was coerced" in report.reason


@pytest.mark.parametrize("paused", [False, True])
def test_a_pause_hides_no_change_of_a_file(
    postgres_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paused: bool
) -> None:
    """Rows that were read are other ones by the time that the last is read."""
    fill(postgres_pair.source, "one", ROWS, {})
    csv = tmp_path / "two.csv"

    def write(first: str) -> None:
        csv.write_text("id,n\n" + "".join(f"{at},{first if at == 1 else f'v{at}'}\n" for at in range(1, ROWS + 1)))

    def change() -> None:
        write("another")
        if paused:
            app.pause("copy")

    write("v1")
    pausing(monkeypatch, 20, change)
    told = Paused(lambda: app.resume("copy"))
    source, target = Side(database="app", table="one"), Side(file=str(csv))
    with engine(tmp_path, told, postgres_pair, source, target) as app, pytest.raises(BrokenRead, match="changed while"):
        app.check("copy")
    assert told.pauses == paused


#: How often `rows_of_python` was asked for its rows.
_SCANS: list[int] = []


def rows_of_python(_: Wanted) -> Iterator[list[dict[str, Any]] | End]:
    _SCANS.append(1)
    for first in range(1, ROWS, 1_000):
        yield [{"id": at, "n": f"v{at}"} for at in range(first, first + 1_000)]
    yield End()


def test_what_keeps_no_snapshot_is_not_read_again_for_a_pause(
    postgres_pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(postgres_pair.source, "one", ROWS, {})
    _SCANS.clear()
    monkeypatch.setattr(_documents, "BATCH_ROWS", 1_000)
    pausing(monkeypatch, 20, lambda: app.pause("copy"))
    told = Paused(lambda: app.resume("copy"))
    source = Side(python=f"{__name__}:rows_of_python", types={"id": "integer", "n": "text"})
    target = Side(database="app", table="one")
    with engine(tmp_path, told, postgres_pair, source, target) as app:
        assert app.check("copy").verdict is Verdict.IN_SYNC
    assert (told.pauses, len(_SCANS)) == (1, 1)
