"""Where the story plays: a folder with database, configuration and fault list, and the processes that it starts."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trueup.demo.faults import Fault, load_faults
from trueup.demo.judge import still_wrong
from trueup.demo.schema import PROJECTIONS, Key, Projection, RowId, connect
from trueup.demo.traffic import Prepared, prepare
from trueup.errors import TrueupError, UsageError
from trueup.signals import handled

#: What the user would write for these two projections. `settle` is well above the projector's lag.
CONFIG = """\
# The configuration of `trueup demo`: two projections of the departures in demo.db.

[trueup]
ledger = "sqlite:///trueup.db"

[databases.flights]
url = "sqlite:///demo.db"

[projections.aircraft]
description = "flights and miles of each aircraft"
source   = { database = "flights", query = \"""
  SELECT tailnum, count(*) AS flights, sum(miles) AS miles, max(id) AS last_departure
  FROM departures GROUP BY tailnum\""" }
target   = { database = "flights", table = "aircraft" }
key      = ["tailnum"]
writers  = "versioned"       # last_departure: the projector skips events that a row reflects already
settle   = "2s"              # the projector is some 0.3 s behind; what is still wrong after 2 s is not lag
on_extra = "delete"
limits   = { rows = 300, share = "10%", deletes = 30 }

[projections.airport_hours]
description = "departures and minutes of delay of each airport and hour"
source   = { database = "flights", query = \"""
  SELECT origin, hour, count(*) AS departures, sum(delay_min) AS delay_min, max(id) AS last_departure
  FROM departures GROUP BY origin, hour\""" }
target   = { database = "flights", table = "airport_hours" }
key      = ["origin", "hour"]
writers  = "versioned"
settle   = "2s"
on_extra = "delete"
limits   = { rows = 300, share = "10%", deletes = 30 }
"""

#: `settle` of both projections, seconds.
SETTLE_S = 2.0
#: How long a process may take to end after it was asked to, seconds.
END_S = 60.0
#: How long one command may take, seconds; far above what it needs.
COMMAND_S = 120.0
#: Time between two looks at something that is waited for, seconds.
LOOK_S = 0.05


class DemoFailed(TrueupError):
    """The demo's own machinery did not work, so nothing can be said about its promises."""

    exit_code = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How fast everything goes."""

    #: Departures replayed a second.
    rate_per_s: float = 100.0
    #: Mistakes in what is loaded before the replay begins.
    history_faults: int = 48
    #: Mistakes made by the replay, and the seconds in which they fall.
    live_faults: int = 24
    fault_window_s: float = 3.0
    #: Upper limit of the replay, seconds: it ends by itself should nobody stop it.
    traffic_s: float = 600.0
    #: As the month runs out departures become rarer: what is left lasts so long, seconds. A machine on which the acts
    #: take long has traffic until their end.
    last_s: float = 20.0


@dataclass(kw_only=True)
class Stage:
    """One folder in which a database lives, and the processes at work on it."""

    folder: Path
    seed: int
    pace: Pace
    _traffic: subprocess.Popen[str] | None = field(default=None, init=False)
    _started: list[subprocess.Popen[str]] = field(default_factory=list, init=False)

    @property
    def db(self) -> str:
        return str(self.folder / "demo.db")

    @property
    def list_path(self) -> str:
        return str(self.folder / "faults.jsonl")

    @property
    def config(self) -> Path:
        return self.folder / "trueup.toml"

    # --- the folder ------------------------------------------------------------------------------------------------

    def prepare(self) -> Prepared:
        """Load the first part of the month, make its mistakes, write the configuration."""
        if Path(self.db).exists():
            raise UsageError(f"{self.db} is there already; give a folder that is empty or new")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(CONFIG, encoding="utf-8")
        return prepare(self.db, self.list_path, seed=self.seed, history_faults=self.pace.history_faults)

    def copy(self, name: str) -> Stage:
        """The same database, fault list and configuration once more, in a folder below this one; no ledger."""
        other = Stage(folder=self.folder / name, seed=self.seed, pace=self.pace)
        other.folder.mkdir()
        for path in (self.config, Path(self.list_path)):
            shutil.copy(path, other.folder)
        with closing(connect(self.db)) as here, closing(sqlite3.connect(other.db)) as there:
            here.backup(there)
        return other

    # --- what the databases say, without the engine ------------------------------------------------------------------

    def faults(self) -> list[Fault]:
        return load_faults(self.list_path)

    def wrong(self) -> frozenset[RowId]:
        """The rows that are wrong now, by the judge."""
        return still_wrong(self.db)

    def damage(self) -> frozenset[RowId]:
        """Rows that are wrong now by no mistake of the projector: somebody else's damage."""
        found = self.wrong()
        rows = {fault.row for fault in self.faults()}
        return found - rows

    def ask(self, sql: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with closing(connect(self.db)) as conn:
            return conn.execute(sql, values).fetchall()

    def newest(self) -> int:
        """Id of the newest departure."""
        return int(self.ask("SELECT coalesce(max(id), 0) FROM departures")[0][0])

    def events_after(self, projection: Projection, after: Mapping[Key, int]) -> set[Key]:
        """Those keys that have a departure newer than the id given for them."""
        sql = f"SELECT 1 FROM departures WHERE {projection.where} AND id > ? LIMIT 1"
        with closing(connect(self.db)) as conn:
            return {key for key, newest in after.items() if conn.execute(sql, (*key, newest)).fetchone()}

    def digest(self) -> str:
        """Fingerprint of every row of both projections."""
        digest = hashlib.sha256()
        for projection in PROJECTIONS:
            for row in self.ask(f"SELECT * FROM {projection.name} ORDER BY {', '.join(projection.key)}"):
                digest.update(repr(row).encode())
        return digest.hexdigest()

    # --- processes -------------------------------------------------------------------------------------------------

    def start_traffic(self) -> None:
        pace = self.pace
        options = {
            "--faults": self.list_path,
            "--seed": self.seed,
            "--rate": pace.rate_per_s,
            "--seconds": pace.traffic_s,
            "--last": pace.last_s,
            "--live-faults": pace.live_faults,
            "--fault-window": pace.fault_window_s,
        }
        words = [str(word) for option in options.items() for word in option]
        self._traffic = self.start("trueup.demo.traffic", self.db, *words, "--drain")

    def stop_traffic(self) -> dict[str, Any]:
        """Ask the replay to apply what it has written and to end; its totals."""
        traffic = self._traffic
        if traffic is None:
            raise DemoFailed("demo: there is no traffic to be stopped")
        traffic.send_signal(signal.SIGTERM)
        out, err = traffic.communicate(timeout=END_S)
        self._traffic = None
        if traffic.returncode != 0:
            raise DemoFailed(f"demo: the traffic process failed ({traffic.returncode}): {err.strip()[-500:]}")
        totals: dict[str, Any] = json.loads(out)
        return totals

    def check_traffic(self) -> None:
        if self._traffic is not None and self._traffic.poll() is not None:
            _, err = self._traffic.communicate()
            raise DemoFailed(f"demo: the traffic process ended early: {err.strip()[-500:] or 'the month is over'}")

    def wait_until(self, reached: Callable[[], bool], *, seconds: float) -> bool:
        """Look until it is reached, at most so long; whether it was."""
        end = time.monotonic() + seconds
        while not reached():
            self.check_traffic()
            if time.monotonic() > end:
                return False
            time.sleep(LOOK_S)
        return True

    def start(self, module: str, *words: str) -> subprocess.Popen[str]:
        """A Python process in a session of its own: Ctrl-C reaches the demo, and the demo ends its processes."""
        with _undisturbed():  # else one could be begun of which nobody knows
            process = subprocess.Popen(  # noqa: S603 - our own modules
                [sys.executable, "-m", module, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
                env=os.environ | {"PYTHONUNBUFFERED": "1"},
            )
            self._started.append(process)
        return process

    def trueup(self, *words: str) -> tuple[int, dict[str, Any]]:
        """A command of `trueup` in a process of its own: exit code, and the document it printed."""
        process = self.start("trueup", *words, "--json", "--config", str(self.config))
        try:
            out, err = process.communicate(timeout=COMMAND_S)
        finally:
            end(process)
        try:
            document: dict[str, Any] = json.loads(out)
        except ValueError:
            said = err.strip()[-500:]
            raise DemoFailed(f"demo: `trueup {' '.join(words)}` ended {process.returncode}: {said}") from None
        return process.returncode, document

    def close(self) -> None:
        """End what still runs of that which was started here."""
        for process in self._started:
            end(process)
        self._traffic = None


class Standstill:
    """How long the projector stood still while events were waiting for it.

    A difference that is the same for longer than `settle` is drift by the declaration. Should the projector stand
    still for that long (a machine that is far too busy), then a right row may be reported, and it is not the engine
    that was wrong.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        #: The longest so far, seconds.
        self.longest_s = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="demo-standstill")

    def _watch(self) -> None:
        sql = "SELECT (SELECT coalesce(max(id), 0) FROM departures), position FROM projector ORDER BY projection"
        with closing(connect(self.stage.db)) as conn:
            since, before = time.monotonic(), tuple[int, ...]()
            while not self._done.wait(2 * LOOK_S):
                rows = conn.execute(sql).fetchall()
                positions = tuple(int(row[1]) for row in rows)
                now = time.monotonic()
                waiting = any(position < row[0] for position, row in zip(positions, rows, strict=True))
                if positions != before or not waiting:
                    since, before = now, positions
                self.longest_s = max(self.longest_s, now - since)

    def __enter__(self) -> Standstill:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Around a moment at which no signal may end this process: what came meanwhile comes after the block."""
    if threading.current_thread() is not threading.main_thread():  # where signals do not come
        yield
        return
    came: list[int] = []
    with handled(lambda number, _frame: came.append(number), (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)):
        yield
    for number in came:
        signal.raise_signal(number)


def end(process: subprocess.Popen[str]) -> None:
    """End a process that this demo started; nothing if it has ended."""
    if process.poll() is None:
        process.kill()
    process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
