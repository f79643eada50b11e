"""How much background work slows the foreground on MariaDB: the shortest form of `pacing.py`.

    python bench/pacing_mariadb.py --json pacing_mariadb.json      # about 5 minutes; needs sysbench

The foreground is sysbench with an open loop (`--rate`): events of four reads by key and one update, each a transaction
of its own, at shares of what it can do alone. The background is that of `pacing.py`. After a while that does not count,
times of the foreground's events are taken from its histogram.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from _common import LOCAL_MARIADB
from _databases import scratch
from pacing import ROWS, Bench, rate
from peers.tables import mariadb
from sqlalchemy.engine import make_url

SHARES = (0.2, 0.5)
#: Kind of background, its pacing, and the seconds that do not count and that do.
KINDS: list[tuple[str, dict[str, Any] | None, int, int]] = [
    ("", None, 3, 12),
    ("one unpaced worker", None, 3, 12),
    ("fixed 1,000 rows + 0.1 s", None, 3, 12),
    ("governor", {"protect": 0.1}, 30, 20),
]
#: What sysbench counts as an event: 4 reads and an update.
WORK = ["oltp_read_write", "--tables=1", "--table-size=100000", "--skip-trx=on", "--point-selects=4"]
WORK += ["--index-updates=0", "--non-index-updates=1", "--delete-inserts=0", "--range-selects=off"]
_BAR = re.compile(r"\s*([\d.]+) \|[* ]*\s(\d+)\s*$")


def fill(url: str) -> None:
    with closing(mariadb(url)) as connection, connection.cursor() as cursor:
        for table in ("trueup_one", "trueup_two"):
            cursor.execute(f"CREATE TABLE {table} (id BIGINT PRIMARY KEY, n INT NOT NULL)")
            cursor.execute(f"INSERT INTO {table} SELECT seq, (seq * 7919) % 1000003 FROM seq_1_to_{ROWS}")
            connection.commit()
        cursor.execute("ANALYZE TABLE trueup_one, trueup_two")
    sysbench(url, "prepare")


def sysbench(url: str, action: str, *more: str) -> str:
    parts = make_url(url)
    where = [f"--mysql-host={parts.host}", f"--mysql-port={parts.port or 3306}", f"--mysql-user={parts.username}"]
    where += [f"--mysql-password={parts.password or ''}", f"--mysql-db={parts.database}", "--threads=8"]
    command = ["sysbench", *where, *WORK, *more, action]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout


def foreground(url: str, seconds: int, events: float) -> dict[str, float]:
    """Quantiles of an event's time since it was due, milliseconds."""
    told = sysbench(url, "run", f"--time={seconds}", f"--rate={events:.0f}", "--histogram=on")
    bars = [(float(found[1]), int(found[2])) for line in told.splitlines() if (found := _BAR.match(line))]
    total, seen, found_ms = sum(count for _, count in bars), 0, dict[str, float]()
    for ms, count in bars:
        seen += count
        for q in (50, 95, 99):
            if seen >= total * q / 100:
                found_ms.setdefault(f"p{q}", ms)
    return {**found_ms, "count": total}


@contextmanager
def beside(bench: Bench, kind: str, pace: dict[str, Any] | None, trace: list[dict[str, Any]]) -> Iterator[None]:
    worker = bench.background(kind, pace, trace) if kind else None
    try:
        yield
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()


def measured(bench: Bench) -> list[dict[str, Any]]:
    told = sysbench(bench.url, "run", "--time=10", "--rate=0")
    bench.max_tps = float(re.findall(r"transactions: .*\(([\d.]+) per sec", told)[0])
    found = []
    for share in SHARES:
        for kind, pace, warm_s, counts_s in KINDS:
            trace: list[dict[str, Any]] = []
            with beside(bench, kind, pace, trace):
                sysbench(bench.url, "run", f"--time={warm_s}", f"--rate={bench.max_tps * share:.0f}")
                begin = time.time()
                times = foreground(bench.url, counts_s, bench.max_tps * share)
                end = time.time()
            us = [line["u"] for line in trace if "u" in line and begin <= line["at"] <= end]
            row = {"share": share, "kind": kind, **times, "rows_per_s": rate(trace, begin, end)}
            found.append(row | {"u": sum(us) / len(us) if us else None})
    return found


def show(told: dict[str, Any]) -> None:
    print(f"\nat most {told['max_tps']:,.0f} events a second\n")
    print("| load | background | u | rows/s | p50 | p95 | p99, ms | x p50 / p95 / p99 |")
    print("|---|---|---|---|---|---|---|---|")
    alone: dict[str, Any] = {}
    for row in told["cells"]:
        alone = row if not row["kind"] else alone
        times = " / ".join(f"{row[q] / alone[q]:.2f}" for q in ("p50", "p95", "p99"))
        u = "" if row["u"] is None else f"{row['u']:.2f}"
        print(
            f"| {row['share']:.0%} | {row['kind'] or 'none'} | {u} | {row['rows_per_s']:,.0f} "
            f"| {row['p50']:.2f} | {row['p95']:.2f} | {row['p99']:.2f} | {times} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mariadb", default=LOCAL_MARIADB, help="a local MariaDB server (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("pacing_mariadb.json"), help="figures")
    parser.add_argument("--show", type=Path, help="print the table of this file, and measure nothing")
    asked = parser.parse_args()
    if asked.show:
        show(json.loads(asked.show.read_text()))
        return
    with (
        scratch("mariadb", 1, postgresql="", mariadb_server=asked.mariadb) as (url,),
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(url)
        bench = Bench(url, Path(folder))
        cells = measured(bench)
        told = {"max_tps": bench.max_tps, "cells": cells}
        asked.json.write_text(json.dumps(told, indent=1))
    show(told)


if __name__ == "__main__":
    main()
