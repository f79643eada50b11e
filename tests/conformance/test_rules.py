"""Tolerances and NULL policies: the same answer inside a database and across two, in every pairing."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.conformance.worlds import World
from trueup import ConfigError, Verdict

NOON = datetime(2026, 3, 1, 12, 0, 0)
HOUR = timedelta(hours=1)
MICRO = timedelta(microseconds=1)
TOLERATED, BEYOND = True, False

#: kind, tolerance -> (expected, observed, is the difference tolerated?)
CASES: dict[str, tuple[str, str, list[tuple[Any, Any, bool]]]] = {
    "integer by amount": (
        "integer",
        "2",
        [
            (5, 7, TOLERATED),
            (5, 3, TOLERATED),
            (5, 8, BEYOND),
            (-1, 1, TOLERATED),
            (2**63 - 1, -(2**63), BEYOND),
            (2**63 - 1, 2**63 - 3, TOLERATED),
            (0, None, BEYOND),
            (None, 0, BEYOND),
        ],
    ),
    "integer by share": (
        "integer",
        "10%",
        [(100, 110, TOLERATED), (100, 111, BEYOND), (110, 100, TOLERATED), (100, 89, BEYOND), (0, 1, BEYOND)],
    ),
    "share of what is expected": ("integer", "50%", [(10, 15, TOLERATED), (-10, -15, TOLERATED), (15, 7, BEYOND)]),
    "float by amount": (
        "float",
        "0.1",
        [
            (1.1, 1.0, TOLERATED),  # in floats 1.1 - 1.0 is more than 0.1
            (0.3, 0.2, TOLERATED),
            (1.1, 0.9999, BEYOND),
            (1e308, -1e308, BEYOND),
            (0.0, None, BEYOND),
        ],
    ),
    "number by amount": (
        "number",
        "0.01",
        [
            (Decimal("10.00"), Decimal("10.01"), TOLERATED),
            (Decimal("10.00"), Decimal("10.02"), BEYOND),
            (Decimal("-10.01"), Decimal("-10.00"), TOLERATED),
        ],
    ),
    "timestamp": (
        "timestamp",
        "1s",
        [
            (NOON, NOON + timedelta(seconds=1), TOLERATED),
            (NOON, NOON - timedelta(seconds=1), TOLERATED),
            (NOON, NOON + timedelta(seconds=1) + MICRO, BEYOND),
            (NOON, NOON + HOUR, BEYOND),
            (NOON, None, BEYOND),
        ],
    ),
    "instant": (
        "instant",
        "1h",
        [
            (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC) + HOUR, TOLERATED),
            (NOON.replace(tzinfo=UTC), NOON.replace(tzinfo=UTC) + HOUR + MICRO, BEYOND),
        ],
    ),
    "date": (
        "date",
        "1d",
        [
            (date(2024, 2, 28), date(2024, 2, 29), TOLERATED),
            (date(2024, 3, 1), date(2024, 2, 29), TOLERATED),
            (date(2024, 2, 28), date(2024, 3, 1), BEYOND),
        ],
    ),
    "time": (
        "time",
        "500ms",
        [
            (time(12), time(12, 0, 0, 500_000), TOLERATED),
            (time(12), time(12, 0, 0, 500_001), BEYOND),
            (time(23, 59, 59, 900_000), time(0), BEYOND),  # another day's midnight
        ],
    ),
}


def filled(world: World, kind: str, pairs: list[tuple[Any, Any, bool]]) -> list[int]:
    """Rows numbered from 1; those that are beyond tolerance."""
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, v {{{kind}}}"
    world.source.table("src", columns, [(at, pair[0]) for at, pair in enumerate(pairs, 1)])
    world.target.table("dst", columns, [(at, pair[1]) for at, pair in enumerate(pairs, 1)])
    return [at for at, pair in enumerate(pairs, 1) if pair[2] is BEYOND]


def found(report: Any) -> list[int]:
    return sorted(row["key"]["id"] for row in report.drift)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_is_tolerated_is_no_difference(world: World, case: tuple[str, str, list[tuple[Any, Any, bool]]]) -> None:
    kind, tolerance, pairs = case
    beyond = filled(world, kind, pairs)
    every = [at for at, (a, b, _) in enumerate(pairs, 1) if a != b]
    assert found(world.app().check("p")) == every  # the control: without a tolerance each pair differs
    app = world.app(tolerance={"v": tolerance})
    report = app.check("p")
    assert found(report) == beyond
    assert report.different_by_column == ({"v": len(beyond)} if beyond else {})
    assert found(app.check("p", keys=[{"id": at} for at in range(1, len(pairs) + 1)])) == beyond
    if beyond:
        repaired = app.run("p")
        assert (repaired.verdict, repaired.repaired) == (Verdict.REPAIRED, len(beyond))
    assert app.check("p").verdict is Verdict.IN_SYNC
    # A repair writes the exact value, and only where it was needed.
    assert found(world.app().check("p")) == [at for at in every if at not in beyond]


def test_a_repair_of_another_column_writes_the_exact_row(world: World) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {integer}"
    world.tables(columns, [(1, 100, 1), (2, 100, 1)], [(1, 101, 2), (2, 101, 1)])
    app = world.app(tolerance={"a": "5"})
    report = app.run("p")
    assert (report.different, report.different_by_column, report.repaired) == (1, {"b": 1}, 1)
    assert world.target.rows("dst") == {(1, 100, 1), (2, 101, 1)}


def test_a_tolerance_of_a_row_that_should_not_be_there(world: World) -> None:
    """`absent` is an expectation like any other."""
    columns = "id {integer} PRIMARY KEY NOT NULL, n {integer}"
    world.tables(columns, [(1, 5)], [(1, 5), (2, 1), (3, 2)])
    report = world.app(tolerance={"n": "1"}, absent={"n": 0}).check("p")
    assert (report.extra, found(report)) == (1, [3])


@pytest.mark.parametrize(("kind", "nothing"), [("{float}", 0.1), ("{float}", 0.0), ("{float}", 0), ("{number}", 0.0)])
@pytest.mark.every_pairing
def test_a_fraction_that_a_row_may_as_well_hold(world: World, kind: str, nothing: float) -> None:
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, v {kind}"
    held = [(1, 5), (2, nothing), (3, 2)] if kind == "{float}" else [(1, 5), (2, Decimal(0)), (3, 2)]
    world.tables(columns, [(1, 5)], held)
    report = world.app(absent={"v": nothing}, on_extra="report").check("p")
    assert (report.extra, report.different, found(report)) == (1, 0, [3])


def test_rows_of_a_repeated_key_find_partners_within_the_tolerance(world: World) -> None:
    world.tables("id {integer}, n {integer}", [(1, 10), (1, 12), (2, 10), (2, 12)], [(1, 11), (1, 9), (2, 9), (2, 9)])
    report = world.app(tolerance={"n": "1"}).check("p")
    assert found(report) == [2]
    assert report.duplicate_keys == {"source": 2, "target": 2}


NULLS = [(None, None), (None, 0), (0, None), (None, 1), (1, None), (1, 1), (1, 2)]


@pytest.mark.parametrize(
    ("policy", "different", "left_out"),
    [("exact", [2, 3, 4, 5, 7], 0), ("unknown", [7], 4), ("zero", [4, 5, 7], 0)],
)
@pytest.mark.every_pairing
def test_what_a_null_means(world: World, policy: str, different: list[int], left_out: int) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, n {integer}"
    world.source.table("src", columns, [(at, pair[0]) for at, pair in enumerate(NULLS, 1)])
    world.target.table("dst", columns, [(at, pair[1]) for at, pair in enumerate(NULLS, 1)])
    app = world.app(nulls={"n": policy})
    report = app.check("p")
    assert found(report) == different
    assert report.not_compared == ({"n": left_out} if left_out else {})
    assert report.to_dict()["not_compared"] == report.not_compared
    by_key = app.check("p", keys=[{"id": at} for at in range(1, len(NULLS) + 1)])
    assert (found(by_key), by_key.not_compared) == (different, report.not_compared)
    assert app.run("p").repaired == len(different)
    assert app.check("p").verdict is Verdict.IN_SYNC


@pytest.mark.parametrize(
    ("kind", "zero", "other"),
    [("text", "", "x"), ("boolean", False, True), ("float", 0.0, 0.5), ("number", 0, 1), ("bytes", b"", b"\0")],
)
def test_the_zero_of_each_kind(world: World, kind: str, zero: Any, other: Any) -> None:
    columns = f"id {{integer}} PRIMARY KEY NOT NULL, v {{{kind}}}"
    world.source.table("src", columns, [(1, None), (2, zero), (3, None), (4, other)])
    world.target.table("dst", columns, [(1, zero), (2, None), (3, other), (4, None)])
    assert found(world.app(nulls={"v": "zero"}).check("p")) == [3, 4]
    assert found(world.app().check("p")) == [1, 2, 3, 4]


def test_zero_and_a_tolerance_together(world: World) -> None:
    pairs: list[tuple[Any, Any, bool]] = [
        (None, 1, TOLERATED),
        (1, None, TOLERATED),
        (None, 2, BEYOND),
        (3, 4, TOLERATED),
    ]
    beyond = filled(world, "integer", pairs)
    assert found(world.app(nulls={"v": "zero"}, tolerance={"v": "1"}).check("p")) == beyond


def test_a_value_is_never_overwritten_with_one_that_is_not_known(world: World) -> None:
    columns = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {integer}"
    world.tables(columns, [(1, None, 1), (2, 7, 1)], [(1, 5, 2), (2, None, 2)])
    app = world.app(nulls={"a": "unknown"})
    report = app.run("p")
    assert (report.verdict, report.different_by_column, report.repaired) == (Verdict.REPAIRED, {"b": 2}, 2)
    assert world.target.rows("dst") == {(1, 5, 1), (2, 7, 1)}


def test_a_policy_that_does_not_fit_is_refused_before_anything_is_read(world: World) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL, name {text}, n {integer}, at {instant}")
    for declared, words in {
        "tolerance": [
            ({"nn": "1"}, "'nn' is not a compared column; did you mean 'n'"),
            ({"name": "1"}, "two values of kind text have no distance"),
            ({"n": "1s"}, "it holds numbers"),
        ],
        "nulls": [({"nam": "zero"}, "'nam' is not a compared column; did you mean 'name'")],
    }.items():
        for table, told in words:
            with pytest.raises(ConfigError, match=told):
                world.app(**{declared: table}).check("p")


#: What each database calls a single-precision float; SQLite has none.
SINGLES = {"postgresql": "real", "mysql": "float", "duckdb": "float"}


@pytest.mark.parametrize("source", ["single", "{float}", "{integer}"])
@pytest.mark.every_pairing
def test_a_fraction_that_a_single_float_may_as_well_hold(world: World, source: str) -> None:
    """As a double, 0.1 is another number."""
    if world.target.engine not in SINGLES or world.source.engine not in SINGLES:
        pytest.skip("this database has no single-precision floats")
    key = "id {integer} PRIMARY KEY NOT NULL, v"
    world.source.table("src", f"{key} {source.replace('single', SINGLES[world.source.engine])}", [(1, 5)])
    world.target.table("dst", f"{key} {SINGLES[world.target.engine]}", [(1, 5), (2, 0.1), (3, 2)])
    app = world.app(absent={"v": 0.1})
    report = app.check("p")
    assert (report.extra, report.different, found(report)) == (1, 0, [3])
    assert app.run("p").repaired == 1
    assert app.check("p").verdict is Verdict.IN_SYNC


@pytest.mark.every_pairing
def test_a_whole_single_float_is_its_number_beside_integers(world: World) -> None:
    """Its shortest spelling is another number, to which it was equal; what is no whole number is its spelling."""
    if world.source.engine not in SINGLES:
        pytest.skip("this database has no single-precision floats")
    key = "id {integer} PRIMARY KEY NOT NULL, v"
    held = [123456792, 123456792, 16777216, 7.1, None, -8]
    world.source.table("src", f"{key} {SINGLES[world.source.engine]}", enumerate(held))
    expected = [123456792, 123456790, 16777217, 7, 1, -8]
    world.target.table("dst", f"{key} {{integer}}", enumerate(expected))
    app = world.app()
    assert found(app.check("p", rows=0)) == [1, 2, 3, 4]
    assert found(world.app(tolerance={"v": "0.1"}).check("p", rows=0)) == [1, 2, 4]
    assert found(app.check("p", keys=[{"id": at} for at in range(6)])) == [1, 2, 3, 4]
