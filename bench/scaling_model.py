"""What a thousand partitions a second, or billions of rows an hour, would take: measured constants and a simple model.

    python bench/scaling_model.py

Measures what one more partition and one more row cost the process that runs, the database and the ledger's database
(two sizes each, so that what is paid once drops out), and multiplies. The last line holds the model against a size that
it was not made from. It knows of no contention: what it says is the least that is needed.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from typing import Any

import psycopg
from _common import finish, machine, parser, require, say, scratch_database, table, time_limit, to_exit_code

from trueup import Projection, Side, Trueup, Verdict

#: Rows of one small partition.
ROWS = 100
_FILL = """
    DROP TABLE IF EXISTS truth, copy;
    CREATE TABLE truth (tenant int NOT NULL, id bigint NOT NULL, n bigint NOT NULL, PRIMARY KEY (tenant, id));
    INSERT INTO truth SELECT g / {each}, g, g FROM generate_series(0, {rows} - 1) g;
    CREATE TABLE copy (LIKE truth INCLUDING ALL);
    INSERT INTO copy SELECT * FROM truth;
    ANALYZE truth, copy;
"""
_ACTIVE = "SELECT active_time / 1000 FROM pg_stat_database WHERE datname = current_database()"


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Seconds: wall, CPU of the process that runs, statements of the database and of the ledger's database."""

    wall: float
    process: float
    database: float
    ledger: float

    def less(self, other: Cost, by: float) -> Cost:
        """What one more costs, of two sizes that differ `by` so many."""
        names = ("wall", "process", "database", "ledger")
        return Cost(**{name: max(getattr(self, name) - getattr(other, name), 0.0) / by for name in names})


def active_s(url: str) -> float:
    with psycopg.connect(url, autocommit=True) as db:
        row = db.execute(_ACTIVE.encode()).fetchone()
        assert row is not None
        return float(row[0])


def check(url: str, ledger: str, *, rows: int, partitioned: bool) -> Cost:
    with psycopg.connect(url, autocommit=True) as db:
        db.execute(_FILL.format(rows=rows, each=ROWS).encode())
    given: dict[str, Any] = {"partition": {"by": "column", "column": "tenant"}} if partitioned else {}
    projection = Projection(
        name="copy",
        source=Side(database="app", table="truth"),
        target=Side(database="app", table="copy"),
        key=("tenant", "id"),
        writers="same_transaction",
        **given,
    )
    before = active_s(url), active_s(ledger)
    with Trueup(databases={"app": url}, projections=[projection], ledger=ledger) as engine:
        wall, cpu = time.perf_counter(), time.process_time()
        report = engine.check("copy")
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    require(report.verdict is Verdict.IN_SYNC, f"{report.verdict}: {report.reason}")
    time.sleep(0.5)  # the server counts what its sessions did when they have ended
    return Cost(wall=wall, process=cpu, database=active_s(url) - before[0], ledger=active_s(ledger) - before[1])


def main() -> int:
    args = parser(__doc__, minutes=10).parse_args()
    with time_limit(args.minutes), scratch_database(args.url) as url, scratch_database(args.url, suffix="l") as ledger:
        check(url, ledger, rows=ROWS * 10, partitioned=True)  # makes the ledger
        small = {many: check(url, ledger, rows=ROWS * many, partitioned=True) for many in (100, 500)}
        a_partition = small[500].less(small[100], 400)
        large = {rows: check(url, ledger, rows=rows, partitioned=False) for rows in (200_000, 2_000_000)}
        a_row = large[2_000_000].less(large[200_000], 1_800_000)
        say("measured")
        seen = check(url, ledger, rows=ROWS * 300, partitioned=True)
    rates = {"1,000 partitions/s": (a_partition, 1000.0)}
    rates |= {f"{n} billion rows in an hour": (a_row, n * 1e9 / 3600) for n in (1, 10)}
    told = [
        [name, cost.wall * rate, cost.process * rate, cost.database * rate, cost.ledger * rate]
        for name, (cost, rate) in rates.items()
    ]
    print(f"one partition of {ROWS} rows: {a_partition}\none row of a large table: {a_row}\n")
    print(
        table(["to get", "runs at a time", "cores of processes", "busy in the database", "busy in the ledger's"], told)
    )
    model = small[100].wall + 200 * a_partition.wall
    print(f"\n300 partitions: {model:.1f} s by the model, {seen.wall:.1f} s measured")
    figures = {"benchmark": "scaling_model", "machine": machine(args.url), "lines": told, "model_s": model}
    return finish(args, figures | {"measured_s": seen.wall}, [])


if __name__ == "__main__":
    sys.exit(to_exit_code(main))
