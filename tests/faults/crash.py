"""kill -9 at every call that the engine makes to its ports, and what must hold afterwards.

A child process runs the engine on a few rows and kills itself at the n-th point: before and after each writing method
of the ledger, each method of an adapter, each step of a repair unit, and each COMMIT of any database. Then this process
runs the engine again and looks, with SQL of its own, at what both of them left behind.
"""

from __future__ import annotations

import functools
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from tests.live.harness import WIDE, Db, QuickClock, databases, instead, keys_per_segment, until
from trueup import Projection, Refused, Report, Side, Trueup
from trueup.adapters import _sql, _units, postgresql, sqlite
from trueup.core.states import Verdict
from trueup.observe import Silent
from trueup.store.ledger import Ledger
from trueup.store.standing import Standing

_children = multiprocessing.get_context("forkserver")
_children.set_forkserver_preload(["tests.faults.crash"])

#: Rows of the source: id -> value.
TRUTH = {1: 10, 2: 20, 3: 30, 4: 40}
#: Rows of the copy: 1 is different, 3 is missing, 20 should not be there. Read in two segments, repaired in two units.
COPY = {1: 1, 2: 20, 4: 40, 20: 5}
EXTRA = {20}
WRITES = {
    True: tuple(
        f"CREATE TRIGGER w{op[0]} AFTER {op} ON copy BEGIN INSERT INTO writes VALUES ({row}.id, '{op}'); END"
        for op, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old"))
    ),
    False: (
        "CREATE FUNCTION w() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN INSERT INTO writes VALUES (coalesce(new.id, old.id), tg_op); RETURN NULL; END'",
        "CREATE TRIGGER w AFTER INSERT OR UPDATE OR DELETE ON copy FOR EACH ROW EXECUTE FUNCTION w()",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A topology: where source and copy are, and whether the target may keep markers."""

    name: str
    source: str
    target: str
    folder: Path
    markers: bool = True
    on_extra: str = "delete"
    #: `run`, or `apply` of a plan made beforehand.
    command: str = "run"

    @property
    def one(self) -> bool:
        return self.source == self.target

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    def build(self) -> None:
        """Tables, once; `reset` brings the rows back."""
        Db(self.source).sql("CREATE TABLE truth(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)")
        copy = Db(self.target)
        copy.sql(
            "CREATE TABLE copy(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)", "CREATE TABLE writes(id INT, op TEXT)"
        )
        Ledger(f"sqlite:///{self.folder / 'empty.db'}").close()
        copy.sql(*WRITES[copy.sqlite])

    def reset(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{self.ledger}{suffix}").unlink(missing_ok=True)
        shutil.copy(self.folder / "empty.db", self.ledger)
        truth, copy = Db(self.source), Db(self.target)
        truth.together("DELETE FROM truth", f"INSERT INTO truth VALUES {_rows(TRUTH)}")
        copy.together(
            "DROP TABLE IF EXISTS trueup_applied",
            "DROP TABLE IF EXISTS trueup_fence",
            "DELETE FROM copy",
            f"INSERT INTO copy VALUES {_rows(COPY)}",
            "DELETE FROM writes",
        )
        if self.command == "apply":
            with small(), self.engine() as engine:
                (self.folder / "plan").write_text(engine.plan("copy").plan)

    def go(self, engine: Trueup) -> Report:
        return engine.apply((self.folder / "plan").read_text()) if self.command == "apply" else engine.run("copy")

    def engine(self, progress: Silent | None = None) -> Trueup:
        target = "here" if self.one else "there"
        projection = Projection(
            name="copy",
            source=Side(database="here", table="truth"),
            target=Side(database=target, table="copy"),
            key="id",
            on_extra=self.on_extra,
            writers="same_transaction" if self.one else "absolute",
            settle="0s",
            limits=WIDE,
        )
        return Trueup(
            databases=databases({"here": self.source, "there": self.target}, markers=self.markers),
            projections=[projection],
            ledger=f"sqlite:///{self.ledger}",
            clock=QuickClock(),
            progress=progress,
        )


def _rows(rows: dict[int, int]) -> str:
    return ", ".join(map(str, rows.items()))


@contextmanager
def small() -> Iterator[None]:
    """Several segments and units out of a handful of rows."""
    with ExitStack() as stack:
        stack.enter_context(keys_per_segment(2))
        for owner, name, value in (
            (sqlite, "SEGMENT_ROWS", 2),
            (postgresql, "COST_PER_SEGMENT", 1.0),
            (postgresql, "RANGES_PAY_BELOW", 1e6),
        ):
            stack.enter_context(instead(owner, name, value))
        yield


# --- dying -----------------------------------------------------------------------------------------------------------


class Points:
    """Counts points, and dies at one of them."""

    def __init__(self, die_at: int) -> None:
        self.die_at = die_at
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: type, *methods: str) -> None:
        for method in methods:
            setattr(owner, method, self._wrapped(getattr(owner, method), f"{owner.__name__}.{method}"))

    def _wrapped(self, original: Callable[..., Any], name: str) -> Callable[..., Any]:
        @functools.wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            self(f"before {name}")
            result = original(*args, **kwargs)
            self(f"after {name}")
            return result

        return call


def install(points: Points) -> None:
    points.around(
        Ledger,
        *("start_run", "set_stage", "set_state", "commit_narrowed", "commit_confirmed", "close_segment"),
        *("open_unit", "close_unit"),
    )
    points.around(Standing, "found", "settled", "only")
    points.around(_sql.SqlAdapter, "raise_fence", "repair", "claim", "differences", "stream")
    for adapter in (sqlite.SqliteAdapter, postgresql.PostgresqlAdapter):
        points.around(adapter, "describe", "survey")
    points.around(
        _units.UnitTransaction,
        *("hold_fence", "leave_marker", "insert_placeholders", "lock", "read_source_here", "read_target"),
        *("update", "delete", "sign_marker"),
    )
    points.around(DefaultDialect, "do_commit")


def _child(case: Case, die_at: int, prepare: Callable[[], None] | None, answer: Connection) -> None:
    if prepare:
        prepare()
    points = Points(die_at)
    install(points)
    with small(), case.engine() as engine:
        case.go(engine)
    answer.send(points.names)


def attempt(case: Case, die_at: int, prepare: Callable[[], None] | None = None) -> list[str] | None:
    """Run the engine in a child that dies at point `die_at`; the names of all points if it lived to the end."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    child = _children.Process(target=_child, args=(case, die_at, prepare, theirs))
    child.start()
    theirs.close()
    with closing(mine):
        try:
            names = mine.recv() if mine.poll(60) else None
        except EOFError:
            names = None
        child.join(60)
        assert child.exitcode in (0, -signal.SIGKILL), f"{case.name}, point {die_at}: the child ended {child.exitcode}"
        assert (names is None) == (child.exitcode != 0)
    for url in {case.source, case.target}:
        gone(Db(url))
    return names


def gone(db: Db) -> None:
    """Until the server has noticed that the client of every session of ours is dead."""
    if not db.sqlite:
        ours = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'trueup'"
        with closing(db.connect()) as c:
            until(lambda: not c.execute(ours).fetchall(), "the server to end a killed client's sessions")


# --- judging ---------------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Seen:
    """What both databases and the ledger hold at one moment."""

    copy: dict[int, int]
    writes: list[int]
    runs: dict[str, str]
    #: Narrowing segments done.
    narrowed: int
    segments_done: set[int]
    units: set[str]
    ledger: dict[str, list[dict[str, Any]]] = field(default_factory=dict)


def see(case: Case) -> Seen:
    target = Db(case.target)
    with closing(sqlite3.connect(case.ledger)) as c:
        c.row_factory = sqlite3.Row
        tables = ("runs", "segments", "decisions", "units", "outcomes", "drift")
        ledger = {t: [dict(row) for row in c.execute(f"SELECT * FROM trueup_{t}")] for t in tables}
    done = [row for row in ledger["segments"] if row["state"] == "done"]
    return Seen(
        copy=dict(target.sql("SELECT id, val FROM copy")),
        writes=[row[0] for row in target.sql("SELECT id FROM writes")],
        runs={row["id"]: row["state"] for row in ledger["runs"]},
        narrowed=sum(row["stage"] == "narrow" for row in done),
        segments_done={row["id"] for row in done},
        units={row["id"] for row in ledger["units"]},
        ledger=ledger,
    )


def scratch(folder: Path) -> Path:
    """A folder in memory where there is one: a killed process loses nothing there, and nobody waits for a disk."""
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        return folder
    made = shm / f"trueup-{folder.name}-{os.getpid()}"
    made.mkdir(exist_ok=True)
    return made


class Told(Silent):
    """What the second run says about its narrowing."""

    def __init__(self) -> None:
        self.first: int | None = None

    def narrowed(self, done: int, planned: int, counts: Any) -> None:
        if self.first is None:
            self.first = done


def again(case: Case) -> tuple[Report | None, Told]:
    """The second run; no report where the first had done it all."""
    told = Told()
    with small(), case.engine(told) as engine:
        try:
            return case.go(engine), told
        except Refused as refused:
            if "applied already" not in str(refused):
                raise
            return None, told


def judge(case: Case, crashed: Seen, report: Report | None, told: Told, final: Seen) -> list[str]:
    """Everything that is not as promised."""
    wrong: list[str] = []

    def must(holds: object, what: str) -> None:
        if not holds:
            wrong.append(what)

    extra = {} if case.on_extra == "delete" else {key: COPY[key] for key in EXTRA}
    must(final.copy == TRUTH | extra, f"the copy is {final.copy}")
    changed = {key for key in COPY | TRUTH if COPY.get(key) != final.copy.get(key)}
    must(sorted(final.writes) == sorted(changed), f"committed writes: {final.writes}")

    outcomes = [{**row, "key": json.loads(row["key"])[0]} for row in final.ledger["outcomes"]]
    told_true = ("applied",) if case.markers else ("applied", "converged")
    done = [row for row in outcomes if row["outcome"] in told_true]
    must(sorted(row["key"] for row in done) == sorted(changed), f"{told_true}: {[row['key'] for row in done]}")
    for row in done:
        if row["outcome"] == "applied":
            must(_image(row["before"]) == COPY.get(row["key"]), f"before-image of {row}")
            must(_image(row["after"]) == final.copy.get(row["key"]), f"after-image of {row}")
    written = set(crashed.writes)
    lies = [row for row in outcomes if row["outcome"] == "not_applied" and row["key"] in written]
    must(not lies, f"said to be not applied, but written: {lies}")

    decided = {json.loads(row["key"])[0] for row in final.ledger["decisions"] if row["action"] != "report"}
    last = {row["key"]: row["outcome"] for row in outcomes}
    must(decided <= last.keys(), f"decisions without an outcome: {decided - last.keys()}")
    must("not_applied" not in last.values(), f"left as not applied: {last}")
    must(all(row["closed_at"] for row in final.ledger["units"]), "a unit is still open")
    standing = {json.loads(row["key"])[0] for row in final.ledger["drift"]}
    must(standing == extra.keys(), f"standing drift: {standing}")
    if case.markers:
        rows = Db(case.target).sql("SELECT unit, images FROM trueup_applied WHERE NOT closed")
        marked = {unit for unit, images in rows if any(i["outcome"] == "applied" for i in json.loads(images))}
        must(marked == {row["unit"] for row in done}, f"markers {marked}, ledger {[row['unit'] for row in done]}")

    open_runs = [run for run, state in crashed.runs.items() if state == "running"]
    if report is None:
        must(not open_runs, "refused, with a run to resume")
        return wrong
    if open_runs:
        must((report.run, report.resumed) == (open_runs[0], True), f"{report.run} does not resume {open_runs}")
        must(len(final.runs) == len(crashed.runs), "a second run was begun")
        must(told.first in (None, crashed.narrowed + 1), f"narrowed {told.first} again, {crashed.narrowed} were done")
        new = [row for row in final.ledger["units"] if row["id"] not in crashed.units]
        must(not [row for row in new if row["segment"] in crashed.segments_done], "a segment was repaired again")
    clean = Verdict.IN_SYNC if case.command == "run" and crashed.runs and not open_runs else Verdict.REPAIRED
    must(report.verdict is (Verdict.DRIFT if extra else clean), f"verdict {report.verdict}")
    return wrong


def _image(text: str | None) -> int | None:
    return None if text is None else json.loads(text)[0]


def kill_everywhere(case: Case, *, every: int = 1, first: int = 0) -> tuple[int, dict[str, list[str]]]:
    """Kill at each `every`-th distinct point from `first` on; points killed at, and what was wrong after which.

    Between two port calls the engine has no effect on anything that outlives it, so a point after one call and the
    point before the next are one; `every=0` kills at both all the same.
    """
    case.reset()
    names = attempt(case, 0)
    assert names, "the run without a kill did not end"
    bad: dict[str, list[str]] = {}
    distinct = [at for at, name in enumerate(names, 1) if name.startswith("before") or at == len(names)]
    points = distinct[first::every] if every else range(1, len(names) + 1)
    for die_at in points:
        case.reset()
        if attempt(case, die_at) is not None:
            bad[f"{die_at}"] = ["the run is not the same each time: it ended before this point"]
            continue
        crashed = see(case)
        report, told = again(case)
        if wrong := judge(case, crashed, report, told, see(case)):
            bad[f"{die_at} {names[die_at - 1]}"] = wrong
    return len(points), bad
