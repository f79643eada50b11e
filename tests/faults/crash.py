"""kill -9 at every call that the engine makes to its ports, and what must hold afterwards.

A child process runs the engine on a few rows and kills itself at the n-th point: before and after each writing method
of the ledger, each method of an adapter, each step of a repair unit, and each COMMIT of any database. Then this process
runs the engine again and looks, with SQL of its own, at what both of them left behind.
"""

from __future__ import annotations

import functools
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from sqlalchemy.engine.default import DefaultDialect

from tests.faults.children import children
from tests.faults.proxy import Proxy, proxied
from tests.live.harness import PATIENCE_S, WIDE, Db, QuickClock, databases, instead, keys_per_segment, until
from tests.live.mariadb import MariaDb
from trueup import Projection, Refused, Report, Side, Trueup, by_lot, schema_guard, undo
from trueup.adapters import _mysql_survey, _postgresql_survey, _sql, _steps, mysql, postgresql, sqlite
from trueup.adapters._postgresql_lots import PostgresqlPacker
from trueup.core import lot
from trueup.core.compare import DriftKind
from trueup.core.states import Verdict
from trueup.errors import TrueupError
from trueup.observe import Silent
from trueup.store.ledger import Ledger
from trueup.store.lots import Lots
from trueup.store.standing import Standing

#: Rows of the source: id -> value.
TRUTH = {1: 10, 2: 20, 3: 30, 4: 40}
#: Rows of the copy: 1 is different, 3 is missing, 20 should not be there. Read in two segments, repaired in two units.
COPY = {1: 1, 2: 20, 4: 40, 20: 5}
EXTRA = {20}
_OPERATIONS = (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old"))
#: Triggers that note each write to the copy, by kind of database.
WRITES = {
    "sqlite": tuple(
        f"CREATE TRIGGER w{op[0]} AFTER {op} ON copy BEGIN INSERT INTO writes VALUES ({row}.id, '{op}'); END"
        for op, row in _OPERATIONS
    ),
    "mariadb": tuple(
        f"CREATE TRIGGER w{op[0]} AFTER {op} ON copy FOR EACH ROW INSERT INTO writes VALUES ({row}.id, '{op}')"
        for op, row in _OPERATIONS
    ),
    "postgresql": (
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
    #: `run`, `apply` of a plan made beforehand, or `rollback` of a run that went well.
    command: str = "run"
    #: Rows that go first; None: all are alike.
    canary: int | None = None
    #: At most so many rows a day: what the command changes, so that after it nothing more may be.
    daily: int | None = None
    #: What the engine reaches a database by, where that is not its own URL: through a proxy.
    through: Mapping[str, str] = field(default_factory=dict)
    #: Differences are decided and repaired in lots, of one row each.
    lots: bool = False

    @property
    def one(self) -> bool:
        return self.source == self.target

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.db"

    @property
    def extra(self) -> dict[int, int]:
        """Rows that a repair leaves, though they should not be there."""
        return {} if self.on_extra == "delete" else {key: COPY[key] for key in EXTRA}

    @property
    def begins(self) -> dict[int, int]:
        """The copy before the command."""
        return TRUTH | self.extra if self.command == "rollback" else COPY

    @property
    def ends(self) -> dict[int, int]:
        """The copy after it."""
        return COPY if self.command == "rollback" else TRUTH | self.extra

    def prepared(self) -> list[str]:
        """Runs that went before."""
        with closing(sqlite3.connect(self.ledger)) as c:
            rows = c.execute("SELECT id FROM trueup_runs WHERE command = 'run'") if self.command == "rollback" else ()
            return [run for (run,) in rows]

    def build(self) -> None:
        """Tables, once; `reset` brings the rows back."""
        database_at(self.source).sql("CREATE TABLE truth(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)")
        copy = database_at(self.target)
        copy.sql(
            "CREATE TABLE copy(id INTEGER PRIMARY KEY, val BIGINT NOT NULL)", "CREATE TABLE writes(id INT, op TEXT)"
        )
        Ledger(f"sqlite:///{self.folder / 'empty.db'}").close()
        copy.sql(*WRITES[self.target.partition(":")[0]])

    def reset(self) -> None:
        for suffix in ("", "-journal", "-wal", "-shm"):
            Path(f"{self.ledger}{suffix}").unlink(missing_ok=True)
        shutil.copy(self.folder / "empty.db", self.ledger)
        truth, copy = database_at(self.source), database_at(self.target)
        truth.together("DELETE FROM truth", f"INSERT INTO truth VALUES {_rows(TRUTH)}")
        copy.sql("DROP TABLE IF EXISTS trueup_applied", "DROP TABLE IF EXISTS trueup_fence")
        copy.together(
            "DELETE FROM copy",
            f"INSERT INTO copy VALUES {_rows(COPY)}",
            "DELETE FROM writes",
        )
        if self.command == "apply":
            with self.small(), self.engine() as engine:
                (self.folder / "plan").write_text(engine.plan("copy").plan)
        if self.command == "rollback":
            with self.small(), self.engine() as engine:
                engine.run("copy")
            copy.together("DELETE FROM writes", *(["DELETE FROM trueup_applied"] if self.markers else []))

    @contextmanager
    def small(self) -> Iterator[None]:
        with small(), ExitStack() as stack:
            if self.lots:
                stack.enter_context(instead(lot, "LOT_ROWS", 1))
                stack.enter_context(instead(lot, "LOT_MIN", 1))
                stack.enter_context(instead(by_lot, "LOTS_AT_ONCE", 1))  # else the points would come in any order
                stack.enter_context(instead(undo, "FIRST", 0))
                # The triggers that note each write are in nobody's way here.
                stack.enter_context(instead(PostgresqlPacker, "takes", lambda *_: True))
            yield

    def go(self, engine: Trueup) -> Report:
        if self.command == "rollback":
            return engine.rollback(self.prepared()[0])
        return engine.apply((self.folder / "plan").read_text()) if self.command == "apply" else engine.run("copy")

    def _reached(self, url: str) -> str:
        return self.through.get(url, url)

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
            limits=WIDE.model_copy(update={"daily": self.daily}),
            canary=self.canary,
        )
        return Trueup(
            databases=databases(
                {"here": self._reached(self.source), "there": self._reached(self.target)}, markers=self.markers
            ),
            projections=[projection],
            ledger=f"sqlite:///{self.ledger}",
            clock=QuickClock(),
            progress=progress,
        )


def database_at(url: str) -> Db:
    return MariaDb(url) if url.startswith("mariadb") else Db(url)


def _rows(rows: dict[int, int]) -> str:
    return ", ".join(map(str, rows.items()))


@contextmanager
def small() -> Iterator[None]:
    """Several segments and units out of a handful of rows."""
    with ExitStack() as stack:
        stack.enter_context(keys_per_segment(2))
        for owner, name, value in (
            (sqlite, "SEGMENT_ROWS", 2),
            (_postgresql_survey, "COST_PER_SEGMENT", 1.0),
            (_postgresql_survey, "RANGES_PAY_BELOW", 1e6),
            (_postgresql_survey, "SERVED_BELOW", 1e6),
            (_mysql_survey, "SEGMENT_ROWS", 2),
            (_mysql_survey, "RANGES_PAY_BELOW", 1e6),
            (schema_guard, "SHARE", 1e-9),  # between segments by the clock: the points would not be the same each time
        ):
            stack.enter_context(instead(owner, name, value))
        yield


# --- dying -----------------------------------------------------------------------------------------------------------


class Points:
    """Counts points; at one of them it dies, or does what else it is told to."""

    def __init__(self, die_at: int, act: Callable[[], object] | None = None) -> None:
        self.die_at = die_at
        self.act = act or self._die
        self.names: list[str] = []

    def __call__(self, name: str) -> None:
        self.names.append(name)
        if len(self.names) == self.die_at:
            self.act()

    @staticmethod
    def _die() -> None:
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
    points.around(Lots, "close_unit")
    points.around(_sql.SqlAdapter, "raise_fence", "repair", "claim", "differences", "stream")
    for adapter in (sqlite.SqliteAdapter, postgresql.PostgresqlAdapter, mysql.MysqlAdapter):
        points.around(adapter, "describe", "survey")
    points.around(
        _steps.UnitTransaction,
        *("hold_fence", "leave_marker", "insert_placeholders", "lock", "read_source_here", "read_target"),
        *("update", "delete", "sign_marker"),
    )
    points.around(_steps.Fenced, "hold_fence", "leave_marker", "sign")
    points.around(PostgresqlPacker, "compared", "carry_out", "_write")
    points.around(DefaultDialect, "do_commit")


def _child(case: Case, die_at: int, prepare: Callable[[], None] | None, answer: Connection) -> None:
    if prepare:
        prepare()
    points = Points(die_at)
    install(points)
    with case.small(), case.engine() as engine:
        case.go(engine)
    answer.send(points.names)


def attempt(case: Case, die_at: int, prepare: Callable[[], None] | None = None) -> list[str] | None:
    """Run the engine in a child that dies at point `die_at`; the names of all points if it lived to the end."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    child = children.Process(target=_child, args=(case, die_at, prepare, theirs))
    child.start()
    theirs.close()
    with closing(mine):
        try:
            names = mine.recv() if mine.poll(2 * PATIENCE_S) else None
        except EOFError:
            names = None
        child.join(2 * PATIENCE_S)
        assert child.exitcode in (0, -signal.SIGKILL), f"{case.name}, point {die_at}: the child ended {child.exitcode}"
        assert (names is None) == (child.exitcode != 0)
    for url in {case.source, case.target}:
        gone(database_at(url))
    return names


def _survivor(case: Case, at: int, line: Connection) -> None:
    """A child that does not die: at its point it says so, waits, and goes on with whatever has become of the world."""

    def act() -> None:
        line.send("now")
        line.recv()

    points = Points(at, act)
    install(points)
    try:
        with case.small(), case.engine() as engine:
            case.go(engine)
    except TrueupError as error:
        line.send(f"{type(error).__name__}: {error}")
    else:
        line.send("")


def survive(case: Case, at: int, disaster: Callable[[], object]) -> str:
    """Run the engine in a child, with a `disaster` at its point `at`; what the engine said then, "": it succeeded."""
    mine, theirs = multiprocessing.Pipe()
    child = children.Process(target=_survivor, args=(case, at, theirs))
    child.start()
    theirs.close()
    with closing(mine):
        said = mine.recv() if mine.poll(2 * PATIENCE_S) else None
        assert said == "now", f"{case.name}: the child never came to point {at}: {said}"
        disaster()
        mine.send("go on")
        said = mine.recv() if mine.poll(2 * PATIENCE_S) else None
        child.join(2 * PATIENCE_S)
    assert child.exitcode == 0, f"{case.name}, disaster at {at}: the child ended {child.exitcode}"
    assert isinstance(said, str)
    for url in {case.source, case.target}:
        gone(database_at(url))
    return said


def gone(db: Db) -> None:
    """Until the server has noticed that the client of every session of ours is dead."""
    if isinstance(db, MariaDb):
        others = "SELECT 1 FROM information_schema.PROCESSLIST WHERE DB = DATABASE() AND ID <> CONNECTION_ID()"
        with closing(db.connect()) as c:
            until(lambda: not c.execute(others).fetchall(), "the server to end a killed client's sessions")
    elif not db.sqlite:
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
    target = database_at(case.target)
    with closing(sqlite3.connect(case.ledger)) as c:
        c.row_factory = sqlite3.Row
        tables = ("runs", "segments", "decisions", "units", "outcomes", "drift")
        ledger = {t: [dict(row) for row in c.execute(f"SELECT * FROM trueup_{t}")] for t in tables}
        lots = [dict(row) for row in c.execute("SELECT * FROM trueup_lots")]
        done = [dict(row) for row in c.execute("SELECT * FROM trueup_lot_outcomes ORDER BY id")]
    ledger["decisions"] += [{**row, **_only_row(row)} for row in lots]
    rows = {row["id"]: _only_row(row) for row in lots}
    ledger["outcomes"] = [{**row, **rows[row["lot"]]} for row in done if row["left_out"] == "[]"] + ledger["outcomes"]
    before = case.prepared()
    for table, rows in ledger.items():
        ledger[table] = [row for row in rows if row["id" if table == "runs" else "run"] not in before]
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


def _only_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row of a lot that has one, as a decision or an outcome by itself would have it."""
    (only,) = lot.Lot(kind=DriftKind(row["kind"]), count=row["size"], content=row["content"]).rows()
    images = {"before": only.observed, "after": None if row["action"] == "delete" else only.expected}
    told = {name: None if image is None else json.dumps(image) for name, image in images.items()}
    return {"key": json.dumps(only.key), **told}


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
    """The second run; no report where the first had done it all. Where the engine has paused itself somebody says that
    the database is back.
    """
    told = Told()
    with case.small(), case.engine(told) as engine:
        if engine.standing.control("copy").until is not None:
            engine.resume("copy")
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

    begins = case.begins
    must(final.copy == case.ends, f"the copy is {final.copy}")
    changed = {key for key in COPY | TRUTH if begins.get(key) != final.copy.get(key)}
    must(sorted(final.writes) == sorted(changed), f"committed writes: {final.writes}")

    outcomes = [{**row, "key": json.loads(row["key"])[0]} for row in final.ledger["outcomes"]]
    told_true = ("applied",) if case.markers else ("applied", "converged")
    done = [row for row in outcomes if row["outcome"] in told_true]
    must(sorted(row["key"] for row in done) == sorted(changed), f"{told_true}: {[row['key'] for row in done]}")
    for row in done:
        if row["outcome"] == "applied":
            must(_image(row["before"]) == begins.get(row["key"]), f"before-image of {row}")
            must(_image(row["after"]) == final.copy.get(row["key"]), f"after-image of {row}")
    # A unit that did nothing is truly said to have done so, though another of the same run did it later.
    by = {row["key"]: row["unit"] for row in done}
    undone = [row for row in outcomes if row["outcome"] == "not_applied" and row["key"] in crashed.writes]
    lies = [row for row in undone if by.get(row["key"], row["unit"]) == row["unit"]]
    must(not lies, f"said to be not applied, but written: {lies}")

    decided = {json.loads(row["key"])[0] for row in final.ledger["decisions"] if row["action"] != "report"}
    last = {row["key"]: row["outcome"] for row in outcomes}
    must(decided <= last.keys(), f"decisions without an outcome: {decided - last.keys()}")
    must("not_applied" not in last.values(), f"left as not applied: {last}")
    must(all(row["closed_at"] for row in final.ledger["units"]), "a unit is still open")
    standing = {json.loads(row["key"])[0] for row in final.ledger["drift"]}
    must(standing == (changed if case.command == "rollback" else case.extra.keys()), f"standing drift: {standing}")
    if case.markers:
        rows = database_at(case.target).sql("SELECT unit, images FROM trueup_applied WHERE NOT closed")
        marked = {unit for unit, images in rows if _wrote(json.loads(images))}
        must(marked == {row["unit"] for row in done}, f"markers {marked}, ledger {[row['unit'] for row in done]}")

    open_runs = [run for run, state in crashed.runs.items() if state in ("running", "failed", "interrupted")]
    if report is None:
        must(not open_runs, "refused, with a run to resume")
        return wrong
    if open_runs:
        must((report.run, report.resumed) == (open_runs[0], True), f"{report.run} does not resume {open_runs}")
        must(len(final.runs) == len(crashed.runs), "a second run was begun")
        must(told.first in (None, crashed.narrowed + 1), f"narrowed {told.first} again, {crashed.narrowed} were done")
        new = [row for row in final.ledger["units"] if row["id"] not in crashed.units]
        must(not [row for row in new if row["segment"] in crashed.segments_done], "a segment was repaired again")
    clean = Verdict.IN_SYNC if case.command != "apply" and crashed.runs and not open_runs else Verdict.REPAIRED
    left = case.extra and case.command != "rollback"
    must(report.verdict is (Verdict.DRIFT if left else clean), f"verdict {report.verdict}")
    return wrong


def beyond(case: Case) -> list[str]:
    """Another row is broken the same day, and must not be repaired, whoever was killed before: what was not so."""
    copy = database_at(case.target)
    copy.together("UPDATE copy SET val = 0 WHERE id = 2", "DELETE FROM writes")
    with case.small(), case.engine() as engine:
        report = engine.run("copy")
    wrote = [key for (key,) in copy.sql("SELECT id FROM writes")]
    told = report.verdict is Verdict.REFUSED and f"limits.daily = {case.daily}" in report.reason
    return [] if told and not wrote else [f"beyond the day's limit: {report.verdict}, {report.reason!r}, wrote {wrote}"]


def judged_again(case: Case, crashed: Seen) -> list[str]:
    """Run once more after a crash, and judge what became of it."""
    report, told = again(case)
    wrong = judge(case, crashed, report, told, see(case))
    return wrong or (beyond(case) if case.daily else [])


def _wrote(images: Any) -> bool:
    """Did the unit with this marker write a row?"""
    if isinstance(images, dict):
        return not images["left"]
    return any(image["outcome"] == "applied" for image in images)


def _image(text: str | None) -> int | None:
    return None if text is None else json.loads(text)[0]


def disaster_everywhere(
    case: Case, disaster: Callable[[], object], *, every: int, first: int = 0
) -> tuple[int, dict[str, list[str]]]:
    """A disaster that the engine survives, a killed server say, at each `every`-th point; as `kill_everywhere`."""
    case.reset()
    names = attempt(case, 0)
    assert names, "the run without a disaster did not end"
    bad: dict[str, list[str]] = {}
    points = [at for at, name in enumerate(names, 1) if name.startswith("before")][first::every]
    for at in points:
        case.reset()
        said = survive(case, at, disaster)
        crashed = see(case)
        if wrong := judged_again(case, crashed):
            bad[f"{at} {names[at - 1]} ({said or 'went on'})"] = wrong
    return len(points), bad


def cut_everywhere(case: Case, *, every: int = 1, first: int = 0) -> tuple[int, dict[str, list[str]]]:
    """Cut the connection to the target at each `every`-th COMMIT: before it arrives, and before its answer does; cuts,
    and what was wrong after which.
    """
    bad: dict[str, list[str]] = {}
    with proxied(case.target) as (proxy, through):
        reached = replace(case, through={case.target: through})
        reached.reset()
        with case.small(), reached.engine() as engine:
            proxy.seen = 0
            reached.go(engine)
        commits = range(proxy.seen)[first::every]
    for at, mode in itertools.product(commits, ("before", "after")):
        with proxied(case.target) as (proxy, through):
            reached = replace(case, through={case.target: through})
            reached.reset()
            said = _cut(reached, proxy, at, mode)
            name = f"{mode} COMMIT {at + 1} of {len(commits)} ({said or 'went on'})"
            if proxy.cuts != 1:
                bad[name] = [f"the run is not the same each time: {proxy.cuts} cuts"]
            elif wrong := judged_again(reached, see(case)):
                bad[name] = wrong
    return 2 * len(commits), bad


def _cut(case: Case, proxy: Proxy, at: int, mode: str) -> str:
    """Run the engine in a child with one cut; what it said of it, "": it succeeded."""
    mine, theirs = multiprocessing.Pipe(duplex=False)
    child = children.Process(target=_cut_off, args=(case, theirs))
    proxy.passing, proxy.armed = at, mode
    child.start()
    theirs.close()
    with closing(mine):
        said = mine.recv() if mine.poll(2 * PATIENCE_S) else None
        child.join(2 * PATIENCE_S)
    assert isinstance(said, str), f"{case.name}, cut {mode} COMMIT {at + 1}: the child ended {child.exitcode}"
    for url in {case.source, case.target}:
        gone(database_at(url))
    return said


def _cut_off(case: Case, answer: Connection) -> None:
    try:
        with case.small(), case.engine() as engine:
            case.go(engine)
    except TrueupError as error:
        answer.send(f"{type(error).__name__}: {error}")
    else:
        answer.send("")


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
        if wrong := judged_again(case, crashed):
            bad[f"{die_at} {names[die_at - 1]}"] = wrong
    return len(points), bad
