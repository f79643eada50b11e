"""Another key is declared than the one by which rows are known to be wrong, were accepted or could not be read."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from tests.clock import START_S, FakeClock
from tests.conformance.worlds import EngineClock, Pairing, Postgresql, World
from tests.servers import Pair
from trueup import Trueup, Verdict, views, views_causes
from trueup.moved import drift_moved

FEW = ("postgresql-alone", "postgresql-mysql", "sqlite-alone")
COLUMNS = "id {integer} PRIMARY KEY NOT NULL, code {uuid}, part {text}, day {date}, v {integer}, seen {integer}"
CHANGES = {"source": {"column": "seen"}}
PARTS = {"by": "column", "column": "part"}
DAYS = {
    "by": "time",
    "column": "day",
    "bucket": "1d",
    "verify": [{"younger": "7d", "every": "1h"}, {"every": "30d"}],
}
#: More parts, and one of another type.
KEYS = pytest.mark.parametrize("key", [("code", "id"), ("code",)], ids=["parts", "type"])
ROWS = 30
WRONG = [4, 5]


class Renamed:
    """Two rows are wrong, and a third is accepted as it is, by their ids; then they have another key."""

    def __init__(self, world: World, key: tuple[str, ...], **declared: Any) -> None:
        self.world, self.clock, self.declared = world, EngineClock(FakeClock()), {"columns": ("v",)} | declared
        first = date.fromtimestamp(START_S) - timedelta(days=9)
        rows = [(n, UUID(int=n), "ab"[n % 2], first + timedelta(days=n % 5), n, n) for n in range(ROWS)]
        world.tables(COLUMNS, rows, [(*row[:4], 0, row[5]) if row[0] in (*WRONG, 9) else row for row in rows])
        app = self.app()
        assert app.check("p").different == 3
        until = datetime.fromtimestamp(START_S, UTC) + timedelta(days=90)
        app.accept("p", keys=[{"id": 9}], reason="agreed", owner="team", until=until.isoformat())
        app.check("p")
        self.now = self.app(key=key)

    def app(self, **declared: Any) -> Trueup:
        return self.world.app(clock=self.clock, **(self.declared | declared))

    def known(self) -> list[tuple[Any, ...]]:
        return [row.drift.key for row in self.now.drift("p")]


@KEYS
@pytest.mark.parametrize("declared", [{"changes": CHANGES}, {"partition": DAYS}], ids=["changes", "by age"])
def test_later_runs_look_at_what_is_known_by_the_key_that_is_now(
    world: World, key: tuple[str, ...], declared: dict[str, Any]
) -> None:
    renamed = Renamed(world, key, **declared)
    everything = renamed.now.check("p")
    assert (everything.verdict, everything.source_rows, everything.different) == (Verdict.DRIFT, ROWS, 3)
    assert len(renamed.known()) == 3, "no row is known by two keys"
    for _ in range(2):
        again = renamed.now.check("p")
        assert (again.different, "everything" in again.strategy) == (3, False)


@KEYS
def test_one_partition_is_read_and_the_rest_is_as_wrong_as_it_was(world: World, key: tuple[str, ...]) -> None:
    renamed = Renamed(world, key, partition=PARTS)
    report = renamed.now.check("p", partitions=["a"])
    assert (report.verdict, report.different) == (Verdict.DRIFT, 1)
    assert (5,) in renamed.known()
    assert renamed.now.check("p").different == 3
    assert len(renamed.known()) == 3


@KEYS
def test_what_was_known_is_told_without_a_name_that_it_never_had(world: World, key: tuple[str, ...]) -> None:
    renamed = Renamed(world, key)
    named = key[0] if len(key) == 1 else "1"
    assert [row["key"] for row in views.drift(renamed.now, "p")] == [{named: 4}, {named: 5}]
    assert [row["key"] for row in views.accepted(renamed.now)] == [{named: 9}]
    run = renamed.now.runs("p")[0].id
    assert [row["key"] for row in views.show(renamed.now, run)["changes"]] == [{named: 4}, {named: 5}]
    assert views_causes.causes(renamed.now, "p") is not None


@KEYS
def test_nothing_is_said_to_have_moved(world: World, key: tuple[str, ...]) -> None:
    renamed = Renamed(world, key, writers="same_transaction" if world.together else "mutex")
    with renamed.now.asking("p") as pair:
        assert drift_moved(pair, renamed.now.drift("p")) == []


@KEYS
def test_a_row_that_cannot_be_read_is_set_aside_under_the_key_that_is_now(
    postgres_pair: Pair, tmp_path: Path, key: tuple[str, ...]
) -> None:
    """Where it was set aside before is no place to cut at."""
    pairing = Pairing(source="postgresql", target="postgresql")
    world = World(pairing, Postgresql(postgres_pair.source), Postgresql(postgres_pair.target), tmp_path)
    rows = [(n, UUID(int=n), datetime(2026, 1, 1)) for n in range(ROWS)]
    world.tables("id {integer} PRIMARY KEY NOT NULL, code {uuid} UNIQUE, at {timestamp}", rows, rows)
    world.source.sql("UPDATE src SET at = 'infinity' WHERE id = 4")
    world.target.sql("UPDATE dst SET at = '2026-01-02' WHERE id IN (4, 5)")
    for app in (world.app(columns=("at",)), world.app(columns=("at",), key=key), world.app(columns=("at",), key=key)):
        report = app.check("p")
        assert (report.different, "1 row or segment could not be compared" in report.reason) == (1, True)
    world.close()
