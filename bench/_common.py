"""What the benchmarks share: scratch databases, time limits, figures, tables.

Every script makes its own databases, drops them, touches only this machine, and ends after `--minutes` at the latest.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import secrets
import signal
import sqlite3
import statistics
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self, TypeVar

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from trueup import __version__

Result = TypeVar("Result")

#: Where PostgreSQL is, unless `--url` says otherwise.
LOCAL = "postgresql://postgres@127.0.0.1:5432/postgres"
#: The same of MariaDB, and `--mariadb`.
LOCAL_MARIADB = "mariadb://root@127.0.0.1:3306/"
#: What counts as this machine.
_HERE = ("127.0.0.1", "::1", "localhost")


class WrongError(Exception):
    """A promise was broken: the figures of this run are worth nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What one call cost."""

    #: Wall time, seconds: client and server together, since the client waits for the server.
    wall_s: float
    #: CPU time of this process alone, seconds.
    client_cpu_s: float


def timed(call: Callable[[], Result]) -> tuple[Result, Timed]:
    """Call it once, after a garbage collection that it then does not pay for."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, Timed(wall_s=time.perf_counter() - wall, client_cpu_s=time.process_time() - cpu)


def median_s(costs: Sequence[Timed]) -> float:
    """Median wall time, seconds."""
    return statistics.median(cost.wall_s for cost in costs)


def median_cpu_s(costs: Sequence[Timed]) -> float:
    """Median CPU time of the client, seconds."""
    return statistics.median(cost.client_cpu_s for cost in costs)


class Watching(threading.Thread, ABC):
    """Looks at a PostgreSQL server again and again while a block runs, on a connection of its own."""

    #: Seconds between two looks.
    every_s = 0.02

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.db = psycopg.connect(url, autocommit=True, application_name="bench")
        self._over = threading.Event()

    @abstractmethod
    def look(self) -> None: ...

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()
        self.db.close()

    def run(self) -> None:
        while not self._over.wait(self.every_s):
            self.look()


class ServerCpu(Watching):
    """CPU seconds of all sessions of a local PostgreSQL database while a block runs: `with ServerCpu(url) as spent`.

    A session is read until it ends, so that up to 20 ms of each are missing. Sessions are told apart by their process.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._seen: dict[int, float] = {}
        self._before: dict[int, float] = {}

    @property
    def seconds(self) -> float:
        return sum(self._seen.values()) - sum(self._before.values())

    def __enter__(self) -> Self:
        self.look()
        self._before = dict(self._seen)
        return super().__enter__()

    def look(self) -> None:
        mine = b"SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        for (pid,) in self.db.execute(mine).fetchall():
            if told := _lines(f"/proc/{pid}/stat"):
                user, system = told[0].rpartition(")")[2].split()[11:13]
                self._seen[pid] = (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that `share` of `values` do not exceed (nearest rank); 0 if there are none."""
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


def require(holds: bool, what: str) -> None:
    """Raise WrongError unless `holds`."""
    if not holds:
        raise WrongError(what)


# --- databases -------------------------------------------------------------------------------------------------------


def on_this_machine(url: str) -> str:
    """`url`, if it leads to this machine; ValueError otherwise: a benchmark is no visitor for a database elsewhere."""
    told = conninfo_to_dict(url)
    hosts = str(told.get("hostaddr") or told.get("host") or "").split(",")
    elsewhere = [host for host in hosts if host and host not in _HERE and not host.startswith("/")]
    if elsewhere:
        raise ValueError(f"{elsewhere[0]} is not this machine; benchmarks only run against local servers")
    return url


def with_database(url: str, name: str) -> str:
    """The same server, another database; always as a URL, which is what Trueup takes."""
    base, _, query = url.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}/{name}" + (f"?{query}" if query else "")


@contextmanager
def scratch_database(server: str, *, keep: bool = False, suffix: str = "") -> Iterator[str]:
    """URL of a new, empty database; dropped at the end unless `keep`."""
    name = f"trueup_bench_{os.getpid()}_{secrets.token_hex(3)}{suffix}"
    with psycopg.connect(on_this_machine(server), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    try:
        yield with_database(server, name)
    finally:
        if keep:
            say(f"kept: {with_database(server, name)}")
        else:
            with psycopg.connect(server, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


# --- limits ----------------------------------------------------------------------------------------------------------


@contextmanager
def time_limit(minutes: float) -> Iterator[None]:
    """Raise TimeoutError in the main thread after `minutes`; what was opened is closed on the way out."""

    def expired(*_: object) -> None:
        raise TimeoutError(f"not done after {minutes:g} minutes (--minutes)")

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, minutes * 60)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def parser(description: str | None, *, minutes: float) -> argparse.ArgumentParser:
    """The options that every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--url", default=LOCAL, help="a database on a local PostgreSQL server (default: %(default)s)")
    made.add_argument("--seed", type=int, default=1, help="of everything that is random (default: %(default)s)")
    made.add_argument("--json", type=Path, metavar="FILE", help="also write all figures here")
    made.add_argument("--minutes", type=float, default=minutes, help="give up after so long (default: %(default)g)")
    return made


def at_least(least: int) -> Callable[[str], int]:
    """An argparse type: an integer that is not below `least`."""

    def integer(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is below {least}")
        return value

    return integer


# --- telling ---------------------------------------------------------------------------------------------------------


def say(line: str) -> None:
    """Progress goes to stderr, so that stdout holds nothing but tables."""
    print(f"{datetime.now():%H:%M:%S} {line}", file=sys.stderr, flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table, ready for docs/BENCHMARKS.md."""
    told = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *told, strict=True)]
    lines = [headers, ["-" * width for width in widths], *told]
    return "\n".join("| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def machine(url: str | None) -> dict[str, Any]:
    """What the figures were measured on."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ": ?").partition(": ")[2]
    memory = next((line for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "MemTotal: 0 kB")
    told: dict[str, Any] = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "trueup": __version__,
        "python": platform.python_version(),
        "psycopg": psycopg.__version__,
        "sqlite": sqlite3.sqlite_version,
        "cpu": cpu,
        "cpus": os.cpu_count(),
        "memory_gb": round(int(memory.split()[1]) / 2**20, 1),
        "load_1m_before": round(os.getloadavg()[0], 2),
    }
    if url:
        with psycopg.connect(on_this_machine(url)) as connection:
            for name in ("server_version", "shared_buffers", "work_mem", "max_parallel_workers_per_gather", "jit"):
                row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
                told[f"postgres_{name}"] = row[0] if row else ""
    return told


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def finish(args: argparse.Namespace, figures: dict[str, Any], problems: Sequence[str]) -> int:
    """Write the figures, name the problems; the exit code."""
    figures |= {"problems": list(problems), "arguments": {k: str(v) for k, v in vars(args).items()}}
    if args.json:
        args.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for problem in problems:
        print(f"FAILED: {problem}", file=sys.stderr)
    return 1 if problems else 0


def to_exit_code(main: Callable[[], int]) -> int:
    """Run a benchmark; a broken promise or a missed time limit is told in a line and ends in exit code 1."""
    try:
        return main()
    except (WrongError, TimeoutError) as problem:
        print(f"FAILED: {problem}", file=sys.stderr)
        return 1
