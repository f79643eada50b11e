"""A million drifted rows in one PostgreSQL database: `trueup run` beside the plain `UPDATE ... FROM`.

    python bench/mass.py                       # 1,000,000 and 100,000 rows
    python bench/mass.py --rows 100000         # a look

Every row of a copy is wrong. By hand it is one statement, that keeps nothing; `trueup run` compares, writes down each
row's before- and after-image and the audit line, repairs, verifies, and writes down what became of them. Both take
turns; before each the tables are filled anew, vacuumed, and a checkpoint is made.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg
from _common import (
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

from trueup import Limits, Projection, Side, Trueup, Verdict

#: Most that a run may cost, in plain updates, and the rows from which that is promised.
TARGET, PROMISED_FROM = 3.0, 1_000_000

_FILL = """
    DROP TABLE IF EXISTS truth, copy;
    CREATE TABLE truth (id bigint PRIMARY KEY, n bigint NOT NULL);
    CREATE TABLE copy (id bigint PRIMARY KEY, n bigint NOT NULL);
    INSERT INTO truth SELECT g, g * 7 FROM generate_series(1, {rows}) g;
    INSERT INTO copy SELECT g, g * 7 + 1 FROM generate_series(1, {rows}) g;
"""
_BY_HAND = "UPDATE copy SET n = truth.n FROM truth WHERE truth.id = copy.id AND copy.n IS DISTINCT FROM truth.n"
_WRONG = "SELECT count(*) FROM truth FULL JOIN copy USING (id) WHERE truth.n IS DISTINCT FROM copy.n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One size; medians."""

    rows: int
    by_hand_s: float
    run_s: float
    client_cpu_s: float
    ratio: float
    #: Peak memory of a process that runs the engine once, MB.
    memory_mb: float
    #: Size of the ledger after one run, MB.
    ledger_mb: float


def fill(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_FILL.format(rows=rows).encode())
        for statement in ("VACUUM (ANALYZE) truth", "VACUUM (ANALYZE) copy", "CHECKPOINT"):
            db.execute(statement.encode())


def by_hand(url: str, rows: int) -> None:
    with psycopg.connect(url, autocommit=True) as db:
        changed = db.execute(_BY_HAND.encode()).rowcount
    require(changed == rows, f"by hand: {changed} of {rows} rows")


def run(url: str, ledger: Path, rows: int) -> None:
    """One run with a ledger of its own, opened and closed."""
    projection = Projection(
        name="copy",
        source=Side(database="app", table="truth"),
        target=Side(database="app", table="copy"),
        key="id",
        writers="same_transaction",
        limits=Limits(rows=rows, share=1.0),
    )
    with Trueup(databases={"app": url}, projections=[projection], ledger=f"sqlite:///{ledger}") as engine:
        report = engine.run("copy")
        require(report.verdict is Verdict.REPAIRED, f"verdict {report.verdict}: {report.reason}")
        require(report.repaired == rows, f"{report.repaired} of {rows} rows repaired")


def right(url: str) -> None:
    with psycopg.connect(url) as db:
        row = db.execute(_WRONG.encode()).fetchone()
    require(row == (0,), f"{row} rows are wrong afterwards")


def measure(url: str, folder: Path, rows: int, repeat: int) -> Line:
    hand: list[Timed] = []
    ours: list[Timed] = []
    for turn in range(repeat):
        fill(url, rows)
        hand.append(timed(lambda: by_hand(url, rows))[1])
        right(url)
        fill(url, rows)
        ledger = folder / f"{rows}-{turn}.db"
        ours.append(timed(lambda ledger=ledger: run(url, ledger, rows))[1])  # type: ignore[misc]
        right(url)
        say(f"{rows:,} rows: by hand {hand[-1].wall_s:.1f} s, run {ours[-1].wall_s:.1f} s")
    fill(url, rows)
    memory = subprocess.run(
        [sys.executable, __file__, "--one", url, str(folder / f"memory-{rows}.db"), "--rows", str(rows)],
        check=True,
        capture_output=True,
        text=True,
    )
    return Line(
        rows=rows,
        by_hand_s=median_s(hand),
        run_s=median_s(ours),
        client_cpu_s=median_cpu_s(ours),
        ratio=median_s(ours) / median_s(hand),
        memory_mb=float(memory.stdout),
        ledger_mb=(folder / f"{rows}-0.db").stat().st_size / 1e6,
    )


def main() -> int:
    made = parser(__doc__, minutes=30)
    made.add_argument("--rows", type=at_least(1_000), nargs="+", default=[1_000_000, 100_000])
    made.add_argument("--repeat", type=at_least(1), default=3, help="rounds (default: %(default)s)")
    made.add_argument("--strict", action="store_true", help="a missed target is a failure")
    made.add_argument("--one", nargs=2, metavar=("URL", "LEDGER"), help="one run on filled tables: its peak memory")
    args = made.parse_args()
    if args.one:
        run(args.one[0], Path(args.one[1]), args.rows[0])
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return 0
    about = machine(args.url)
    lines: list[Line] = []
    with time_limit(args.minutes), tempfile.TemporaryDirectory() as folder, scratch_database(args.url) as url:
        fill(url, 1_000)
        run(url, Path(folder, "warm.db"), 1_000)
        lines += [measure(url, Path(folder), rows, args.repeat) for rows in args.rows]
    print(f"medians of {args.repeat}\n")
    headers = ["rows", "by hand, s", "run, s", "run / by hand", "client CPU, s", "client's memory, MB", "ledger, MB"]
    told = [[x.rows, x.by_hand_s, x.run_s, x.ratio, x.client_cpu_s, x.memory_mb, x.ledger_mb] for x in lines]
    print(table(headers, told))
    missed = [
        f"{x.rows:,} rows: {x.ratio:.2f} x the update by hand, at most {TARGET:g} is the target"
        for x in lines
        if x.rows >= PROMISED_FROM and x.ratio > TARGET
    ]
    for problem in missed:
        say(f"target missed: {problem}")
    figures: dict[str, Any] = {"benchmark": "mass", "machine": about, "lines": [asdict(line) for line in lines]}
    return finish(args, figures | {"missed": missed}, missed if args.strict else [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
