"""How much background work slows the foreground on MariaDB: a short form of `pacing.py`, judged by the same aims.

    python bench/pacing_mariadb.py --json pacing_mariadb.json      # about 7 minutes; needs sysbench
    python bench/pacing_mariadb.py --show pacing_mariadb.json      # the tables, and each aim with whether it is held

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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import LOCAL_MARIADB
from _databases import scratch
from _pacing_aims import FIXED_BATCH, UNPACED
from pacing import (
    CELL_S,
    GOVERNOR_S,
    PACE,
    ROWS,
    STEADY_FROM_S,
    WARM_S,
    Bench,
    of_governor,
    promised,
    rate,
    show_all,
    traced,
    usual,
)
from peers.tables import mariadb
from sqlalchemy.engine import make_url

SHARES = (0.2, 0.5)
#: What other tools do, of which the aims speak; some seconds between two reports of the foreground.
KINDS, EACH_S = (UNPACED, FIXED_BATCH), 5
#: What sysbench counts as an event: 4 reads and an update.
WORK = ["oltp_read_write", "--tables=1", "--table-size=100000", "--skip-trx=on", "--point-selects=4"]
WORK += ["--index-updates=0", "--non-index-updates=1", "--delete-inserts=0", "--range-selects=off"]
_INTERVAL = re.compile(r"lat \(ms,95%\): ([\d.]+)")
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Felt:
    """What the foreground felt in one run of it."""

    #: Quantiles of an event's time since it was due, milliseconds, and how many events there were.
    times: dict[str, float]
    #: The 95th percentile of each few seconds.
    p95s: list[float]


def foreground(url: str, seconds: int, events: float) -> Felt:
    more = [f"--time={seconds}", f"--rate={events:.0f}", "--histogram=on", "--percentile=95"]
    told = sysbench(url, "run", *more, f"--report-interval={EACH_S}")
    bars = [(float(found[1]), int(found[2])) for line in told.splitlines() if (found := _BAR.match(line))]
    total, seen, found_ms = sum(count for _, count in bars), 0, dict[str, float]()
    for ms, count in bars:
        seen += count
        for q in (50, 95, 99):
            if seen >= total * q / 100:
                found_ms.setdefault(f"p{q}", ms)
    return Felt(times={**found_ms, "count": total}, p95s=[float(ms) for ms in _INTERVAL.findall(told)])


@contextmanager
def beside(bench: Bench, kind: str, trace: list[dict[str, Any]]) -> Iterator[None]:
    worker = bench.background(kind, PACE if kind == "governor" else None, trace) if kind else None
    try:
        yield
    finally:
        if worker is not None:
            worker.terminate()
            worker.wait()


def cell(bench: Bench, share: float, kind: str, warm_s: int, counts_s: int) -> dict[str, Any]:
    return bench.patience.undisturbed(lambda: _cell(bench, share, kind, warm_s, counts_s))


def _cell(bench: Bench, share: float, kind: str, warm_s: int, counts_s: int) -> dict[str, Any]:
    trace: list[dict[str, Any]] = []
    began = time.time()
    with beside(bench, kind, trace):
        ramp = foreground(bench.url, warm_s, bench.max_tps * share)
        begin = time.time()
        felt = foreground(bench.url, counts_s, bench.max_tps * share)
        end = time.time()
    row = {"share": share, "kind": kind, "most_tps": bench.max_tps, **felt.times}
    row["rows_per_s"] = rate(trace, begin, end)
    if kind == "governor":
        row |= of_governor([line for line in trace if "u" in line and begin <= line["at"] <= end])
        row |= promised({"trace": trace}) | {"ramp_p95": max(ramp.p95s)}
        row["trace"] = traced({"trace": trace, "began": began})
    return row


def measured(bench: Bench) -> dict[str, Any]:
    """In the form of what `pacing.py` measures."""
    governors, others = [], []
    for share in SHARES:
        told = sysbench(bench.url, "run", "--time=10", "--rate=0")
        bench.max_tps = float(re.findall(r"transactions: .*\(([\d.]+) per sec", told)[0])
        looks = [_alone(bench, share), _alone(bench, share)]
        ours = cell(bench, share, "governor", STEADY_FROM_S, GOVERNOR_S - STEADY_FROM_S)
        looks += [_alone(bench, share), _alone(bench, share)]
        governors += [usual(looks), ours]
        rows = [cell(bench, share, kind, WARM_S, CELL_S - WARM_S) for kind in KINDS]
        others += [usual([*looks[2:], _alone(bench, share)]), *rows]
    return {"governor": governors, "baselines": others}


def _alone(bench: Bench, share: float) -> dict[str, Any]:
    return cell(bench, share, "", WARM_S, CELL_S - WARM_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mariadb", default=LOCAL_MARIADB, help="a local MariaDB server (default: %(default)s)")
    parser.add_argument("--json", type=Path, default=Path("pacing_mariadb.json"), help="figures")
    parser.add_argument("--show", type=Path, help="print the tables of this file, and measure nothing")
    asked = parser.parse_args()
    if asked.show:
        show_all(json.loads(asked.show.read_text()))
        return
    with (
        scratch("mariadb", 1, postgresql="", mariadb_server=asked.mariadb) as (url,),
        tempfile.TemporaryDirectory() as folder,
    ):
        fill(url)
        told = measured(Bench(url, Path(folder)))
        asked.json.write_text(json.dumps(told, indent=1))
    show_all(told)


if __name__ == "__main__":
    main()
