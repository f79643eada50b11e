"""Missing, extra, different: counted right, repaired exactly, and nothing else is touched."""

from __future__ import annotations

import json

import pytest

from tests.conformance.worlds import World
from trueup import Outcome, Report, Verdict

COLUMNS = "id {integer} PRIMARY KEY NOT NULL, a {integer}, b {text}"
SOURCE = [(n, n * 10, f"row {n}") for n in range(1, 41)]


def drifted() -> list[tuple[int, int | None, str | None]]:
    """SOURCE with 3 missing, 2 extra, and 4 different: two in `a`, one in `b`, one in both."""
    rows = {row[0]: row for row in SOURCE if row[0] not in (1, 20, 40)}
    rows[2] = (2, 999, "row 2")
    rows[3] = (3, None, "row 3")
    rows[4] = (4, 40, "ROW 4")
    rows[39] = (39, 0, None)
    rows[-5] = (-5, 1, "below")
    rows[1000] = (1000, 2, "above")
    return list(rows.values())


@pytest.fixture
def drifting(world: World) -> World:
    world.tables(COLUMNS, SOURCE, drifted())
    return world


@pytest.fixture
def drifting_target(world: World) -> World:
    """The same, where it depends on the target."""
    world.tables(COLUMNS, SOURCE, drifted())
    return world


def assert_counts(report: Report) -> None:
    assert (report.missing, report.extra, report.different) == (3, 2, 4)
    assert report.different_by_column == {"a": 3, "b": 2}
    assert (report.source_rows, report.target_rows) == (40, 39)
    assert report.segments["planned"] == report.segments["done"] > 0


def test_in_sync(world: World) -> None:
    world.tables(COLUMNS, SOURCE, SOURCE)
    report = world.app().check("p")
    assert (report.verdict, report.exit_code, report.drifted) == (Verdict.IN_SYNC, 0, 0)
    assert (report.source_rows, report.target_rows) == (40, 40)


def test_both_empty(world: World) -> None:
    world.tables(COLUMNS)
    report = world.app().check("p")
    assert (report.verdict, report.source_rows, report.target_rows) == (Verdict.IN_SYNC, 0, 0)
    assert report.segments["planned"] == report.segments["done"] > 0


def test_check_counts_and_writes_nothing(drifting: World) -> None:
    before = drifting.target.rows("dst")
    report = drifting.app().check("p")
    assert (report.verdict, report.exit_code) == (Verdict.DRIFT, 1)
    assert_counts(report)
    assert {(row["kind"], row["key"]["id"]) for row in report.drift} == {
        *(("missing", n) for n in (1, 20, 40)),
        *(("extra", n) for n in (-5, 1000)),
        *(("different", n) for n in (2, 3, 4, 39)),
    }
    assert drifting.target.rows("dst") == before


def test_listed_rows_say_what_is_expected_and_what_is_there(drifting_target: World) -> None:
    listed = {row["key"]["id"]: row for row in drifting_target.app().check("p").drift}
    assert (listed[3]["expected"], listed[3]["observed"]) == ({"a": 30, "b": "row 3"}, {"a": None, "b": "row 3"})
    assert (listed[1]["expected"], listed[1]["observed"]) == ({"a": 10, "b": "row 1"}, None)
    assert (listed[1000]["expected"], listed[1000]["observed"]) == (None, {"a": 2, "b": "above"})


def test_the_report_is_plain_json_and_bounded(drifting_target: World) -> None:
    data = json.loads(drifting_target.app().check("p", rows=2).to_json_text())
    assert len(data["drift"]) == 2
    assert (data["missing"], data["extra"], data["different"], data["verdict"]) == (3, 2, 4, "drift")
    assert len(drifting_target.app().check("p", rows=0).drift) == 9


@pytest.mark.every_pairing
def test_run_repairs_exactly_these(drifting: World) -> None:
    app = drifting.app(on_extra="delete")
    report = app.run("p")
    assert_counts(report)
    assert (report.verdict, report.repaired, report.left, report.exit_code) == (Verdict.REPAIRED, 9, 0, 0)
    assert drifting.target.rows("dst") == set(SOURCE) == drifting.source.rows("src")
    outcomes = app.outcomes(report.run)
    assert sorted(o.key[0] for o in outcomes) == [-5, 1, 2, 3, 4, 20, 39, 40, 1000]
    assert {o.outcome for o in outcomes} == {Outcome.APPLIED}
    again = app.run("p")
    assert (again.verdict, again.repaired, again.drifted) == (Verdict.IN_SYNC, 0, 0)


def test_before_and_after_images_are_in_the_ledger(drifting_target: World) -> None:
    app = drifting_target.app(on_extra="delete")
    outcomes = {o.key[0]: o for o in app.outcomes(app.run("p").run)}
    assert (outcomes[3].before, outcomes[3].after) == ((None, "row 3"), (30, "row 3"))
    assert (outcomes[1].before, outcomes[1].after) == (None, (10, "row 1"))
    assert (outcomes[1000].before, outcomes[1000].after) == ((2, "above"), None)


def test_extra_rows_are_only_reported_by_default(drifting_target: World) -> None:
    report = drifting_target.app().run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 7, 2)
    assert drifting_target.target.rows("dst") == {*SOURCE, (-5, 1, "below"), (1000, 2, "above")}


def test_reset_to_absent(drifting_target: World) -> None:
    drifting_target.target.insert("dst", [(2000, 0, "none")])  # already what `absent` means
    app = drifting_target.app(absent={"a": 0, "b": "none"})
    report = app.run("p")
    assert (report.verdict, report.extra, report.repaired) == (Verdict.REPAIRED, 2, 9)
    assert drifting_target.target.rows("dst") == {*SOURCE, *((n, 0, "none") for n in (-5, 1000, 2000))}
    assert app.check("p").verdict is Verdict.IN_SYNC


def test_absent_does_not_excuse_a_missing_row_that_the_source_has(world: World) -> None:
    world.tables(COLUMNS, [(1, 0, "none")], [])
    report = world.app(absent={"a": 0, "b": "none"}).check("p")
    assert (report.verdict, report.missing) == (Verdict.DRIFT, 1)


@pytest.mark.parametrize(
    ("policy", "left"),
    [({"on_missing": "report"}, 3), ({"on_different": "report"}, 4), ({"on_extra": "report"}, 2)],
    ids=["missing", "different", "extra"],
)
def test_what_is_only_reported_is_left(drifting_target: World, policy: dict[str, str], left: int) -> None:
    before = drifting_target.target.rows("dst")
    report = drifting_target.app(**({"on_extra": "delete"} | policy)).run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 9 - left, left)
    after = drifting_target.target.rows("dst")
    extra = {row for row in before if row[0] in (-5, 1000)}
    missing = {row for row in SOURCE if row[0] in (1, 20, 40)}
    expected = {
        "on_missing": {*SOURCE} - missing,
        "on_different": (before - extra) | missing,
        "on_extra": {*SOURCE} | extra,
    }
    assert after == expected[next(iter(policy))]


def test_explicit_keys_touch_no_other_row(drifting: World) -> None:
    before = drifting.target.rows("dst")
    report = drifting.app(on_extra="delete").run("p", keys=[{"id": n} for n in (2, 20, 1000, 7, 5555)])
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 3)
    assert (report.missing, report.extra, report.different) == (1, 1, 1)
    gone = {row for row in before if row[0] in (2, 1000)}
    assert drifting.target.rows("dst") == (before - gone) | {SOURCE[1], SOURCE[19]}


def test_explicit_keys_that_are_right(drifting_target: World) -> None:
    report = drifting_target.app().check("p", keys=[{"id": 7}, {"id": 8}, {"id": 5555}])
    assert (report.verdict, report.source_rows, report.target_rows) == (Verdict.IN_SYNC, 2, 2)


def test_only_the_compared_columns_are_compared_and_written(drifting: World) -> None:
    before = {row[0]: row for row in drifting.target.rows("dst")}
    app = drifting.app(columns=["a"])
    report = app.run("p")
    assert (report.missing, report.extra, report.different, report.different_by_column) == (3, 2, 3, {"a": 3})
    after = {row[0]: row for row in drifting.target.rows("dst")}
    assert after[39] == (39, 390, None)
    assert after[4] == before[4]
    assert after[1] == (1, 10, None)


def test_key_only(world: World) -> None:
    world.tables("id {integer} PRIMARY KEY NOT NULL", [(n,) for n in range(5)], [(n,) for n in range(2, 7)])
    report = world.app(on_extra="delete").run("p")
    assert (report.missing, report.extra, report.different, report.repaired) == (2, 2, 0, 4)
    assert world.target.rows("dst") == {(n,) for n in range(5)}


@pytest.mark.every_pairing
def test_plan_then_apply(drifting: World) -> None:
    app = drifting.app(on_extra="delete")
    before = drifting.target.rows("dst")
    plan = app.plan("p")
    assert plan.verdict is Verdict.DRIFT
    assert drifting.target.rows("dst") == before
    drifting.target.sql("UPDATE dst SET a = 12345 WHERE id = 2")  # moved since: is left alone
    report = app.apply(plan)
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 8, 1)
    assert drifting.target.rows("dst") == {*SOURCE} - {SOURCE[1]} | {(2, 12345, "row 2")}
