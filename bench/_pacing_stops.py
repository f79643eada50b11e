"""How soon nothing more begins, for `pacing.py`: runs are stopped and paused by commands of another process.

Two moments count, both as seen from outside. The switch holds: the ledger shows it to who asks. The last statement
ends: as the database's server tells of our sessions.
"""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _common import Watching

if TYPE_CHECKING:
    from pacing import Bench

#: The commands, what undoes them, and where the ledger shows that they hold.
WAYS = {
    "stop copy": ("resume copy", "trueup_controls WHERE state = 'stopped'"),
    "pause copy": ("resume copy", "trueup_controls WHERE state = 'paused'"),
    "pace app set pause=true": ("pace app clear", "trueup_paces WHERE override LIKE '%pause%'"),
}
#: In the middle of what: a load, and how long a statement aims to take, seconds.
MIDDLES = {"a statement": (1.0, 1.0), "a rest": (0.05, 0.02)}
#: How the foreground is loaded; seconds until the load is settled, and that are watched after the switch.
SHARE, SETTLED_S, WATCHED_S = 0.5, 2.5, 3.0
LOOK_S = 0.005
#: Most tries to meet a run in the middle of what is wanted.
TRIES = 3


class Sessions(Watching):
    """Our sessions as the server tells of them: when a statement was in flight."""

    every_s = LOOK_S

    def __init__(self, url: str) -> None:
        super().__init__(url)
        #: Begin and end of each statement that was seen, by the process that had it and its begin.
        self.seen: dict[tuple[int, float], float] = {}

    def look(self) -> None:
        asked = (
            "SELECT pid, extract(epoch FROM query_start)::float8, "
            "extract(epoch FROM CASE state WHEN 'active' THEN clock_timestamp() ELSE state_change END)::float8 "
            "FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'trueup' "
            "AND query_start IS NOT NULL"
        )
        for pid, begin, end in self.db.execute(asked).fetchall():
            self.seen[pid, begin] = end

    def at(self, moment: float) -> tuple[float, float] | None:
        """Begin and end of a statement that was in flight then."""
        return next(((begin, end) for (_, begin), end in self.seen.items() if begin <= moment < end), None)

    @property
    def last(self) -> float:
        return max(self.seen.values())


def stops(bench: Bench) -> list[dict[str, Any]]:
    with bench.foreground(SHARE):
        return [_met(bench, way, middle) for way in WAYS for middle in MIDDLES]


def _met(bench: Bench, way: str, middle: str) -> dict[str, Any]:
    """Tried again where the switch came in the middle of something else."""
    for _ in range(TRIES):
        row = _stopped(bench, way, middle)
        if (row["statement_s"] > 0) is (middle == "a statement"):
            break
    return row


def _stopped(bench: Bench, way: str, middle: str) -> dict[str, Any]:
    undo, shows = WAYS[way]
    u, statement_s = MIDDLES[middle]
    pace = {"pace": {"adaptive": False, "fixed": u, "most": max(u, 0.05), "statement": statement_s}}
    folder = bench.folder_of_a_worker()
    worker = bench.background("run", pace, [], folder=folder)
    try:
        time.sleep(SETTLED_S)
        with Sessions(bench.url) as sessions:
            asked_at = time.time()
            asking = subprocess.Popen(_trueup(way, folder), stdout=subprocess.DEVNULL)
            holds_at = _shown(folder / "ledger.db", shows)
            asking.wait()
            returned_at = time.time()
            time.sleep(max(holds_at + WATCHED_S - time.time(), 0))
        flying = sessions.at(holds_at)
        return {
            "way": way,
            "middle": middle,
            "took_s": max(sessions.last - holds_at, 0.0),
            "statement_s": flying[1] - flying[0] if flying else 0.0,
            "begun": sum(begin > holds_at for _, begin in sessions.seen),
            "command_s": returned_at - asked_at,
        }
    finally:
        worker.terminate()
        worker.wait()
        subprocess.run(_trueup(undo, folder), check=True, stdout=subprocess.DEVNULL)


def _trueup(words: str, folder: Path) -> list[str]:
    return [sys.executable, "-m", "trueup", *words.split(), "--config", str(folder / "trueup.toml")]


def _shown(ledger: Path, shows: str) -> float:
    """When a switch holds; rather a look too early than one too late."""
    with closing(sqlite3.connect(ledger, timeout=5)) as db:
        while True:
            at = time.time()
            time.sleep(LOOK_S)
            if db.execute(f"SELECT count(*) FROM {shows}").fetchone()[0]:
                return at


def show(rows: list[dict[str, Any]]) -> None:
    print("\n## stop\n\n| trueup ... | in the middle of | statement, s | until the last ended, s | begun since |")
    print("|---|---|---|---|---|")
    for row in rows:
        met = row["middle"] if (row["statement_s"] > 0) is (row["middle"] == "a statement") else "(not met)"
        print(f"| {row['way']} | {met} | {row['statement_s']:.3f} | {row['took_s']:.3f} | {row['begun']} |")
