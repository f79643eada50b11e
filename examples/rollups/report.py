"""The application: landings of flights come in, and a job sums them up by the hour and by New York's day."""

from __future__ import annotations

import random
import tomllib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from examples._kit import Database, transaction
from trueup.demo.schema import Departure, load_flights

HERE = Path(__file__).parent
NEW_YORK = ZoneInfo("America/New_York")
#: Days of New York in November 2013: those of the report; the last of them is today, and not over.
FIRST, TODAY = 1, 6
#: So many of today's landings are in already; and the play ends before UTC's day does.
MORNING, EVENING = 100, "2013-11-07 00:00:00"
#: Closed days whose records are still being corrected.
CORRECTED = (4, 5)
#: Report -> the column of its key that is a time.
TIMES = {"by_hour": "hour", "by_day": "day"}

#: A row of `landings`.
Landing = tuple[int, str, str, int]
#: Report, airport, and the hour or day.
Cell = tuple[str, str, str]


def landing(flight: Departure) -> Landing:
    """When it landed, to be told by its distance: taxiing for half an hour, and 8 miles a minute."""
    left = datetime.fromisoformat(flight.hour) + timedelta(minutes=flight.delay_min)
    landed = left + timedelta(minutes=30 + flight.miles // 8)
    return flight.id, flight.dest, f"{landed:%Y-%m-%d %H:%M:%S}", flight.delay_min


def in_new_york(landed_at: str) -> datetime:
    return datetime.fromisoformat(landed_at).replace(tzinfo=UTC).astimezone(NEW_YORK)


def cells(event: Landing) -> tuple[Cell, Cell]:
    """The rows of both reports that an event belongs to."""
    _, airport, landed_at, _ = event
    day = f"{in_new_york(landed_at):%Y-%m-%d}"
    return ("by_hour", airport, f"{landed_at[:13]}:00:00"), ("by_day", airport, day)


def feed(first: int, last: int) -> list[Landing]:
    """Landings of these days of November, in their order."""
    days = {f"2013-11-{day:02}" for day in range(first, last + 1)}
    events = map(landing, load_flights())
    return sorted((e for e in events if f"{in_new_york(e[2]):%Y-%m-%d}" in days), key=lambda e: (e[2], e[0]))


class Report:
    """Events are written as they come, and their rows counted anew a little later; corrections at once."""

    def __init__(self, url: str) -> None:
        self.db = Database(url)
        declared = (HERE / ("trueup.toml" if self.db.is_sqlite else "trueup.postgresql.toml")).read_text("utf-8")
        #: Report -> what it is to show: the job counts as the declaration says.
        self.queries = {name: told["source"]["query"] for name, told in tomllib.loads(declared)["projections"].items()}
        #: Rows whose events came in and were not counted yet.
        self.dirty: set[Cell] = set()
        today = [event for event in feed(TODAY, TODAY) if event[2] < EVENING]
        #: What is still to happen today, the next last; what may be corrected.
        self.coming, self.corrected = today[: MORNING - 1 : -1], feed(*CORRECTED)

    def make(self, held_back: list[Landing]) -> None:
        """The report of the days before, but for some landings; and of this morning."""
        self.db.script((HERE / "schema.sql").read_text())
        before = [event for event in feed(FIRST, TODAY - 1) if event not in held_back]
        self.load(before + feed(TODAY, TODAY)[:MORNING])
        for report in TIMES:
            self.db.run(f"INSERT INTO {report} {self.queries[report]}")

    def load(self, events: list[Landing]) -> None:
        self.db.many("INSERT INTO landings VALUES (?, ?, ?, ?)", events)

    def write(self, chance: random.Random) -> None:
        """A flight lands, or the record of one is corrected; the job comes by now and then."""
        if self.coming and chance.random() < 0.3:
            event = self.coming.pop()
            self.db.run("INSERT INTO landings VALUES (?, ?, ?, ?)", *event)
            self.dirty |= {*cells(event)}
        else:
            event = chance.choice(self.corrected)
            with transaction(self.db):
                self.db.run("UPDATE landings SET minutes_late = ? WHERE id = ?", chance.randint(0, 90), event[0])
                self.count({*cells(event)})
        if chance.random() < 0.1:
            self.job()

    def job(self) -> None:
        with transaction(self.db):
            self.count(self.dirty)
        self.dirty = set()

    def count(self, rows: set[Cell]) -> None:
        """Set these rows of the reports to what their events say."""
        for report, airport, time in rows:
            column, query = TIMES[report], self.queries[report]
            self.db.run(
                f"INSERT INTO {report} SELECT * FROM ({query}) s WHERE airport = ? AND {column} = ?"
                f" ON CONFLICT (airport, {column}) DO UPDATE"
                " SET landings = excluded.landings, minutes_late = excluded.minutes_late",
                *(airport, time),
            )

    def wrong(self) -> int:
        """The judge: rows of both reports that are not what the events say, by a clock that knows New York."""
        counts: Counter[Cell] = Counter()
        late: Counter[Cell] = Counter()
        for event in self.db.run("SELECT id, airport, CAST(landed_at AS text), minutes_late FROM landings"):
            for cell in cells(event):
                counts[cell] += 1
                late[cell] += event[3]
        right: set[Any] = {(*cell, counts[cell], late[cell]) for cell in counts}
        held = {
            (report, airport, str(time), *sums)
            for report in TIMES
            for airport, time, *sums in self.db.run(f"SELECT * FROM {report}")
        }
        return len({row[:3] for row in right ^ held})

    def close(self) -> None:
        self.job()
        self.db.close()
