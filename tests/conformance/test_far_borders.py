"""Ranges that begin or end at an integer that no row of this side can have: the other side may have it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.conftest import _open
from tests.conformance.worlds import Pairing, World
from trueup import Projection, Side, diff
from trueup.adapters import connect
from trueup.core.binding import bind
from trueup.core.plan import Range
from trueup.core.projection import Database
from trueup.core.row import Key
from trueup.errors import DataProblem

ROWS = [(-(2**63), 1, 0), (0, 1, 1), (0, 2, 2), (2**63 - 1, 1, 3)]
FAR = 2**63 + 5


@pytest.fixture(params=["postgresql", "sqlite", "duckdb"])
def alone(request: pytest.FixtureRequest, new_ledger: Path, tmp_path: Path) -> Iterator[World]:
    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    yield from _open(Pairing(source=request.param, target=request.param, together=True), request, tmp_path)


@pytest.mark.parametrize(
    ("key", "below"),
    [
        ((FAR, 0), [0, 1, 2, 3]),
        ((-FAR, 0), []),
        ((0, FAR), [0, 1, 2]),
        ((0, -FAR), [0]),
        ((2**63 - 1, FAR), [0, 1, 2, 3]),
        ((-(2**63), -FAR), []),
        ((0, 2), [0, 1]),
    ],
    ids=["above all", "below all", "above in the second", "below in the second", "last", "first", "the control"],
)
def test_a_border_that_no_row_can_have_has_each_row_on_one_side(alone: World, key: Key, below: list[int]) -> None:
    columns = "id {integer} NOT NULL, part {integer} NOT NULL, v {integer}, PRIMARY KEY (id, part)"
    for table in ("src", "dst"):
        alone.source.table(table, columns, ROWS)
    sides = [Side(database="a", table=name) for name in ("src", "dst")]
    projection = Projection(name="p", source=sides[0], target=sides[1], key=["id", "part"], columns=["v"])
    adapter = connect("a", Database(url=alone.source.url))
    binding = bind(projection, *map(adapter.describe, sides), writing=False)
    for part, expected in ((Range(upper=key), below), (Range(lower=key), [n for n in range(4) if n not in below])):
        batches = adapter.stream(binding, binding.source, part, tokens=False)
        assert [value for batch in batches for value in batch.values[0]] == expected
    adapter.close()


@pytest.mark.parametrize("moment", ["infinity", "-infinity", "0044-03-15 BC"])
@pytest.mark.parametrize("kind", ["timestamptz", "timestamp", "date"])
def test_a_moment_that_python_cannot_hold_is_refused_with_what_to_do(
    postgres: str, new_ledger: Path, tmp_path: Path, moment: str, kind: str
) -> None:
    from tests.conformance.worlds import Postgresql

    (tmp_path / "ledger.db").write_bytes(new_ledger.read_bytes())
    place = Postgresql(postgres)
    world = World(Pairing(source="postgresql", target="postgresql", together=True), place, place, tmp_path)
    for table, value in (("src", moment), ("dst", "2026-01-02")):
        world.source.sql(
            f"CREATE TABLE {table} (id int PRIMARY KEY, v {kind})", f"INSERT INTO {table} VALUES (1, '{value}')"
        )
    report = world.app().check("p")
    assert report.quarantined == 1
    assert "between the years 1 and 9999" in report.reason
    assert "NULLIF" in report.quarantined_rows[0]["reason"]
    with pytest.raises(DataProblem, match=r"between the years 1 and 9999.*NULLIF"):
        diff(f"{postgres}#src", f"{postgres}#dst", key=["id"])
    as_text = world.app(source="SELECT id, v::text v FROM src", target="SELECT id, v::text v FROM dst")
    assert as_text.check("p").different == 1, "what is told to do has to work"
    world.close()
