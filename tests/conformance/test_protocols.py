"""Protocols beside lock and compare-and-set, on every adapter that can write: issued versions with tombstones, an
outbox with what is pending taken off, differences that are subtracted, increments with a bound.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.conformance.worlds import World
from trueup import ConfigError, Outcome, Refused, Report, Trueup, Verdict

VERSIONED: dict[str, Any] = {"writers": "versioned", "version": "v"}
COLUMNS = "id {integer} PRIMARY KEY NOT NULL, val {text}, v {integer}"


def outcomes(app: Trueup, report: Report) -> dict[int, tuple[Outcome, str]]:
    return {o.key[0]: (o.outcome, o.evidence) for o in app.outcomes(report.run)}


# --- versions that the source issues ----------------------------------------------------------------------------------


def test_only_an_older_row_or_other_content_is_written_over(world: World) -> None:
    source = [(1, "a", 5), (2, "b", 5), (3, "c", 5), (4, "d", 5), (5, "e", 5)]
    world.tables(COLUMNS, source, [(1, "old", 4), (2, "other", 5), (3, "newer", 6), (5, "unversioned", None)])
    app = world.app(**VERSIONED)
    told = app.explain("p")
    assert (str(told.promise.guarantee), str(told.promise.protocol)) == ("EXACT", "issued_version")
    report = app.run("p")
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 4, 1)
    assert world.target.rows("dst") == {*source[:2], (3, "newer", 6), *source[3:]}
    (row,) = app.run("p").drift
    assert (row["key"], row["reason"]) == (
        {"id": 3},
        "the target is newer than the source: its version is 6, the source's 5",
    )


FLAGGED = COLUMNS + ", deleted {boolean}"


def test_tombstones_on_both_sides_are_no_rows(world: World) -> None:
    world.tables(
        FLAGGED,
        [(1, "a", 2, True), (2, "b", 2, False), (3, "c", 3, True), (4, "d", 4, None)],
        [(1, "a", 1, True), (2, "b", 2, None), (4, "d", 4, False), (9, "x", 9, True)],
    )
    report = world.app(**VERSIONED, tombstone={"column": "deleted"}).check("p")
    assert (report.verdict, report.source_rows, report.target_rows) == (Verdict.IN_SYNC, 2, 2)


def test_a_row_that_the_source_deleted_becomes_a_tombstone_of_that_version(world: World) -> None:
    world.tables(
        FLAGGED,
        [(1, "a", 7, True), (2, "b", 3, True), (3, "c", 4, False)],
        [(1, "was", 5, False), (2, "newer", 4, False), (3, "c", 3, True)],
    )
    app = world.app(**VERSIONED, tombstone={"column": "deleted"}, on_extra="delete")
    report = app.run("p")
    assert (report.missing, report.extra, report.repaired) == (1, 2, 2)
    held = {row[0]: (row[1], row[2], bool(row[3])) for row in world.target.rows("dst")}
    assert held == {1: ("was", 7, True), 2: ("newer", 4, False), 3: ("c", 4, False)}
    told = outcomes(app, report)
    assert [told[key][0] for key in (1, 2, 3)] == [Outcome.APPLIED, Outcome.CAS_LOST, Outcome.APPLIED]
    assert told[2][1] == "the target is newer than the source: its version is 4, the source's 3"


def test_a_source_that_forgets_deleted_rows_leaves_the_targets_version(world: World) -> None:
    world.source.table("src", COLUMNS, [(1, "a", 7)])
    world.target.table("dst", FLAGGED, [(1, "a", 7, False), (2, "b", 3, False)])
    app = world.app(**VERSIONED, tombstone={"column": "deleted"}, on_extra="delete")
    assert app.run("p").verdict is Verdict.REPAIRED
    held = {row[0]: (row[2], bool(row[3])) for row in world.target.rows("dst")}
    assert held == {1: (7, False), 2: (3, True)}


def test_without_tombstones_a_deleted_row_goes(world: World) -> None:
    world.tables(COLUMNS, [(1, "a", 7)], [(1, "a", 7), (2, "b", 3)])
    app = world.app(**VERSIONED, on_extra="delete")
    assert app.run("p").verdict is Verdict.REPAIRED
    assert world.target.rows("dst") == {(1, "a", 7)}


# --- an outbox --------------------------------------------------------------------------------------------------------

COUNTED: dict[str, Any] = {
    "source": "SELECT id, count(*) AS n FROM edges GROUP BY id",
    "absent": {"n": 0},
    "writers": "outbox",
}


def queue(world: World, *, edges: dict[int, int], target: dict[int, int], queued: list[tuple[int, int]]) -> None:
    world.source.table("edges", "id {integer} NOT NULL", [(key,) for key, n in edges.items() for _ in range(n)])
    world.source.table("queue", "post {integer} NOT NULL, delta {integer} NOT NULL", queued)
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, n {integer} NOT NULL", target.items())


PENDING = {"table": "queue", "columns": {"id": "post", "n": "delta"}}
#: Key 1: two queued; 2: nothing queued; 3: all of it queued, and no row yet; 4: gone, and its decrement queued.
QUEUED = [(1, 1), (1, 1), (3, 1), (4, -1)]


def test_what_is_queued_is_no_drift(together: World) -> None:
    queue(together, edges={1: 5, 2: 3, 3: 1}, target={1: 3, 2: 3, 4: 1}, queued=QUEUED)
    app = together.app(**COUNTED, pending=PENDING)
    assert app.check("p").verdict is Verdict.IN_SYNC
    assert str(app.explain("p").promise.guarantee) == "EXACT"


def test_control_without_the_queue_it_would_be_counted_twice(together: World) -> None:
    queue(together, edges={1: 5, 2: 3, 3: 1}, target={1: 3, 2: 3, 4: 1}, queued=QUEUED)
    app = together.app(**COUNTED)
    assert (app.check("p").different, app.check("p").missing, app.check("p").extra) == (1, 1, 1)
    told = app.explain("p").promise
    assert str(told.guarantee) == "REPORT-ONLY"
    assert "`pending`" in told.reasons[1]


def test_drift_beside_the_queue_is_repaired_to_what_the_queue_leaves(together: World) -> None:
    queue(together, edges={1: 5, 2: 3, 3: 2, 5: 1}, target={1: 9, 2: 1, 4: 7, 6: 2}, queued=QUEUED)
    app = together.app(**COUNTED, pending=PENDING)
    assert app.run("p").verdict is Verdict.REPAIRED
    assert together.target.rows("dst") == {(1, 3), (2, 3), (3, 1), (4, 1), (5, 1), (6, 0)}


def test_pending_as_a_query(together: World) -> None:
    queue(together, edges={1: 5, 2: 3}, target={1: 3, 2: 2}, queued=[(1, 1), (1, 1)])
    query = "SELECT post AS id, sum(delta) AS n FROM queue GROUP BY post"
    app = together.app(**COUNTED, pending={"query": query})
    assert (app.run("p").repaired, together.target.rows("dst")) == (1, {(1, 3), (2, 3)})


# --- differences that are subtracted ----------------------------------------------------------------------------------


def test_what_a_row_is_off_by_is_subtracted(together: World) -> None:
    together.tables(
        "id {integer} PRIMARY KEY NOT NULL, n {integer}, total {number}",
        [(1, 5, 100), (2, 7, 7), (3, 1, 1), (5, None, 1)],
        [(1, 8, 99), (2, 7, 7), (4, 1, 1), (5, 2, 1)],
    )
    app = together.app(on_different="delta", on_extra="delete")
    told = app.explain("p")
    assert (str(told.promise.guarantee), told.promise.delta, told.settle_s) == ("EXACT", True, 0.0)
    report = app.run("p")
    assert report.verdict is Verdict.REPAIRED
    assert together.target.rows("dst") == {(1, 5, 100), (2, 7, 7), (3, 1, 1), (5, None, 1)}
    assert outcomes(app, report)[1] == (Outcome.APPLIED, "it was off by (+3, -1), which was subtracted")
    assert outcomes(app, report)[5][1] == ""  # NULL is no number: written under the lock


@pytest.mark.parametrize(
    ("declared", "words"),
    [
        ({"columns": ["val"]}, "is of kind text"),
        ({"columns": ["ratio"]}, "is of kind float"),
    ],
)
def test_what_does_not_add_up_exactly_is_refused(together: World, declared: dict[str, Any], words: str) -> None:
    together.tables("id {integer} PRIMARY KEY NOT NULL, val {text}, ratio {float}")
    with pytest.raises(ConfigError, match=words) as refused:
        together.app(on_different="delta", **declared).check("p")
    assert refused.value.exit_code == 2


def test_without_a_marker_a_difference_is_not_subtracted(together: World) -> None:
    together.tables("id {integer} PRIMARY KEY NOT NULL, n {integer}", [(1, 5)], [(1, 8)])
    app = together.app(on_different="delta", target_database={"markers": False})
    assert str(app.explain("p").promise.guarantee) == "REPORT-ONLY"
    with pytest.raises(Refused, match="at most once"):
        app.run("p")
    assert together.target.rows("dst") == {(1, 8)}


# --- increments that are late by a bound at most ----------------------------------------------------------------------


def test_a_key_is_repaired_once_all_of_its_events_are_older_than_the_bound(world: World) -> None:
    now = datetime.now(UTC).replace(tzinfo=None)
    old, young = now - timedelta(hours=1), now + timedelta(minutes=5)
    world.source.table(
        "edges", "id {integer} NOT NULL, happened {timestamp}", [(1, old), (1, old), (2, old), (2, young), (3, None)]
    )
    world.target.table("dst", "id {integer} PRIMARY KEY NOT NULL, n {integer} NOT NULL", [(1, 7), (2, 7), (3, 7)])
    app = world.app(
        source=COUNTED["source"],
        writers="increments",
        bound="5s",
        events={"table": "edges", "column": "happened", "zone": "UTC"},
    )
    assert app.explain("p").promise.label == "EXACT-IF(5s)"
    report = app.run("p")
    assert report.guarantee == "EXACT-IF(5s)"
    assert (report.verdict, report.repaired, report.left) == (Verdict.DRIFT, 1, 2)
    assert world.target.rows("dst") == {(1, 2), (2, 7), (3, 7)}
    told = outcomes(app, report)
    assert told[2] == (Outcome.CAS_LOST, "an event is younger than the bound (5 s): not known to have arrived")
    assert told[3] == told[2]


# --- deletes that would reach further --------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["CASCADE", "SET NULL", "NO ACTION"])
def test_a_delete_that_reaches_another_table_is_refused(together: World, rule: str) -> None:
    if together.pairing.source == "duckdb" and rule != "NO ACTION":
        with pytest.raises(Exception, match="CASCADE"):  # it knows no such rule: nothing there can be reached
            together.source.sql(f"CREATE TABLE c (id BIGINT REFERENCES dst(id) ON DELETE {rule})")
        return
    together.tables("id {integer} PRIMARY KEY NOT NULL, val {text}", [(1, "a")], [(1, "a"), (2, "b")])
    together.target.sql(
        "CREATE TABLE child (id BIGINT, parent BIGINT, FOREIGN KEY (parent) REFERENCES dst(id)"
        + (")" if rule == "NO ACTION" else f" ON DELETE {rule})")
    )
    app = together.app(on_extra="delete")
    if rule == "NO ACTION":
        assert app.run("p").verdict is Verdict.REPAIRED
        return
    with pytest.raises(ConfigError, match=r"also delete or change rows of child\b") as refused:
        app.run("p")
    assert refused.value.exit_code == 2
    assert together.target.rows("dst") == {(1, "a"), (2, "b")}
    assert together.app(on_extra="report", ledger=f"sqlite:///{together.folder / 'other.db'}").check("p").extra == 1


# --- values that change places --------------------------------------------------------------------------------------


@pytest.mark.parametrize("column", ["{text}", "{integer}", "{integer} NOT NULL"])
def test_rows_that_exchange_a_unique_value(together: World, column: str) -> None:
    """Both ways, around, and down a chain; by no DELETE, which a child would see."""
    text = {"{text}": "varchar(40)"}.get(column, column)
    one, two, three, four = ("a", "b", "c", "d") if column == "{text}" else (1, 2, 3, 4)
    right = [(1, one), (2, two), (3, three)]
    together.source.table("src", f"id {{integer}} PRIMARY KEY NOT NULL, val {text}", right)
    together.target.table(
        "dst", f"id {{integer}} PRIMARY KEY NOT NULL, val {text} UNIQUE", [(1, two), (2, three), (3, one)]
    )
    app = together.app()
    report = app.run("p")
    assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 3)
    assert together.target.rows("dst") == set(right)
    assert any(evidence.startswith("unique_conflict") for _, evidence in outcomes(app, report).values())
    together.target.sql("UPDATE dst SET val = " + ("'d'" if four == "d" else "4") + " WHERE id = 3")
    together.target.sql("UPDATE dst SET val = " + ("'c'" if three == "c" else "3") + " WHERE id = 1")
    assert app.run("p").verdict is Verdict.REPAIRED
    assert together.target.rows("dst") == set(right)
