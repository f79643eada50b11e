"""Live traffic: departures are written at a steady rate; a projector follows with a lag and known mistakes.

    python -m trueup.demo.traffic DB --faults FILE [--seed N] [--rate R] [--lag S] [--seconds T]
                                  [--live-faults N] [--fault-window S] [--drain]

One loop does both, a tick every few milliseconds: one transaction for the departures that are due, then one
for each projection with the events that are old enough. Few and short transactions, because in SQLite's
rollback mode a reader blocks a writer and the other way round, and there must be room for somebody who
repairs. Arrivals do not wait: after a stall the writer catches up, and how long each commit took is in the
totals.
"""

import argparse
import json
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from trueup.demo.faults import plan_faults
from trueup.demo.judge import still_wrong
from trueup.demo.projector import Lag, Projector, position_of
from trueup.demo.schema import PROJECTIONS, SCHEMA, Departure, connect, load_flights, transact

__all__ = ["Prepared", "Totals", "prepare", "replay", "still_wrong"]

#: Length of one turn of the loop: how long the file is left to others, less what the turn itself took.
TICK_S = 0.03
#: Most departures in one transaction while catching up after a stall.
BATCH_MAX = 50

#: Why a replay ended: the time was up, it was asked to, or nothing of the month was left.
Ended = Literal["seconds", "asked", "month_over"]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What one replay did."""

    #: Departures written to the truth.
    written: int
    #: Events that changed a row, both projections together.
    applied: int
    #: Events that were no-ops because the row already reflected them: a repair had been quicker.
    skipped: int
    #: Mistakes committed.
    faults: int
    #: Events written but not yet applied at the end, both projections together.
    pending: int
    #: Length of the replay, seconds.
    seconds: float
    #: Departures written a second.
    rate_per_s: float
    #: Milliseconds to begin and commit one write of departures: half of the writes took less.
    write_ms_p50: float
    #: The same: 99 of 100 writes took less.
    write_ms_p99: float
    #: The same: the longest.
    write_ms_max: float
    #: Why it ended: the time was up, it was asked to, or the month was over.
    ended: Ended


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """What the set-up made."""

    #: Departures in the truth, all applied to both projections.
    departures: int
    #: Departures of the month that are left for the replay.
    remaining: int
    #: Mistakes committed in the history.
    faults: int
    #: How long the set-up took, seconds.
    seconds: float


def prepare(db_path: str, faults_path: str, *, seed: int = 1, share: float = 0.8, history_faults: int = 40) -> Prepared:
    """Make the database: the first `share` of the month, projected rightly, then `history_faults` mistakes.

    The database must not exist yet; a fault list left over from another one is started anew.
    """
    started = time.monotonic()
    if Path(db_path).exists():
        raise FileExistsError(f"{db_path} exists; choose a new path, the demo never changes a database it did not make")
    flights = load_flights()
    loaded = flights[: round(len(flights) * share)]
    Path(faults_path).write_text("", encoding="utf-8")
    with closing(connect(db_path)) as conn:
        conn.executescript(SCHEMA)
        transact(conn, lambda: _load(conn, loaded))
        plan = plan_faults(seed=seed, count=history_faults, first_id=1, last_id=len(loaded))
        projector = Projector(conn, faults_path, seed=seed, plan=(), phase="history")
        made = transact(conn, lambda: projector.spoil_history(plan, loaded))
    projector.publish(made)
    return Prepared(
        departures=len(loaded),
        remaining=len(flights) - len(loaded),
        faults=len(made),
        seconds=round(time.monotonic() - started, 3),
    )


def _load(conn: sqlite3.Connection, departures: Sequence[Departure]) -> None:
    """Bulk-load the truth and both projections of it, as right as one statement can make them."""
    conn.executemany("INSERT INTO departures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", departures)
    for projection in PROJECTIONS:
        key = ", ".join(projection.key)
        conn.execute(
            f"INSERT INTO {projection.name} SELECT {key}, count(*), sum({projection.amount}), max(id)"
            f" FROM departures GROUP BY {key}"
        )
        conn.execute("INSERT INTO projector VALUES (?, ?)", (projection.name, len(departures)))


def replay(
    db_path: str,
    faults_path: str,
    *,
    seed: int = 1,
    rate_per_s: float = 200.0,
    lag_s: float = 0.25,
    seconds: float = 60.0,
    live_faults: int = 0,
    fault_window_s: float = 4.0,
    last_s: float = 0.0,
    drain: bool = False,
    stop: threading.Event | None = None,
) -> Totals:
    """Write the rest of the month at `rate_per_s`, for at most `seconds` or until `stop` is set.

    Where what is left of the month would not last for `last_s` seconds, it is written at the rate at which it would.
    The `live_faults` mistakes fall on events written in the first `fault_window_s` seconds. With `drain`
    everything written is also applied before this returns.
    """
    flights = load_flights()
    with closing(connect(db_path)) as conn:
        first = newest_id(conn) + 1
        window = round(rate_per_s * min(fault_window_s, seconds / 2))
        plan = plan_faults(seed=seed, count=live_faults, first_id=first, last_id=first + window)
        projector = Projector(conn, faults_path, seed=seed, plan=plan, phase="live")
        run = _Replay(conn, projector, Lag(lag_s, seed), flights[first - 1 :], rate_per_s, last_s)
        ended = run.loop(seconds, stop or threading.Event())
        if drain:
            run.apply_due(float("inf"))
        return run.totals(ended)


def newest_id(conn: sqlite3.Connection) -> int:
    """Id of the newest departure in the truth, 0 when there is none."""
    return int(conn.execute("SELECT coalesce(max(id), 0) FROM departures").fetchone()[0])


class _Replay:
    """One replay: how far it is, and what it has measured."""

    def __init__(
        self,
        conn: sqlite3.Connection,
        projector: Projector,
        lag: Lag,
        flights: Sequence[Departure],
        rate_per_s: float,
        last_s: float,
    ) -> None:
        self.conn = conn
        self.projector = projector
        self.lag = lag
        self.flights = flights
        self.rate_per_s = rate_per_s
        self.last_s = last_s
        self.started = self.looked = time.monotonic()
        #: Departures whose moment has come.
        self.come = 0.0
        self.written = self.applied = self.skipped = self.faults = 0
        self.write_ms: list[float] = []
        # Events an earlier replay wrote and did not apply have waited long enough.
        lag.wrote(newest_id(conn), self.started - 2 * lag.lag_s)

    def loop(self, seconds: float, stop: threading.Event) -> Ended:
        """Tick until something ends it; says what."""
        while not stop.is_set():
            tick = time.monotonic()
            if tick - self.started >= seconds:
                return "seconds"
            self.write_due(tick)
            self.apply_due(time.monotonic())
            if self.written == len(self.flights) and not self.lag.any_waiting():
                return "month_over"
            stop.wait(max(TICK_S - (time.monotonic() - tick), TICK_S / 10))
        return "asked"

    def write_due(self, now: float) -> None:
        """Write the departures whose moment has come, at most BATCH_MAX of them."""
        left = len(self.flights) - self.come
        rate_per_s = min(self.rate_per_s, left / self.last_s) if self.last_s else self.rate_per_s
        self.come += (now - self.looked) * rate_per_s
        self.looked = now
        batch = self.flights[self.written : min(int(self.come), self.written + BATCH_MAX)]
        if not batch:
            return
        began = time.monotonic()
        transact(
            self.conn,
            lambda: self.conn.executemany("INSERT INTO departures VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", batch),
        )
        ended = time.monotonic()
        self.write_ms.append((ended - began) * 1000)
        self.written += len(batch)
        self.lag.wrote(batch[-1].id, ended)

    def apply_due(self, now: float) -> None:
        """Let the projector apply what is old enough at `now`, each projection in its own transaction."""
        for projection in PROJECTIONS:
            upto = self.lag.due(projection, now)
            if upto is not None:
                done = self.projector.apply(projection, upto)
                self.applied += done.applied
                self.skipped += done.skipped
                self.faults += len(done.faults)

    def totals(self, ended: Ended) -> Totals:
        """What it did, as of now."""
        seconds = time.monotonic() - self.started
        newest = newest_id(self.conn)
        waits = sorted(self.write_ms) or [0.0]
        return Totals(
            written=self.written,
            applied=self.applied,
            skipped=self.skipped,
            faults=self.faults,
            pending=sum(newest - position_of(self.conn, projection) for projection in PROJECTIONS),
            seconds=round(seconds, 3),
            rate_per_s=round(self.written / seconds, 1),
            write_ms_p50=round(waits[len(waits) // 2], 2),
            write_ms_p99=round(waits[len(waits) * 99 // 100], 2),
            write_ms_max=round(waits[-1], 2),
            ended=ended,
        )


def main(argv: Sequence[str] | None = None) -> int:
    """Replay into a prepared database, stop on SIGTERM or SIGINT, print the totals as one JSON line."""
    parser = argparse.ArgumentParser(prog="python -m trueup.demo.traffic", description=replay.__doc__)
    parser.add_argument("db", help="database made by prepare()")
    parser.add_argument("--faults", required=True, help="list of the mistakes made, JSON lines; appended to")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float, default=200.0, help="departures a second")
    parser.add_argument("--lag", type=float, default=0.25, help="least age of an event that is applied, seconds")
    parser.add_argument("--seconds", type=float, default=60.0, help="upper limit")
    parser.add_argument("--last", type=float, default=0.0, help="what is left of the month lasts so long, seconds")
    parser.add_argument("--live-faults", type=int, default=0, help="mistakes to make during the replay")
    parser.add_argument("--fault-window", type=float, default=4.0, help="they fall in the first so many seconds")
    parser.add_argument("--drain", action="store_true", help="apply everything written before the end")
    args = parser.parse_args(argv)
    if not Path(args.db).exists():
        parser.error(f"{args.db} does not exist; make it with trueup.demo.traffic.prepare()")
    stop = threading.Event()

    def run() -> Totals:
        return replay(
            args.db,
            args.faults,
            seed=args.seed,
            rate_per_s=args.rate,
            lag_s=args.lag,
            seconds=args.seconds,
            live_faults=args.live_faults,
            fault_window_s=args.fault_window,
            last_s=args.last,
            drain=args.drain,
            stop=stop,
        )

    # The replay runs in a thread of its own because Event.set() in a signal handler deadlocks when it
    # interrupts Event.wait() of the same event in the same thread.
    with ThreadPoolExecutor(max_workers=1) as pool:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        totals = pool.submit(run).result()
    print(json.dumps(asdict(totals)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
