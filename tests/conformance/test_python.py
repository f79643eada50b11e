"""Python sides: what counts as read, what errors mean, and where functions are looked for."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.conformance.worlds import UNLIMITED, EngineClock
from trueup import ConfigError, Database, Projection, Side, Trueup, Verdict, load
from trueup.errors import BrokenRead, DesignProblem, StatementTimeout, Transient
from trueup.python import Change, DataProblem, End, Part, side

ROWS = [{"id": 1, "n": 10}, {"id": 2, "n": 20}]
#: What the function of a test does.
Does = Callable[[Part], Iterator[Any]]
BEHAVES: list[Does] = []


@side(key="id", columns={"id": "integer", "n": "integer"}, transient=LookupError)
def system(part: Part) -> Iterator[Any]:
    return BEHAVES[0](part)


def plain(part: Part) -> Iterator[Any]:
    return BEHAVES[0](part)


class World:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.opened: list[Trueup] = []
        with closing(sqlite3.connect(folder / "app.db")) as c, c:
            c.execute("CREATE TABLE copy (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
            c.executemany("INSERT INTO copy VALUES (:id, :n)", ROWS)

    def app(self, does: Does, function: str = "system", **declared: Any) -> Trueup:
        BEHAVES[:] = [does]
        source = Side(python=f"{__name__}:{function}", **declared)
        projection = Projection(
            name="p",
            source=source,
            target=Side(database="app", table="copy"),
            key="id",
            columns="n",
            writers="absolute",
            settle=0,
            on_extra="delete",
            limits=UNLIMITED,
        )
        self.opened.append(
            Trueup(
                databases={"app": Database(url=f"sqlite:///{self.folder / 'app.db'}")},
                projections=[projection],
                ledger=f"sqlite:///{self.folder / f'ledger{len(self.opened)}.db'}",
                clock=EngineClock(),
                retry={"tries": 3},
            )
        )
        return self.opened[-1]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    for app in made.opened:
        app.close()


def yields(*items: Any) -> Does:
    return lambda part: iter(items)


def test_what_is_yielded_and_ended_is_compared(world: World) -> None:
    rows = [(2, 20), (1, 10)]
    for items in ([ROWS, End()], [[ROWS[1]], [], [ROWS[0]], End(rows=2)], [rows, End(rows=2)]):
        assert world.app(yields(*items)).check("p").verdict is Verdict.IN_SYNC
    report = world.app(yields([{"id": 2, "n": 21}, {"id": 3, "n": 1}], End(rows=2))).check("p")
    assert (report.missing, report.different, report.extra) == (1, 1, 1)


@pytest.mark.parametrize(
    ("items", "why"),
    [
        ([ROWS], "without an End"),
        ([], "without an End"),
        ([End()], "has to be said: End"),
        ([ROWS, End(rows=3)], "2 rows came, and its End says 3"),
        ([ROWS, End(), ROWS], "after its End"),
        ([ROWS, [ROWS[0]], End(rows=3)], "came twice"),
        ([[{"id": None, "n": 1}], End()], "has no key"),
        ([ROWS[0], End()], "yield lists of rows"),
    ],
)
def test_what_is_not_proven_counts_for_nothing(world: World, items: list[Any], why: str) -> None:
    with pytest.raises(BrokenRead, match=why):
        world.app(yields(*items)).run("p")
    with closing(sqlite3.connect(world.folder / "app.db")) as c:
        assert c.execute("SELECT count(*) FROM copy").fetchone() == (2,)


def test_that_nothing_is_there_is_believed_where_it_is_said(world: World) -> None:
    report = world.app(yields(End(rows=0))).run("p")
    assert (report.verdict, report.repaired, report.source_rows) == (Verdict.REPAIRED, 2, 0)


def fails(*errors: Exception, after: int = 1) -> Does:
    """Raises these, one a time; then it is well."""
    left = list(errors)

    def does(part: Part) -> Iterator[Any]:
        yield ROWS[:after]
        if left:
            raise left.pop(0)
        yield ROWS[after:]
        yield End(rows=2)

    return does


def test_errors_that_would_pass_are_tried_again(world: World) -> None:
    errors = [TimeoutError("slow"), LookupError("its own"), Transient("said so"), ConnectionResetError()]
    for error in errors:
        assert world.app(fails(error)).check("p").verdict is Verdict.IN_SYNC
    with pytest.raises(Transient, match=r"test_python:system: TimeoutError: slow \(tried 3 times"):
        world.app(fails(*[TimeoutError("slow")] * 3)).check("p")


def test_any_other_error_ends_the_run_and_names_its_place(world: World) -> None:
    with pytest.raises(DesignProblem, match=r"test_python:system: ValueError: x \(.*test_python.py:\d+\)"):
        world.app(fails(ValueError("x"))).check("p")


def test_a_row_that_cannot_be_handled_is_told_of(world: World) -> None:
    report = world.app(yields([{"id": 1, "n": object()}, ROWS[1]], End())).check("p")
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "cannot be compared" in report.reason
    for document in ({"price": Decimal("1.5")}, {"price": float("nan")}):
        report = world.app(yields([{"id": 1, "n": document}, ROWS[1]], End())).check("p")
        assert report.verdict is Verdict.INCONCLUSIVE
        assert "cannot be compared" in report.reason
    report = world.app(fails(*[DataProblem("bad")] * 30)).check("p")
    assert report.verdict is Verdict.INCONCLUSIVE


def test_a_time_limit_is_looked_at_between_batches(world: World) -> None:
    left: list[float] = []

    def slow(part: Part) -> Iterator[Any]:
        left.append(part.seconds_left)
        yield ROWS[:1]
        object.__setattr__(part, "until", 0.0)  # as if it had taken so long
        yield ROWS[1:]
        yield End(rows=2)

    with pytest.raises(StatementTimeout, match="longer than 7 s"):
        world.app(slow, timeout="7s").check("p")
    assert 6 < left[0] <= 7


def test_it_is_asked_by_key_and_by_range(world: World) -> None:
    asked: list[Part] = []

    def notes(part: Part) -> Iterator[Any]:
        asked.append(part)
        yield ROWS
        yield End(rows=2)

    app = world.app(notes)
    assert app.check("p", keys=[{"id": 2}]).source_rows == 1
    assert (asked[0].keys, asked[0].columns) == ([{"id": 2}], ("id", "n"))
    assert app.check("p").source_rows == 2
    assert (asked[1].keys, asked[1].lower, asked[1].upper) == (None, None, None)


def test_without_columns_the_other_side_says_what_they_are(world: World) -> None:
    assert world.app(yields([{"id": 1, "n": 10, "more": 1}, ROWS[1]], End()), "plain").check("p").verdict == "in_sync"
    app = world.app(yields([{"id": "1", "n": "10"}, ROWS[1]], End()), "plain", types={"id": "text", "n": "text"})
    with pytest.raises(ConfigError, match="'id'"):
        app.check("p")
    report = world.app(yields([ROWS[0], ROWS[1], ROWS[1]], End()), "plain").check("p")  # no key was declared
    assert report.duplicate_keys["source"] == 1
    assert "a row has no 'n'" in world.app(yields([{"id": 1}], End()), "plain").check("p").reason


def test_a_side_without_a_writer_is_not_repaired(world: World) -> None:
    function = f"{__name__}:system"
    BEHAVES[:] = [yields(ROWS, End())]
    projection = Projection(
        name="p", source=Side(database="app", table="copy"), target=Side(python=function), key="id", writers="absolute"
    )
    databases = {"app": Database(url=f"sqlite:///{world.folder / 'app.db'}")}
    app = Trueup(databases=databases, projections=[projection], ledger=f"sqlite:///{world.folder / 'l.db'}")
    world.opened.append(app)
    assert app.check("p").verdict is Verdict.IN_SYNC
    with pytest.raises(ConfigError, match="can be repaired"):
        app.run("p")


KEPT: dict[int, int] = {}


def _keeps(change: Change) -> bool:
    if change.key["id"] == 2:
        raise DataProblem("no room for 2")
    if change.after is None:
        del KEPT[change.key["id"]]
    else:
        KEPT[change.key["id"]] = change.after["n"]
    return True


@side(key="id", columns={"id": "integer", "n": "integer"}, writer=_keeps)
def kept(part: Part) -> Iterator[Any]:
    yield list(KEPT.items())
    yield End(rows=len(KEPT))


class Answer:
    """What is neither True nor a number, and true."""


def _said(change: Change) -> Any:
    if change.key["id"] == 2:
        return None
    _keeps(change)
    return Answer()


@side(key="id", columns={"id": "integer", "n": "integer"}, writer=_said)
def wordless(part: Part) -> Iterator[Any]:
    yield list(KEPT.items())
    yield End(rows=len(KEPT))


FORGOTTEN: list[object] = []


@side(key="id", columns={"id": "integer", "n": "integer"}, writer=lambda change: FORGOTTEN.append(change.key))  # type: ignore[arg-type, return-value]
def forgetful(part: Part) -> Iterator[Any]:
    yield End(rows=0)


@side(key="id", columns={"id": "integer", "n": "integer"}, writer=lambda change: True)
def pretending(part: Part) -> Iterator[Any]:
    yield End(rows=0)


def _into(folder: Path, function: str) -> Trueup:
    """A table of one row, and a function that is its copy."""
    with closing(sqlite3.connect(folder / "app.db")) as c, c:
        c.execute("CREATE TABLE src (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)")
        c.executemany("INSERT INTO src VALUES (?, 7)", [(1,), (2,), (3,)])
    projection = Projection(
        name="p",
        source=Side(database="app", table="src"),
        target=Side(python=f"{__name__}:{function}"),
        key="id",
        writers="absolute",
        settle=0,
        limits=UNLIMITED,
    )
    return Trueup(
        databases={"app": Database(url=f"sqlite:///{folder / 'app.db'}")},
        projections=[projection],
        ledger=f"sqlite:///{folder / 'ledger.db'}",
        clock=EngineClock(),
    )


def test_a_writer_that_does_not_say_whether_it_wrote_ends_the_run(tmp_path: Path) -> None:
    with closing(_into(tmp_path, "forgetful")) as app, pytest.raises(DesignProblem, match="returned nothing for"):
        app.run("p")
    assert FORGOTTEN == [{"id": 1}]


def test_a_row_that_is_never_there_is_left_with_what_was_seen(tmp_path: Path) -> None:
    with closing(_into(tmp_path, "pretending")) as app:
        report = app.run("p")
        told = {outcome.evidence for outcome in app.outcomes(report.run)}
    assert told == {"contended at every try: it does not hold what was written a moment ago"}


def test_a_row_that_is_refused_takes_nothing_from_those_that_were_written_before(tmp_path: Path) -> None:
    KEPT.clear()
    app = _into(tmp_path, "kept")
    with closing(app):
        report = app.run("p")
        assert (report.repaired, report.left, KEPT) == (2, 1, {1: 7, 3: 7})
        assert "no room for 2" in app.drift("p")[0].reason
        assert app.rollback(report.run).repaired == 2
    assert KEPT == {}


def test_a_writer_that_stops_saying_what_it_did_takes_nothing_from_what_it_has_said(tmp_path: Path) -> None:
    KEPT.clear()
    with closing(_into(tmp_path, "wordless")) as app:
        report = app.run("p")
        assert (report.repaired, report.left, KEPT) == (1, 2, {1: 7})
        assert all("returned nothing for {'id': 2}" in row.reason for row in app.drift("p"))
        assert app.rollback(report.run).repaired == 1
    assert KEPT == {}


def test_functions_are_found_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "found_here").mkdir()
    (tmp_path / "found_here" / "crm.py").write_text(
        "from trueup.python import End\n"
        "class Crm:\n"
        "    def customers(self, part):\n"
        "        yield [{'id': 1, 'name': 'Ann'}]\n"
        "        yield End(rows=1)\n"
        "crm = Crm()\n"
        "number = 5\n"
    )
    text = (
        '[projections.p]\nsource = { python = "found_here.crm:REFERENCE", types = { id = "integer", name = "text" } }\n'
        'target = { file = "copy.csv" }\nkey = "id"\n'
    )
    (tmp_path / "copy.csv").write_text("id,name\n1,Ann\n")
    for reference, why in (("no", "there is no 'no'"), ("number", "it is a int"), ("crm.customers", "")):
        (tmp_path / "trueup.toml").write_text(text.replace("REFERENCE", reference))
        with load(tmp_path / "trueup.toml") as app:
            if not why:
                assert app.check("p").verdict is Verdict.IN_SYNC
                continue
            with pytest.raises(ConfigError, match=f"projections.p.source.python: found_here.crm:{reference}: {why}"):
                app.check("p")
    (tmp_path / "trueup.toml").write_text(text.replace("found_here.crm", "not_here"))
    with load(tmp_path / "trueup.toml") as app, pytest.raises(ConfigError, match=f"{tmp_path}"):
        app.check("p")


@pytest.mark.parametrize(
    ("declared", "why"),
    [
        ({"python": "no colon"}, "write module:name"),
        ({"python": "a:b", "database": "app"}, "in no database"),
        ({"database": "app", "table": "t", "timeout": "5s"}, "`timeout` is about a `python`"),
    ],
)
def test_a_wrong_declaration_is_refused_at_once(declared: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Side(**declared)


@side(key="id", columns={"id": "integer", "at": "timestamp"})
def timed(part: Part) -> Iterator[Any]:
    return BEHAVES[0](part)


@pytest.mark.parametrize("odd", ["soon", 7, "", 0])
def test_what_is_no_time_is_in_no_bucket_of_time(tmp_path: Path, odd: Any) -> None:
    """It was compared with the times of other rows, which ended the run with a traceback."""
    rows = [{"id": 1, "at": "2016-03-01T00:00:00"}, {"id": 2, "at": "2016-03-02T00:00:00"}, {"id": 3, "at": None}]
    with closing(sqlite3.connect(tmp_path / "app.db")) as c, c:
        c.execute("CREATE TABLE copy (id INTEGER PRIMARY KEY, at TIMESTAMP)")
        c.executemany("INSERT INTO copy VALUES (:id, replace(:at, 'T', ' '))", rows)
    projection = Projection(
        name="p",
        source=Side(python=f"{__name__}:timed"),
        target=Side(database="app", table="copy"),
        key="id",
        columns="at",
        settle=0,
        partition={"by": "time", "column": "at", "bucket": "1d"},
    )
    databases = {"app": Database(url=f"sqlite:///{tmp_path / 'app.db'}")}
    with Trueup(databases=databases, projections=[projection], ledger=f"sqlite:///{tmp_path / 'ledger.db'}") as app:
        BEHAVES[:] = [yields(rows, End())]
        assert app.check("p").verdict is Verdict.IN_SYNC, "the control"
        BEHAVES[:] = [yields([*rows, {"id": 4, "at": odd}], End())]
        with pytest.raises(DataProblem, match=f"'at' holds {odd!r}, which no calendar has"):
            app.check("p")
