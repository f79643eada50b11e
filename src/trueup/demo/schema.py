"""The demo's database: one SQLite file with a truth, two projections of it, and the projector's positions.

`last_departure` of a projection row is the id of the newest departure the row reflects: a version issued by
the source. The projector skips an event whose id is not above it, so a repair that writes (count, sum,
max(id)) from the truth turns every event still pending for that key into a no-op. That is what makes these
rows repairable exactly under traffic (W4).
"""

import csv
import gzip
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import NamedTuple, TypeVar

T = TypeVar("T")

#: Columns that identify a projection row, in the order the projection declares them.
Key = tuple[str, ...]
#: A row anywhere in the demo: the projection's name and the row's key.
RowId = tuple[str, Key]

#: How long a statement waits for another connection's lock. Long, because a reader blocks writers in rollback
#: mode.
BUSY_TIMEOUT_MS = 10_000
#: How often a transaction is tried again after that wait ran out, before the error is let through.
BUSY_RETRIES = 3

SCHEMA = """
BEGIN;
CREATE TABLE departures(
  id INTEGER PRIMARY KEY, tailnum TEXT NOT NULL, carrier TEXT NOT NULL, flight INTEGER NOT NULL,
  origin TEXT NOT NULL, dest TEXT NOT NULL, hour TEXT NOT NULL,
  delay_min INTEGER NOT NULL, miles INTEGER NOT NULL);
CREATE INDEX departures_by_tailnum ON departures(tailnum);
CREATE INDEX departures_by_origin_hour ON departures(origin, hour);
CREATE TABLE aircraft(
  tailnum TEXT NOT NULL PRIMARY KEY, flights INTEGER, miles INTEGER, last_departure INTEGER NOT NULL);
CREATE TABLE airport_hours(
  origin TEXT NOT NULL, hour TEXT NOT NULL, departures INTEGER, delay_min INTEGER,
  last_departure INTEGER NOT NULL, PRIMARY KEY(origin, hour));
CREATE TABLE projector(projection TEXT NOT NULL PRIMARY KEY, position INTEGER NOT NULL);
COMMIT;
"""


class Departure(NamedTuple):
    """One event of the feed, in the column order of table departures; a tuple, so that it binds as it is."""

    id: int
    tailnum: str
    carrier: str
    flight: int
    origin: str
    dest: str
    hour: str
    delay_min: int
    miles: int


@dataclass(frozen=True, kw_only=True)
class Projection:
    """What the projector keeps for each key: the number of events, the sum of an amount, the newest id."""

    #: Name of the projection and of its table.
    name: str
    #: Columns of the primary key; the truth has columns of the same names.
    key: Key
    #: Column that counts the events of the key.
    count: str
    #: Column that sums the amount of those events; the truth has a column of the same name.
    amount: str

    @property
    def where(self) -> str:
        """The key as a condition with one placeholder a column."""
        return " AND ".join(f"{column} = ?" for column in self.key)

    def key_of(self, event: Departure) -> Key:
        """The key of the row this event belongs to."""
        return tuple(str(getattr(event, column)) for column in self.key)

    def amount_of(self, event: Departure) -> int:
        """What this event adds to the sum."""
        return int(getattr(event, self.amount))


AIRCRAFT = Projection(name="aircraft", key=("tailnum",), count="flights", amount="miles")
AIRPORT_HOURS = Projection(name="airport_hours", key=("origin", "hour"), count="departures", amount="delay_min")
PROJECTIONS = (AIRCRAFT, AIRPORT_HOURS)


@cache
def load_flights() -> tuple[Departure, ...]:
    """The whole month in the order of departure; ids count from 1 (see DATA.md)."""
    path = files("trueup.demo") / "flights.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode("ascii")
    rows = csv.reader(text.splitlines())
    next(rows)
    return tuple(
        Departure(number, tail, carrier, int(flight), origin, dest, hour, int(delay), int(miles))
        for number, (tail, carrier, flight, origin, dest, hour, delay, miles) in enumerate(rows, start=1)
    )


@cache
def all_keys(projection: Projection) -> frozenset[Key]:
    """Every key the truth holds by the end of the month; anything else is a key that does not exist."""
    return frozenset(map(projection.key_of, load_flights()))


def wal_is_safe(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the fix of the WAL-reset bug, which can lose commits of several connections."""
    return (3, 44, 6) <= version < (3, 45, 0) or (3, 50, 7) <= version < (3, 51, 0) or version >= (3, 51, 3)


def connect(db_path: str) -> sqlite3.Connection:
    """A connection for short explicit transactions: no implicit BEGIN, a long wait for locks."""
    conn = sqlite3.connect(db_path, isolation_level=None)
    conn.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS:d}")
    conn.execute(f"PRAGMA journal_mode = {'WAL' if wal_is_safe(sqlite3.sqlite_version_info) else 'TRUNCATE'}")
    conn.execute("PRAGMA synchronous = NORMAL")
    return conn


def transact(conn: sqlite3.Connection, work: Callable[[], T]) -> T:
    """Run `work` in one BEGIN IMMEDIATE transaction; tried again when the file stays locked.

    `work` may run more than once, so it must change nothing but the database.
    """
    for attempt in range(1, BUSY_RETRIES + 1):
        try:
            conn.execute("BEGIN IMMEDIATE")
            try:
                result = work()
                conn.execute("COMMIT")
            except BaseException:
                if conn.in_transaction:
                    conn.execute("ROLLBACK")
                raise
        except sqlite3.OperationalError as error:
            # The low byte is the primary code; BUSY_SNAPSHOT and the like carry more above it.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or attempt == BUSY_RETRIES:
                raise
        else:
            return result
    raise AssertionError("unreachable: the last attempt returns or raises")
