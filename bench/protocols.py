"""Writers x repair: every protocol on every database, under 1, 4 and 16 writers; nothing may be put wrong.

    python bench/protocols.py                                       # 20,000 commits, a look
    python bench/protocols.py --commits 1000000 --repairs 20        # the campaign
    python bench/protocols.py --only postgresql,lock --writers 4    # one cell, and its controls

Each cell has databases of its own and an application that changes 200 keys, hot and cold, with adds and deletes, as
fast as it can; increments that promise a bound, 1,000 times a second at most. Meanwhile rows are made wrong, repaired,
and all drift is measured again: in one snapshot where writers change both sides in one transaction; else they are
stopped for it, with nothing on its way. A row whose drift is then another one than before the repair was put wrong by
it. Promised: there is none, and after the writers nothing drifts.

The naive repairs of each database run under the same load and have to be wrong, or the run proves nothing (exit 1).
Commits are those of the application's source; deliveries, workers and repairs are not counted.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import _naive
import redis
from _applications import KEYS, Application
from _common import (
    LOCAL_MARIADB,
    at_least,
    finish,
    machine,
    parser,
    require,
    say,
    table,
    time_limit,
    to_exit_code,
)
from _copies import Cached, Copied, Published, Versioned
from _counters import BOUND_S, Counted, Delta, Generations, Increments, Mutex, Outbox
from _databases import scratch
from _writers import FORK, JOIN_S, Pause, Repairs, crew

from trueup import Limits, Outcome, Projection, Trueup
from trueup.core.guarantee import Protocol
from trueup.core.projection import Recurring
from trueup.errors import TrueupError

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.servers import started_redis

#: How long a control is tried until it is wrong, at least, seconds.
CONTROL_S = 15.0
#: Runs at the end, without writers, that may be needed until nothing drifts.
LAST_RUNS_MAX = 5
NAME = "bench"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One repair of one kind of application on one database."""

    database: str
    name: str
    application: Callable[[Sequence[str]], Application]
    #: How many SQL databases it is in.
    databases: int = 1
    #: What the product has to say that it uses; None: a control.
    protocol: Protocol | None = None
    naive: Callable[[Any], int] | None = None


def _sql_cells(database: str, alone: Protocol, apart: Protocol) -> Iterator[Cell]:
    """`alone`: the protocol within one database; `apart`: the one between two."""
    for name, application in (
        ("mutex", Mutex),
        ("same_transaction", Counted),
        ("delta", Delta),
        ("outbox", Outbox),
        ("increments", Increments),
    ):
        yield Cell(database=database, name=f"{alone}: {name}", application=application, protocol=alone)
    issued = Protocol.ISSUED_VERSION
    yield Cell(database=database, name=f"{issued}: versioned", application=Versioned, protocol=issued)
    for name, application, protocol in (
        ("absolute", Copied, apart),
        ("increments", Increments, apart),
        ("versioned", Versioned, issued),
    ):
        told = f"{protocol}: {name}, two databases"
        yield Cell(database=database, name=told, application=application, protocol=protocol, databases=2)


def _control(database: str, name: str, naive: Callable[[Any], int], application: Any, databases: int = 1) -> Cell:
    return Cell(database=database, name=f"naive: {name}", application=application, naive=naive, databases=databases)


CELLS = (
    *_sql_cells("postgresql", Protocol.LOCK, Protocol.COMPARE_AND_SET),
    _control("postgresql", "read-then-set", _naive.read_then_set, Counted),
    _control("postgresql", "UPDATE with sub-select", _naive.sub_select, Counted),
    _control("postgresql", "copy-then-set, two databases", _naive.copy_then_set, Copied, 2),
    *_sql_cells("mariadb", Protocol.LOCK, Protocol.LOCK),
    _control("mariadb", "REPEATABLE READ", _naive.repeatable_read, Counted),
    *_sql_cells("sqlite", Protocol.EXCLUSIVE, Protocol.EXCLUSIVE),
    _control("sqlite", "deferred transaction", _naive.deferred, Counted),
    Cell(database="redis", name="compare_and_set: absolute", application=Cached, protocol=Protocol.COMPARE_AND_SET),
    Cell(database="redis", name="compare_and_set: versioned", application=Published, protocol=Protocol.COMPARE_AND_SET),
    Cell(database="redis", name="generation: increments", application=Generations, protocol=Protocol.GENERATION),
    _control("redis", "GET-then-SET", _naive.get_then_set, Cached),
)
DATABASES = tuple(dict.fromkeys(cell.database for cell in CELLS))


def selected(only: str) -> list[Cell]:
    """Cells of the databases and protocols (or kinds of writers) that are named; controls of these databases always.

    ValueError for a word that nothing is called.
    """
    words = {word.strip() for word in only.split(",") if word.strip()}
    names = {word for cell in CELLS for word in cell.name.replace(":", ",").split(", ")}
    unknown = words - names - set(DATABASES)
    if unknown:
        raise ValueError(f"{min(unknown)!r} is no database, protocol or kind of writers here")
    databases, ways = words & set(DATABASES), words - set(DATABASES)
    of_databases = [cell for cell in CELLS if not databases or cell.database in databases]
    mine = [c for c in of_databases if c.protocol and (not ways or ways & set(c.name.replace(":", ",").split(", ")))]
    return mine + [c for c in of_databases if c.naive and any(c.database == one.database for one in mine)]


# --- writers ---------------------------------------------------------------------------------------------------------


def write(
    number: int, ready: Barrier, stop: Event, app: Application, seed: int, pause: Pause, commits: Any, late_s: Any
) -> None:
    """One writer, in a process of its own, until told to stop."""
    app.open(number, len(commits), seed)
    ready.wait(JOIN_S)
    while not stop.is_set():
        pause.look(app.rest)
        app.write()
        commits[number] += 1
    app.rest()
    late_s[number] = app.late_s
    app.close()


# --- one cell --------------------------------------------------------------------------------------------------------

#: Repairs what drifts: how many rows it says are not right, and what became of the others.
Repair = Callable[[], tuple[int, Counter[str]]]


@dataclass(kw_only=True, slots=True)
class Line:
    """What one cell came to under so many writers."""

    database: str
    name: str
    control: bool
    writers: int
    commits: int = 0
    seconds: float = 0.0
    #: How late an increment was at most, seconds.
    late_s: float = 0.0
    repairs: Repairs = field(default_factory=Repairs)

    @property
    def contended(self) -> int:
        """Rows that a run left to the application: held at every try, moved on, or moving."""
        told = self.repairs.outcomes
        return told[Outcome.NOT_APPLIED] + told[Outcome.CAS_LOST] + told["in flight"]

    def cells(self) -> list[object]:
        done = self.repairs
        numbers = [self.commits, round(self.commits / max(self.seconds, 1e-9)), done.rounds, done.rows]
        return [self.name, self.writers, *numbers, done.rows_wrong, done.rows_left, self.contended]

    def figures(self) -> dict[str, Any]:
        told = {name: value for name, value in asdict(self).items() if name != "repairs"}
        return {**told, "repairs": self.repairs.figures(), "contended": self.contended}


HEADERS = ["repair", "writers", "commits", "commits / s", "repairs", "rows drifting", "wrong", "left", "contended"]


@contextmanager
def repairing(cell: Cell, app: Application) -> Iterator[Repair]:
    """The cell's repair."""
    naive = cell.naive
    if naive is not None:
        yield lambda: (0, Counter({str(Outcome.APPLIED): naive(app)}))
        return
    projection = Projection(
        name=NAME,
        **app.sides(),
        **app.declared,
        limits=Limits(rows=10**6, deletes=10**6, share=1.0, collapse=0.0),
        recurring=Recurring(times=0),  # the same hot rows are broken again and again here, on purpose
    )
    with tempfile.TemporaryDirectory(prefix="trueup-bench-") as folder:
        ledger = f"sqlite:///{folder}/ledger.db"
        with Trueup(databases=app.databases(), projections=[projection], ledger=ledger) as engine:
            promise = engine.explain(NAME).promise
            require(promise.protocol is cell.protocol, f"{cell.name}: {promise.protocol}, {promise.reasons}")

            def repair() -> tuple[int, Counter[str]]:
                try:
                    report = engine.run(NAME, rows=0)
                except TrueupError as problem:
                    engine.resume(NAME)
                    say(f"{cell.database}, {cell.name}: {problem}")
                    return KEYS, Counter({f"run failed: {type(problem).__name__}": 1})
                if report.verdict not in ("in_sync", "repaired", "drift"):
                    engine.resume(NAME)
                    say(f"{cell.database}, {cell.name}: {report.verdict}: {report.reason}")
                    return KEYS, Counter({f"run {report.verdict}": 1})
                told = Counter(str(row.get("outcome", "none")) for row in report.drift)
                left = len(report.drift) - told[Outcome.APPLIED] + report.in_flight
                return left, told + Counter({"in flight": report.in_flight})

            yield repair


def measured(cell: Cell, urls: Sequence[str], *, writers: int, commits: int, repairs: int, seed: int) -> Line:
    """Let the writers write, make rows wrong, repair, and measure, until there are so many commits."""
    line = Line(database=cell.database, name=cell.name, control=cell.naive is not None, writers=writers)
    app = cell.application(urls)
    app.open(0, 1, seed)
    app.make()
    app.close()
    pause = Pause(writers)
    done, late_s = FORK.Array("q", writers, lock=False), FORK.Array("d", writers, lock=False)
    with crew(write, writers, app, seed, pause, done, late_s) as stop:
        began = time.monotonic()
        app.open(writers, 1, seed + 1)
        with repairing(cell, app) as repair:
            _rounds(line, app, repair, pause, lambda: sum(done) >= commits and line.repairs.rounds >= repairs)
            line.seconds = time.monotonic() - began
        stop.set()
    line.commits, line.late_s = sum(done), max(late_s)
    if cell.naive is None:
        with repairing(cell, app) as repair:
            _settle(line, app, repair)
    app.close()
    return line


def _rounds(line: Line, app: Application, repair: Repair, pause: Pause, enough: Callable[[], bool]) -> None:
    """Plant, repair, measure, again and again."""
    patience = time.monotonic() + CONTROL_S
    done = line.repairs
    while not enough() or (line.control and not done.rows_wrong and time.monotonic() < patience):
        with ExitStack() as stack:
            if not app.one_snapshot:
                stack.enter_context(pause.held())
            app.plant()
            before = app.drift()
        began = time.perf_counter()
        reported, outcomes = repair()
        took_s = time.perf_counter() - began
        with ExitStack() as stack:
            if not app.one_snapshot:
                stack.enter_context(pause.held())
            after = app.drift()
        done.note(before, after, took_s, reported)
        done.outcomes += outcomes
        if line.control:
            continue
        for key, off in list(after.items())[:3]:
            if before.get(key) != off:
                say(f"WRONG {line.database}, {line.name}: key {key} was off by {before.get(key)}, and is by {off}")


def _settle(line: Line, app: Application, repair: Repair) -> None:
    """Nobody writes any more: what was left is repaired now."""
    if isinstance(app, Increments):
        time.sleep(BOUND_S)  # until then its events are young
    for _ in range(LAST_RUNS_MAX):
        if not app.drift():
            break
        line.repairs.outcomes += repair()[1]
    line.repairs.left_at_end = len(app.drift())


# --- all of it -------------------------------------------------------------------------------------------------------


def campaign(args: Any, cells: Sequence[Cell]) -> Iterator[Line]:
    """Every cell with every number of writers."""
    share = -(-args.commits // (len(cells) * len(args.writers)))
    with ExitStack() as stack:
        cache = ""
        if any(cell.database == "redis" for cell in cells):
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trueup-bench-")))
            cache = stack.enter_context(started_redis(folder)).url
        for cell in cells:
            for writers in args.writers:
                kind = "postgresql" if cell.database == "redis" else cell.database
                with scratch(kind, cell.databases, postgresql=args.url, mariadb_server=args.mariadb) as urls:
                    if cell.database == "redis":
                        with redis.Redis.from_url(cache) as client:
                            client.flushdb()
                        urls.append(cache)
                    line = measured(cell, urls, writers=writers, commits=share, repairs=args.repairs, seed=args.seed)
                told = f"{line.commits} commits, {line.repairs.rounds} repairs, {line.repairs.rows_wrong} wrong"
                say(f"{cell.database}, {cell.name}, {writers} writers: {told}")
                yield line


def broken(lines: Sequence[Line]) -> list[str]:
    """Promises that did not hold, and controls that showed nothing, in words."""
    words = []
    for line in lines:
        done, where = line.repairs, f"{line.database}, {line.name}, {line.writers} writers"
        if line.control:
            continue
        if line.late_s > BOUND_S:
            words.append(f"{where}: an increment was {line.late_s:.1f} s late, {BOUND_S:g} s are promised: no proof")
        elif done.rows_wrong:
            words.append(f"{where}: {done.rows_wrong} of {done.rows} rows put wrong")
        if not done.outcomes[Outcome.APPLIED]:
            words.append(f"{where}: nothing was repaired, so nothing is proven")
        if done.left_at_end:
            words.append(f"{where}: {done.left_at_end} rows still drift after {LAST_RUNS_MAX} runs without writers")
    controls = Counter[tuple[str, str]]()
    for line in lines:
        if line.control:
            controls[line.database, line.name] += line.repairs.rows_wrong
    words += [
        f"{where}, {name}: never wrong, so this run proves nothing" for (where, name), n in controls.items() if not n
    ]
    return words


def show(lines: Sequence[Line]) -> str:
    parts = []
    for database in dict.fromkeys(line.database for line in lines):
        rows = [line.cells() for line in lines if line.database == database]
        parts.append(f"{database}\n\n{table(HEADERS, rows)}")
    ours = [line for line in lines if not line.control]
    commits = sum(line.commits for line in lines), sum(line.commits for line in ours)
    repairs, rows = sum(line.repairs.rounds for line in ours), sum(line.repairs.rows for line in ours)
    wrong = sum(line.repairs.rows_wrong for line in ours)
    naive = sum(line.repairs.rows_wrong for line in lines if line.control)
    parts.append(
        f"total: {commits[0]:,} commits, {commits[1]:,} of them beside our repairs: {repairs:,} repairs, {rows:,} rows "
        f"drifting, {wrong} wrong; the naive repairs put {naive:,} wrong"
    )
    return "\n\n".join(parts)


def main() -> int:
    made = parser(__doc__, minutes=120)
    made.add_argument("--commits", type=at_least(1), default=20_000, help="all cells together (default: %(default)s)")
    made.add_argument("--repairs", type=at_least(1), default=2, help="in each cell, at least (default: %(default)s)")
    made.add_argument("--only", default="", help="databases and protocols or kinds of writers, with commas between")
    made.add_argument("--writers", default="1,4,16", help="numbers of writers (default: %(default)s)")
    made.add_argument("--mariadb", default=LOCAL_MARIADB, help="a local MariaDB server (default: %(default)s)")
    args = made.parse_args()
    try:
        cells = selected(args.only)
        args.writers = [at_least(1)(text) for text in args.writers.split(",")]
    except (ValueError, argparse.ArgumentTypeError) as problem:
        made.error(str(problem))
    about = machine(args.url)
    lines: list[Line] = []
    with time_limit(args.minutes):
        lines.extend(campaign(args, cells))
    print(show(lines))
    figures = {"benchmark": "protocols", "machine": about, "lines": [line.figures() for line in lines]}
    return finish(args, figures, broken(lines))


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
