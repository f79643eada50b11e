"""Keys that are dates on one side and timestamps on the other: a range may begin in the middle of a day.

SQLite is not among them: it holds spellings, and refuses a key that is spelt in two ways.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import pytest

from tests.conformance.conftest import _open
from tests.conformance.worlds import Pairing, World
from trueup import Projection, Side, Verdict
from trueup.adapters import connect
from trueup.core.binding import bind
from trueup.core.plan import Range
from trueup.core.projection import Database


@pytest.fixture(params=["postgresql", "mysql", "duckdb"])
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    """Dates and timestamps in one database."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(Pairing(source=request.param, target=request.param, together=True), request, tmp_path)


@pytest.mark.parametrize("more", [False, True], ids=["one part", "two parts"])
def test_midnight_is_below_a_border_in_its_day(alone: World, *, more: bool) -> None:
    """Cut down to a day, the border would have the date above it, and the timestamp of that midnight below."""
    columns = "id {{{}}} NOT NULL, part {{integer}} NOT NULL, v {{integer}}, PRIMARY KEY (id, part)"
    alone.source.table("src", columns.format("date"), [(date(2024, 1, n), 1, n) for n in range(1, 6)])
    timed = [(datetime(2024, 1, n), 1, n) for n in range(1, 6)]
    alone.target.table("dst", columns.format("timestamp"), timed)
    border = datetime(2024, 1, 3, 0, 30)
    key = (border, 0) if more else (border,)
    projection = Projection(
        name="p",
        source=Side(database="a", table="src"),
        target=Side(database="a", table="dst"),
        key=["id", "part"] if more else ["id"],
        columns=["v"],
    )
    adapter = connect("a", Database(url=alone.source.url))
    shapes = [adapter.describe(side) for side in (projection.source, projection.target)]
    binding = bind(projection, *shapes, writing=False)
    for side in (binding.source, binding.target):
        found = []
        for part in (Range(upper=key), Range(lower=key)):
            batches = list(adapter.stream(binding, side, part, tokens=False))
            found.append([value for batch in batches for value in batch.values[0]])
        assert found == [[1, 2, 3], [4, 5]]
    adapter.close()


@pytest.mark.parametrize("target", ["postgresql", "mysql", "duckdb"])
def test_a_timestamp_finds_no_date_that_is_not_its_midnight(
    target: str, request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path
) -> None:
    """Cut down to a day, it would find the row of another key, and call that one extra."""
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    for world in _open(Pairing(source="postgresql", target=target), request, tmp_path):
        day, later = datetime(2024, 1, 1), datetime(2024, 1, 1, 12, 30)
        world.source.table("src", "id {timestamp} PRIMARY KEY NOT NULL, v {integer}", [(day, 1), (later, 2)])
        world.target.table("dst", "id {date} PRIMARY KEY NOT NULL, v {integer}", [(day.date(), 1)])
        report = world.app().check("p", keys=[{"id": later}])
        assert (report.source_rows, report.target_rows, report.missing, report.extra) == (1, 0, 1, 0)
        assert world.app().check("p", keys=[{"id": day}]).verdict is Verdict.IN_SYNC
