"""10 million rows read by the worker processes of a Dask cluster, one of which is killed with -9 in the middle.

    python bench/cluster.py                       # 10,000,000 rows
    python bench/cluster.py --rows 300000         # a look

The same check by threads of one process, by two worker processes, and once more with one of them killed: answer and
ledger have to be the same. Then a `run` with a worker killed, and a recount by SQL. And what the engine costs: a
segment of a single key, asked for here and by a worker, one after the other and many at a time.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from _common import at_least, finish, machine, parser, require, say, scratch_database, table, time_limit, to_exit_code
from distributed import LocalCluster

import trueup
from trueup import Trueup, Verdict
from trueup.core.plan import Keys
from trueup.narrow import narrow
from trueup.observe import Silent

_FILL = """
    CREATE TABLE truth (id bigint PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE copy (id bigint PRIMARY KEY, n bigint NOT NULL);
    INSERT INTO truth SELECT g, g * 7 FROM generate_series(1, {rows}) g;
    INSERT INTO copy SELECT * FROM truth;
    UPDATE copy SET n = 0 WHERE id % ({rows} / 500) = 1;
    DELETE FROM copy WHERE id % ({rows} / 500) = 2;
"""
_WRONG = "SELECT count(*) FROM truth FULL JOIN copy USING (id) WHERE truth.n IS DISTINCT FROM copy.n"
_CONFIG = """
[trueup]
ledger = "sqlite:///{ledger}"
engine = "{engine}"
[databases.app]
url = "{url}"
[projections.copy]
source = {{ database = "app", table = "truth" }}
target = {{ database = "app", table = "copy" }}
key = ["id"]
writers = "same_transaction"
limits = {{ rows = 100000, share = "100%" }}
"""
#: Segments of one key that are asked for to see what the engine costs.
ASKED = 200


class Watching(Silent):
    """Calls once, when some segments were compared."""

    def __init__(self, after: int, act: Callable[[], None]) -> None:
        self.after, self.act = after, act
        self.took_s: list[float] = []

    def compared(self, segment: int, counts: object, took_s: float) -> None:  # noqa: ARG002
        self.took_s.append(took_s)
        if len(self.took_s) == self.after:
            self.act()


def kept(engine: Trueup, run: str) -> list[Any]:
    """What a ledger holds of a run, but for names and moments."""
    with engine.ledger.reading() as c:
        rows = c.exec_driver_sql(
            f"SELECT stage, span, state, counts, suspects FROM trueup_segments WHERE run = '{run}' ORDER BY id"
        ).all()
    return [*map(tuple, rows), *((d.decision.drift, d.decision.action) for d in engine.decisions(run))]


def checked(config: Path, after: int, act: Callable[[], None]) -> tuple[float, float, list[Any], list[float]]:
    """Wall time and CPU of this process, seconds; what the ledger holds; how long each segment took."""
    told = Watching(after, act)
    with trueup.load(config, progress=told) as engine:
        wall, cpu = time.perf_counter(), time.process_time()
        report = engine.check("copy")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        require(report.verdict is Verdict.DRIFT, f"verdict {report.verdict}: {report.reason}")
        require((report.different, report.missing) == (500, 500), f"{report.different} + {report.missing} found")
        return wall, cpu, kept(engine, report.run), told.took_s


def engine_cost(config: Path) -> tuple[float, float, float]:
    """A segment of one key, milliseconds: read here; read by a worker, one at a time; and many at a time."""
    with trueup.load(config) as engine:
        pair = engine.pair(engine.binding("copy", writing=False))
        beyond = engine.engines.beyond(pair, engine, ledger=engine.ledger_url, paced=False, clock=engine.clock)
        assert beyond is not None
        spans = [Keys(keys=((key,),)) for key in range(1, ASKED + 1)]

        def each(read: Callable[[Keys], object]) -> float:
            begun = time.perf_counter()
            for span in spans:
                read(span)
            return (time.perf_counter() - begun) / ASKED * 1000

        here = each(lambda span: list(narrow(pair, span, first=True)))
        with beyond.reading(lots=False, look=lambda: None) as begin:
            begin(spans[0])()
            alone = each(lambda span: begin(span)())
            begun = time.perf_counter()
            for wait in [begin(span) for span in spans]:
                wait()
            return here, alone, (time.perf_counter() - begun) / ASKED * 1000


def main() -> int:
    made = parser(__doc__, minutes=20)
    made.add_argument("--rows", type=at_least(10_000), default=10_000_000)
    made.add_argument("--workers", type=at_least(2), default=2)
    args = made.parse_args()
    with time_limit(args.minutes), tempfile.TemporaryDirectory() as folder, scratch_database(args.url) as url:
        with psycopg.connect(url, autocommit=True) as db:
            for statement in (
                _FILL.format(rows=args.rows),
                "VACUUM ANALYZE truth",
                "VACUUM ANALYZE copy",
                "CHECKPOINT",
            ):
                db.execute(statement.encode())
        say(f"{args.rows:,} rows are there")
        config = Path(folder, "trueup.toml")
        cluster = LocalCluster(
            n_workers=args.workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            env={"TRUEUP_CONFIG": str(config)},
        )
        with cluster:
            return measured(args, url, config, cluster)


def measured(args: Any, url: str, config: Path, cluster: LocalCluster) -> int:
    dask = cluster.scheduler_address.replace("tcp://", "dask://")

    def declare(ledger: str, engine: str) -> Path:
        config.write_text(_CONFIG.format(ledger=ledger, engine=engine, url=url))
        return config

    def kill() -> None:
        victim = next(iter(cluster.workers.values())).pid
        os.kill(victim, signal.SIGKILL)
        say(f"worker process {victim} was killed")

    lines, ledgers = [], []
    for name, engine, after in (("threads", "threads", 0), ("dask", dask, 0), ("dask, one killed", dask, 2)):
        wall, cpu, ledger, took_s = checked(declare(f"{len(lines)}.db", engine), after, kill)
        ledgers.append(ledger)
        lines.append([name, len(took_s), wall, cpu, sum(took_s)])
        say(f"{name}: {wall:.1f} s")
        require(ledger == ledgers[0], f"{name}: the ledger is not that of threads")
    with trueup.load(declare("run.db", dask), progress=Watching(2, kill)) as ran:
        report = ran.run("copy")
        require((report.verdict, report.repaired) == (Verdict.REPAIRED, 1000), f"{report.verdict}: {report.repaired}")
    with psycopg.connect(url) as db:
        require(db.execute(_WRONG.encode()).fetchone() == (0,), "rows are wrong afterwards")
    here, alone, many = engine_cost(declare("cost.db", dask))
    print(f"{args.rows:,} rows, {args.workers} worker processes; ledgers equal, {len(ledgers[0])} records each\n")
    print(table(["read by", "segments", "wall, s", "CPU of the run, s", "sum of segments, s"], lines))
    print(f"\na segment of one key: {here:.1f} ms here, {alone:.1f} ms by a worker, {many:.1f} ms of many at a time")
    cost = {"here_ms": here, "alone_ms": alone, "many_ms": many}
    return finish(args, {"benchmark": "cluster", "machine": machine(args.url), "lines": lines, "cost": cost}, [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
