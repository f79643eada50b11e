"""CPU time of the database servers themselves: of their own process trees, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg
import pymysql

#: Clock ticks a second in /proc.
_TICKS = os.sysconf("SC_CLK_TCK")
#: Looks at all processes, until none began or ended meanwhile.
TRIES = 1000


def postgres_pid(url: str) -> int:
    """Process id of the postmaster: the parent of the backend that serves us."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row is not None
        return int(_stat(row[0])[1])


def mariadb_pid(connection: pymysql.Connection) -> int:
    """Process id of the server: from its pid file, else the only process of that name."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@pid_file")
        told = Path(str((cursor.fetchone() or ("",))[0]))
    if told.is_absolute() and told.exists():
        return int(told.read_text(encoding="ascii"))
    named = [pid for pid in _pids() if _name(pid) in ("mariadbd", "mysqld")]
    if len(named) != 1:
        raise RuntimeError(f"{len(named)} processes are called mariadbd or mysqld; its CPU time cannot be told")
    return named[0]


def cpu_s(roots: Iterable[int]) -> float:
    """CPU time of these processes and all below them, living or ended: an ended backend's is its parent's by then.

    One that ends while it is looked at would be counted with its parent, too, or with neither: it is looked at again.
    """
    for _ in range(TRIES):
        before = _pids()
        found = {pid: _stat(pid) for pid in before}
        if _pids() == before:
            return _below(set(roots), {pid: fields for pid, fields in found.items() if fields})
    raise RuntimeError("processes begin and end all the time; the servers' CPU time cannot be told")


def _below(wanted: set[int], found: Mapping[int, list[str]]) -> float:
    """CPU time of these processes and their descendants, seconds."""
    while more := {pid for pid, fields in found.items() if int(fields[1]) in wanted} - wanted:
        wanted |= more
    own_and_of_the_ended = (sum(map(int, found[pid][11:15])) for pid in wanted if pid in found)
    return sum(own_and_of_the_ended) / _TICKS


def _pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat behind the name, which may hold blanks; empty if the process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
