"""CPU time of the database servers themselves: of their own process trees, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psycopg
import pymysql

#: Clock ticks a second in /proc.
_TICKS = os.sysconf("SC_CLK_TCK")


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
    """CPU time of these processes and all below them, living or ended: an ended backend's is its parent's by then."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for pid in _pids():
        if fields := _stat(pid):
            parents[pid] = int(fields[1])
            ticks[pid] = sum(int(field) for field in fields[11:15])  # own, and those of ended children
    wanted = set(roots)
    grown = True
    while grown:
        found = {pid for pid, parent in parents.items() if parent in wanted} - wanted
        grown = bool(found)
        wanted |= found
    return sum(ticks.get(pid, 0) for pid in wanted) / _TICKS


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
