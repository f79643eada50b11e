"""One budget of several processes, for `pacing.py`: what the server counts of them together.

Two processes of two projections each share a ledger. After a minute the one that decides is killed (SIGKILL), another
takes over, a third comes in its place; in the end all are killed, and one begins anew.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from _common import Watching

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from pacing import Bench

#: How the foreground is loaded.
SHARE = 0.1
#: Seconds before anything counts, that count, and in which somebody has to have taken over.
WARM_S, COUNTS_S, TAKEN_OVER_S = 8, 60, 12
#: Seconds of the control, in which each process has a budget of its own.
CONTROL_S = 8
#: Enough to be counted however busy the machine is, in statements that are long beside what is done in between.
LEAST, STATEMENT_S = 0.4, 0.2
PACE = {"protect": 1.0, "pace": {"least": LEAST, "statement": STATEMENT_S}}
#: Of the control.
FIXED = {"pace": {"adaptive": False, "fixed": LEAST, "most": LEAST, "statement": STATEMENT_S}}
PROJECTIONS = (("a", "b"), ("c", "d"))

Trace = list[dict[str, Any]]


class InFlight(Watching):
    """Statements of ours that the server has in flight, and the budget that the ledger tells meanwhile."""

    every_s = 0.01

    def __init__(self, url: str, ledger: Path | None) -> None:
        super().__init__(url)
        self._ledger = ledger
        self.counts: list[int] = []
        self.budgets: list[float] = []

    def look(self) -> None:
        asked = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND application_name = 'trueup' AND state = 'active'"
        )
        self.counts.append((self.db.execute(asked).fetchone() or (0,))[0])
        if self._ledger is not None and len(self.counts) % 10 == 1:
            with closing(sqlite3.connect(self._ledger, timeout=5)) as ledger:
                self.budgets.append(ledger.execute("SELECT u FROM trueup_paces").fetchone()[0])


def shared(bench: Bench) -> list[dict[str, Any]]:
    with bench.foreground(SHARE), _workers(bench) as begin:
        folder = bench.folder_of_a_worker()
        nodes = [begin(names, folder) for names in PROJECTIONS]
        time.sleep(WARM_S)
        with InFlight(bench.url, folder / "ledger.db") as seen:
            time.sleep(COUNTS_S)
        found = [_together("one ledger", seen, fmean(seen.budgets))]
        leader = next(node for node in nodes if node[1][-1]["leads"])
        other = next(node for node in nodes if node is not leader)
        good = leader[1][-1]["good"]
        leader[0].kill()
        leader[0].wait()
        found.append(_taken_over("the one that decides is killed", other[1], good))
        late = begin(PROJECTIONS[0], folder)
        time.sleep(5)
        good = other[1][-1]["good"]
        for node in (other, late):
            node[0].kill()
            node[0].wait()
        anew = begin(PROJECTIONS[1], folder)
        found.append(_taken_over("all are killed, and one begins anew", anew[1], good))
    with bench.foreground(SHARE), _workers(bench) as begin:
        for names in PROJECTIONS:
            begin(names, bench.folder_of_a_worker(), FIXED)
        with InFlight(bench.url, None) as seen:
            time.sleep(CONTROL_S)
        found.append(_together("a ledger each", seen, LEAST))
    return found


@contextmanager
def _workers(bench: Bench) -> Iterator[Any]:
    """What begins workers that end with the block."""
    begun: list[subprocess.Popen[str]] = []

    def begin(names: tuple[str, ...], folder: Path, pace: Any = PACE) -> tuple[subprocess.Popen[str], Trace]:
        from _pacing_loads import declared

        if not (folder / "trueup.toml").exists():
            declared(bench.url, pace, folder, [name for some in PROJECTIONS for name in some])
        trace: Trace = []
        begun.append(bench.background("governor", pace, trace, folder=folder, names=names))
        return begun[-1], trace

    try:
        yield begin
    finally:
        for worker in begun:
            worker.kill()
            worker.wait()


def _together(what: str, seen: InFlight, budget: float) -> dict[str, Any]:
    return {"what": what, "in_flight": fmean(seen.counts), "most": max(seen.counts), "budget": budget}


def _taken_over(what: str, trace: Trace, good: float) -> dict[str, Any]:
    """How soon a node decides, in which state it begins to, and what it knows of before."""
    began, at = time.time(), len(trace)
    while time.time() < began + TAKEN_OVER_S:
        lines = [line for line in trace[at:] if line.get("leads")]
        if len(lines) >= 4:
            break
        time.sleep(0.1)
    else:
        return {"what": what, "after_s": None}
    modes = [line["mode"] for line in lines]
    return {"what": what, "after_s": lines[0]["at"] - began, "modes": modes, "good": [good, lines[0]["good"]]}


def show(rows: list[dict[str, Any]]) -> None:
    print("\n## shared\n\n| two processes, two projections each | in flight, mean | at a time, most | budget |")
    print("|---|---|---|---|")
    for row in rows:
        if "in_flight" in row:
            print(f"| {row['what']} | {row['in_flight']:.3f} | {row['most']} | {row['budget']:.3f} |")
    print("\n| what happens | decided after, s | states | load known to be good, before and after |\n|---|---|---|---|")
    for row in rows:
        if row.get("after_s") is not None:
            good = " / ".join(f"{u:.2f}" for u in row["good"])
            print(f"| {row['what']} | {row['after_s']:.1f} | {', '.join(dict.fromkeys(row['modes']))} | {good} |")
        elif "after_s" in row:
            print(f"| {row['what']} | never | | |")
