"""Hourly and daily rollups of raw events: days of New York, with the night in which an hour comes twice."""

from __future__ import annotations

from contextlib import closing

from examples._kit import Faults, Stage, Traffic, example
from examples.rollups.report import TIMES, Cell, Landing, Report, cells, feed

#: The night in which clocks went back: the hour from one to two came twice, and once more in UTC.
CLOCKS_GO_BACK, ONCE_MORE = "2013-11-03 05:00:00", "2013-11-03 06:00:00"
#: The days of a job that takes UTC's for New York's.
BY_UTC = "SELECT airport, date(landed_at) AS day, count(*), sum(minutes_late) FROM landings GROUP BY 1, 2"


class Mistakes:
    """All in days that are over and not corrected any more: the job does not come back to them."""

    def __init__(self, report: Report) -> None:
        self.report, self.db = report, report.db
        #: By report: what was spoilt.
        self.faults = {name: Faults() for name in TIMES}
        #: Flights of these days, of which each cell is spoilt once.
        self.flights = feed(1, 3)
        #: Landings shortly before midnight, of which one hears later.
        self.held_back = self.of("2013-11-02 03:", "MSY", "DFW", "CLT")

    def make(self) -> None:
        self.hour_taken_twice()
        self.day_of_utc("2013-11-02", "LAX", "SEA")
        self.batch_twice(self.of("2013-11-02 14:", "MCO", "BOS", "ATL"))
        self.late()
        self.lost_day("2013-11-01", "DEN")

    def of(self, begins: str, *airports: str) -> list[Landing]:
        """One landing at each airport, within this time."""
        there = {event[1]: event for event in self.flights if event[2].startswith(begins)}
        return [there[airport] for airport in airports]

    def note(self, what: str, cell: Cell) -> None:
        report, *key = cell
        self.faults[report].note(what, *key)

    def hour_taken_twice(self) -> None:
        """Grouped by what the clock shows: both hours go to the first. The day is right."""
        second = "SELECT landings, minutes_late FROM by_hour WHERE airport = 'LAX' AND hour = ?"
        [(landings, late)] = self.db.run(second, ONCE_MORE)
        self.db.run(
            "UPDATE by_hour SET landings = landings + ?, minutes_late = minutes_late + ?"
            " WHERE airport = 'LAX' AND hour = ?",
            *(landings, late, CLOCKS_GO_BACK),
        )
        self.db.run("DELETE FROM by_hour WHERE airport = 'LAX' AND hour = ?", ONCE_MORE)
        for hour in (CLOCKS_GO_BACK, ONCE_MORE):
            self.note("hour that comes twice, counted as one", ("by_hour", "LAX", hour))

    def day_of_utc(self, day: str, *airports: str) -> None:
        for airport in airports:
            [counted] = self.db.run(f"SELECT * FROM ({BY_UTC}) d WHERE airport = ? AND day = ?", airport, day)
            self.db.run(
                "UPDATE by_day SET landings = ?, minutes_late = ? WHERE airport = ? AND day = ?",
                *(*counted[2:], airport, day),
            )
            self.note("day that began at midnight in UTC", ("by_day", airport, day))

    def batch_twice(self, events: list[Landing]) -> None:
        for event in events:
            for report, airport, time in cells(event):
                self.db.run(
                    f"UPDATE {report} SET landings = landings + 1, minutes_late = minutes_late + ?"
                    f" WHERE airport = ? AND {TIMES[report]} = ?",
                    *(event[3], airport, time),
                )
                self.note("batch loaded twice", (report, airport, time))

    def late(self) -> None:
        """They come when their day has been summed up, and nobody sums it up again."""
        self.report.load(self.held_back)
        for event in self.held_back:
            for cell in cells(event):
                self.note("late event not added", cell)

    def lost_day(self, day: str, airport: str) -> None:
        self.db.run("DELETE FROM by_day WHERE airport = ? AND day = ?", airport, day)
        self.note("row lost in a restore", ("by_day", airport, day))


def play(stage: Stage) -> None:
    with closing(Report(stage.url())) as report:
        mistakes = Mistakes(report)
        report.make(mistakes.held_back)
        with Traffic(lambda: Report(stage.url()), seed=stage.seed) as traffic:
            if stage.naive:
                naive(stage, report, traffic)
            else:
                mistakes.make()
                repair(stage, mistakes, traffic)
        stage.end(report.wrong(), traffic.writes)


def repair(stage: Stage, mistakes: Mistakes, traffic: Traffic) -> None:
    for name in TIMES:
        stage.say(f"What is wrong in {name}?")
        stage.trueup("check", name, code=1)
        stage.score([(airport, str(time)) for airport, time in stage.found(name)], mistakes.faults[name])
    stage.say("The night in which clocks went back, and nothing else.")
    stage.trueup("run", "by_hour", "--partition", "2013-11-03", code=0)
    stage.say("All the others.")
    stage.trueup("run", code=0)
    stage.say("What of it is to be looked at again by now: the two days that are recent.")
    traffic.wait(50)
    stage.trueup("check", code=0)
    stage.say("And all days.")
    stage.trueup("check", "--full", code=0)


def naive(stage: Stage, report: Report, traffic: Traffic) -> None:
    """Sum up everything anew, without the clocks of New York."""
    stage.say("The days are summed up anew, by date(landed_at):")
    days = report.db.run(BY_UTC)
    traffic.wait(20)
    report.db.many(
        "INSERT INTO by_day VALUES (?, ?, ?, ?) ON CONFLICT (airport, day) DO UPDATE"
        " SET landings = excluded.landings, minutes_late = excluded.minutes_late",
        days,
    )


if __name__ == "__main__":
    example(play, __file__)
