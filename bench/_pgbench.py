"""The foreground of `pacing.py`: pgbench, and how long each of its transactions took."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import psycopg
from _common import percentile

CLIENTS = 8
#: Of each of the two tables that are compared beside it.
ROWS = 3_000_000


def fill(url: str) -> None:
    """The foreground's tables, and the background's."""
    subprocess.run(["pgbench", "-i", "-q", "-s", "10", url], check=True, capture_output=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"CREATE TABLE trueup_one AS SELECT i::bigint AS id, (i::bigint * 7919 % 1000003)::int AS n "
            f"FROM generate_series(1, {ROWS}) i"
        )
        connection.execute("ALTER TABLE trueup_one ADD PRIMARY KEY (id)")
        connection.execute("CREATE TABLE trueup_two AS TABLE trueup_one")
        connection.execute("ALTER TABLE trueup_two ADD PRIMARY KEY (id)")
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")


def pgbench(url: str, seconds: float, folder: Path, name: str, rate: float | None) -> subprocess.Popen[str]:
    """A foreground; its transactions are logged to files that begin with `name`."""
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "1", "-T", str(int(seconds)), "-l"]
    command += ["--log-prefix", str(folder / name), "-b", "select-only@8", "-b", "simple-update@2"]
    command += [] if rate is None else ["-R", f"{rate:.0f}"]
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "text": True}
    return subprocess.Popen([*command, url], env={**os.environ, "PGAPPNAME": "shop"}, **quiet)


def latencies(folder: Path, name: str) -> list[tuple[float, float]]:
    """When a transaction ended, seconds since 1970, and milliseconds since it was due."""
    found = []
    for path in folder.glob(f"{name}.*"):
        for line in path.read_text().splitlines():
            cells = line.split()
            if len(cells) >= 6 and cells[2].isdigit():
                found.append((float(cells[4]) + float(cells[5]) / 1e6, float(cells[2]) / 1000))
        path.unlink()
    return sorted(found)


def quantiles(of: list[tuple[float, float]], begin: float, end: float) -> dict[str, float]:
    ms = sorted(ms for at, ms in of if begin <= at < end)
    return {f"p{q}": percentile(ms, q / 100) for q in (50, 95, 99)} | {"count": len(ms)}


def usual_part(of: list[tuple[float, float]], begins: Iterable[float], lasts_s: float) -> dict[str, float]:
    """Medians of parts that last as long as each other, and the worst p95 of them: so a long look stands beside short
    ones. One stall makes the p95 of all of it, and the longer one looks, the surer one sees a stall.
    """
    parts = [quantiles(of, begin, begin + lasts_s) for begin in begins]
    usual = {q: median(part[q] for part in parts) for q in ("p50", "p95", "p99")}
    return usual | {"worst_p95": max(part["p95"] for part in parts)}
