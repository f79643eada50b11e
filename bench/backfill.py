"""A backfill of a new column by a Python function: `trueup backfill` beside a bare batched loop.

    python bench/backfill.py                       # 5,000,000 rows
    python bench/backfill.py --rows 200000         # a look

The loop reads 5,000 rows by key, calls the same function, writes with `UPDATE ... FROM unnest(...)` and commits; it
keeps nothing. Trueup reads all rows, writes down the before- and after-image of each and the audit lines, then writes
lot by lot under locks, each row only if it still is what was read. Both take turns on a table that is filled and
vacuumed anew.

Wall time on a machine that does other work says little: CPU seconds of the client and of the server's sessions are told
beside it. WAL writer, checkpointer and disk are in neither.

Then a run is killed (SIGKILL) in the middle of its writing and started again: every row has to have been written
exactly once, which a trigger counts. At last a run is rolled back, by a process of its own whose memory is measured.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from _common import (
    ServerCpu,
    Timed,
    at_least,
    finish,
    machine,
    median_cpu_s,
    median_s,
    parser,
    require,
    say,
    scratch_database,
    table,
    time_limit,
    timed,
    to_exit_code,
)

from trueup import Trueup, Verdict

#: Most that a backfill may cost, in bare loops.
TARGET = 1.5
BATCH = 5_000

_FILL = """
    DROP TABLE IF EXISTS customers, writes;
    CREATE TABLE customers (id bigint PRIMARY KEY, first text NOT NULL, last text NOT NULL, full_name text);
    INSERT INTO customers SELECT g, 'first' || g, 'last' || g FROM generate_series(1, {rows}) g;
"""
#: Counts how often each row is written.
_COUNTED = """
    ALTER TABLE customers ADD COLUMN writes int NOT NULL DEFAULT 0;
    CREATE OR REPLACE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql AS
      $$ BEGIN NEW.writes := OLD.writes + 1; RETURN NEW; END $$;
    CREATE TRIGGER counted BEFORE UPDATE ON customers FOR EACH ROW EXECUTE FUNCTION counted();
"""
_FILE = """
backfill = {
    "table": "customers", "key": "id", "reads": ["first", "last"], "writes": ["full_name"],
    "select": "full_name IS NULL", "limits": {"rows": 1000000000},
}

def fix(row):
    row["full_name"] = f"{row['first']} {row['last']}".title()
    return row
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One size; medians."""

    rows: int
    loop_s: float
    backfill_s: float
    ratio: float
    loop_cpu_s: float
    backfill_cpu_s: float
    cpu_ratio: float
    client_cpu_s: float
    ledger_mb: float


def fill(url: str, rows: int, *, counted: bool = False) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_FILL.format(rows=rows).encode())
        if counted:
            db.execute(_COUNTED.encode())
        for statement in ("VACUUM (ANALYZE) customers", "CHECKPOINT"):
            db.execute(statement.encode())


def fix(row: dict[str, Any]) -> dict[str, Any]:
    row["full_name"] = f"{row['first']} {row['last']}".title()
    return row


def loop(url: str, rows: int) -> None:
    """What people write by hand."""
    read = b"SELECT id, first, last FROM customers WHERE id > %s AND full_name IS NULL ORDER BY id LIMIT %s"
    write = b"""UPDATE customers SET full_name = v.name
                FROM unnest(%s::bigint[], %s::text[]) AS v (id, name) WHERE customers.id = v.id"""
    done, last = 0, 0
    with psycopg.connect(url) as db:
        while found := db.execute(read, (last, BATCH)).fetchall():
            named = [fix({"id": key, "first": first, "last": name}) for key, first, name in found]
            ids = [row["id"] for row in named]
            done += db.execute(write, (ids, [row["full_name"] for row in named])).rowcount
            db.commit()
            last = ids[-1]
    require(done == rows, f"the loop wrote {done} of {rows} rows")


def backfill(url: str, folder: Path, name: str) -> str:
    """One run with a ledger of its own, opened and closed; its id."""
    file = folder / "names.py"
    file.write_text(_FILE)
    with Trueup(databases={"app": url}, projections=[], ledger=f"sqlite:///{folder}/{name}.db") as engine:
        report = engine.run(engine.backfill(file), rows=1)
        require(report.verdict is Verdict.REPAIRED, f"verdict {report.verdict}: {report.reason}")
        return report.run


def put_back(url: str, folder: Path, name: str, run: str) -> None:
    with Trueup(databases={"app": url}, projections=[], ledger=f"sqlite:///{folder}/{name}.db") as engine:
        engine.backfill(folder / "names.py")
        report = engine.rollback(run, rows=1)
        if report.plan:
            engine.approve(report.plan, reason="bench")
            report = engine.apply(report.plan, rows=1)
        require(report.verdict is Verdict.REPAIRED, f"rollback: {report.verdict}: {report.reason}")


def right(url: str, where: str = "full_name = initcap(first || ' ' || last)") -> None:
    with psycopg.connect(url) as db:
        row = db.execute(f"SELECT count(*) FROM customers WHERE NOT coalesce({where}, false)".encode()).fetchone()
    require(row == (0,), f"{row} rows are wrong afterwards")


def measure(url: str, folder: Path, rows: int, repeat: int) -> Line:
    by_hand: list[Timed] = []
    ours: list[Timed] = []
    cpu: dict[str, list[float]] = {"loop": [], "backfill": []}
    for turn in range(repeat):
        fill(url, rows)
        with ServerCpu(url) as spent:
            by_hand.append(timed(lambda: loop(url, rows))[1])
        cpu["loop"].append(spent.seconds + by_hand[-1].client_cpu_s)
        right(url)
        fill(url, rows)
        with ServerCpu(url) as spent:
            ours.append(timed(lambda turn=turn: backfill(url, folder, f"{rows}-{turn}"))[1])  # type: ignore[misc]
        cpu["backfill"].append(spent.seconds + ours[-1].client_cpu_s)
        right(url)
        say(f"{rows:,} rows: loop {by_hand[-1].wall_s:.1f} s, backfill {ours[-1].wall_s:.1f} s")
    return Line(
        rows=rows,
        loop_s=median_s(by_hand),
        backfill_s=median_s(ours),
        ratio=median_s(ours) / median_s(by_hand),
        loop_cpu_s=median(cpu["loop"]),
        backfill_cpu_s=median(cpu["backfill"]),
        cpu_ratio=median(cpu["backfill"]) / median(cpu["loop"]),
        client_cpu_s=median_cpu_s(ours),
        ledger_mb=(folder / f"{rows}-0.db").stat().st_size / 1e6,
    )


def killed(url: str, folder: Path, rows: int) -> dict[str, int]:
    """Kill a run while it writes, start it again; how many rows were written before, and how often each was at last."""
    fill(url, rows, counted=True)
    child = subprocess.Popen([sys.executable, __file__, "--one", url, str(folder)])
    with psycopg.connect(url, autocommit=True) as db:
        count = b"SELECT count(*) FROM customers WHERE writes > 0"
        while not (before := db.execute(count).fetchone()[0]) and child.poll() is None:  # type: ignore[index]
            time.sleep(0.05)
        require(child.poll() is None, "the run ended before it could be killed")
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        backfill(url, folder, "killed")
        twice = db.execute(b"SELECT count(*) FROM customers WHERE writes <> 1").fetchone()[0]  # type: ignore[index]
    require(twice == 0, f"{twice} rows were not written exactly once")
    right(url)
    return {"killed_after_rows": before, "rows_not_written_once": twice}


@dataclass(frozen=True, kw_only=True, slots=True)
class Back:
    """One rollback."""

    rows: int
    seconds: float
    cpu_s: float
    #: Most memory that its process had, and what a process has that puts 2,000 rows back.
    memory_mb: float
    memory_of_few_mb: float


def rolled_back(url: str, folder: Path, rows: int) -> Back:
    few = _rolled_back(url, folder, 2_000)
    many = _rolled_back(url, folder, rows)
    return Back(rows=rows, seconds=many[0], cpu_s=many[1], memory_mb=many[2], memory_of_few_mb=few[2])


def _rolled_back(url: str, folder: Path, rows: int) -> tuple[float, float, float]:
    """Seconds, CPU seconds of client and server, megabytes of the client."""
    fill(url, rows)
    name = f"rollback-{rows}"
    run = backfill(url, folder, name)
    with ServerCpu(url) as spent:
        begun = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, "--back", url, str(folder), name, run])
        _, ended, used = os.wait4(child.pid, 0)
        took_s = time.perf_counter() - begun
    require(ended == 0, "the rollback failed")
    right(url, "full_name IS NULL")
    return took_s, spent.seconds + used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def main() -> int:
    made = parser(__doc__, minutes=60)
    made.add_argument("--rows", type=at_least(1_000), nargs="+", default=[5_000_000])
    made.add_argument("--kill-rows", type=at_least(1_000), default=200_000, help="rows of the run that is killed")
    made.add_argument("--rollback-rows", type=at_least(1_000), default=200_000, help="rows that are put back")
    made.add_argument("--repeat", type=at_least(1), default=3, help="rounds (default: %(default)s)")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure")
    made.add_argument("--one", nargs=2, metavar=("URL", "FOLDER"), help="one run on a filled table")
    made.add_argument("--back", nargs=4, metavar=("URL", "FOLDER", "NAME", "RUN"), help="one rollback")
    args = made.parse_args()
    if args.back:
        put_back(args.back[0], Path(args.back[1]), args.back[2], args.back[3])
        return 0
    if args.one:
        backfill(args.one[0], Path(args.one[1]), "killed")
        return 0
    about = machine(args.url)
    with time_limit(args.minutes), tempfile.TemporaryDirectory() as name, scratch_database(args.url) as url:
        folder = Path(name)
        fill(url, 5_000)
        backfill(url, folder, "warm")
        lines = [measure(url, folder, rows, args.repeat) for rows in args.rows]
        kill = killed(url, folder, args.kill_rows)
        say(f"killed after {kill['killed_after_rows']:,} rows, and started again: every row was written once")
        back = rolled_back(url, folder, args.rollback_rows)
    print(f"medians of {args.repeat}\n")
    headers = ["rows", "bare loop, s", "backfill, s", "backfill / loop"]
    headers += ["loop, CPU s", "backfill, CPU s", "CPU / CPU", "of it client", "ledger, MB"]
    names = ("rows", "loop_s", "backfill_s", "ratio", "loop_cpu_s", "backfill_cpu_s", "cpu_ratio", "client_cpu_s")
    told = [[getattr(line, name) for name in (*names, "ledger_mb")] for line in lines]
    print(table(headers, told))
    headers = ["rows put back", "s", "rows a second", "CPU s", "memory, MB", "of 2,000 rows, MB"]
    speed = round(back.rows / back.seconds)
    print()
    print(table(headers, [[back.rows, back.seconds, speed, back.cpu_s, back.memory_mb, back.memory_of_few_mb]]))
    missed = [
        f"{x.rows:,} rows: {x.ratio:.2f} x the bare loop, at most {TARGET:g} is the target"
        for x in lines
        if x.ratio > TARGET
    ]
    for problem in missed:
        say(f"target missed: {problem}")
    figures: dict[str, Any] = {"benchmark": "backfill", "machine": about, "lines": [asdict(line) for line in lines]}
    figures |= {"kill": kill, "rollback": asdict(back), "missed": missed}
    return finish(args, figures, missed if args.strict else [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
