"""Periods by age: runs read the days whose turn it is, recent ones often and old ones rarely; a node goes by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from tests.serving.worlds import World, ended
from trueup import Projection, Side, Trueup, Verdict
from trueup.core.plan import partition_of
from trueup.store.coverage import Coverage

HOUR = 3600
DAYS = 12
#: The two youngest days each hour, the others every ten days.
VERIFY = [{"younger": "2d", "every": "1h"}, {"every": "10d"}]


def day(world: World, ago: int) -> str:
    """A day by its age; yesterday's is 1."""
    return f"{datetime.fromtimestamp(world.clock.fake.now(), UTC) - timedelta(days=ago):%Y-%m-%d}"


def declare(world: World, **changes: Any) -> Projection:
    """Rows `(id, at, n)`, one for each of the last days."""
    world.db.sql(*(f"CREATE TABLE {side}_p (id integer PRIMARY KEY, at date NOT NULL, n integer)" for side in "st"))
    rows = ", ".join(f"({n}, '{day(world, n)}', 1)" for n in range(1, DAYS + 1))
    world.db.sql(*(f"INSERT INTO {side}_p VALUES {rows}" for side in "st"))
    sides = {"source": Side(database="app", table="s_p"), "target": Side(database="app", table="t_p")}
    partition = {"by": "time", "column": "at", "bucket": "1d", "verify": VERIFY} | changes.pop("cut", {})
    given: dict[str, Any] = {"key": ["id"], "writers": "same_transaction", "partition": partition, **sides, **changes}
    world.declared["p"] = Projection(name="p", **given)
    return world.declared["p"]


def read(engine: Trueup) -> set[str]:
    """Days that the last run has read as such, and not row by row."""
    spans = Coverage(engine.ledger).spans(engine.runs("p")[0].id)
    return {part.label for part in map(partition_of, spans) if part is not None}


def test_a_run_reads_what_is_due_by_its_age(small: World) -> None:
    declare(small)
    days = {day(small, n) for n in range(1, DAYS + 1)}
    with small.engine() as engine:
        assert engine.run("p").verdict is Verdict.IN_SYNC
        assert read(engine) == days
        report = engine.run("p")
        assert (report.verdict, report.segments["planned"]) == (Verdict.IN_SYNC, 0), "nothing is due at once"
        small.clock.fake.sleep(HOUR)
        report = engine.check("p")
        assert read(engine) == {day(small, 1), day(small, 2)}
        assert "the 2 of 12 parts whose turn it is by their age" in report.strategy
        assert engine.check("p", full=True).segments["planned"] == DAYS
        assert read(engine) == days
        small.clock.fake.sleep(9 * 24 * HOUR)
        engine.check("p")
        assert days <= read(engine)
        assert engine.check("p", partitions=[min(days)]).segments["planned"] == 1, "or what is asked for"


def test_what_is_known_to_be_wrong_and_what_is_new_is_read_too(small: World) -> None:
    declare(small)
    with small.engine() as engine:
        small.db.sql("UPDATE t_p SET n = 9 WHERE id = 11")
        assert engine.check("p").verdict is Verdict.DRIFT
        new = day(small, 0)
        small.db.sql(*(f"INSERT INTO {side}_p VALUES (100, '{new}', 1)" for side in "st"))
        small.clock.fake.sleep(24 * HOUR)
        report = engine.run("p")
        assert (report.verdict, report.repaired) == (Verdict.REPAIRED, 1)
        assert new in read(engine)
        assert day(small, 12) not in read(engine)
        assert "1 that are new, and 1 rows that were wrong" in report.strategy


def test_how_often_it_is_read_is_no_other_declaration(small: World) -> None:
    """What was verified counts on, whether periods are given, changed or left out."""
    declare(small, cut={"verify": ()})
    with small.engine() as engine:
        engine.run("p")
    small.declared["p"] = small.declared["p"].model_copy(
        update={"partition": small.declared["p"].partition.model_validate(
            small.declared["p"].partition.model_dump() | {"verify": VERIFY}
        )}
    )  # fmt: skip
    small.clock.fake.sleep(HOUR)
    with small.engine() as engine:
        engine.run("p")
        assert read(engine) == {day(small, 1), day(small, 2)}


def test_a_definition_that_comes_back_reads_everything_once(small: World) -> None:
    """What was wrong by it was right by the other, and is known no more."""
    declare(small)
    small.db.sql("UPDATE t_p SET n = 9 WHERE id = 11")
    for tolerance, verdict in (({}, Verdict.DRIFT), ({"n": "10"}, Verdict.IN_SYNC), ({}, Verdict.DRIFT)):
        small.declared["p"] = small.declared["p"].model_copy(update={"tolerance": tolerance})
        with small.engine() as engine:
            assert engine.check("p").verdict is verdict
            assert len(read(engine)) == DAYS
            small.clock.fake.sleep(HOUR)
            assert engine.check("p").verdict is verdict
            assert len(read(engine)) == 2


def test_a_node_reads_by_age_on_schedule(small: World) -> None:
    declare(small, schedule={"every": "1h"})
    node = small.node()
    node.step()
    seen: list[set[str]] = []
    for _ in range(4):
        small.clock.fake.sleep(HOUR)
        node.step()
        seen.append(read(node.engine))
    assert len(seen[0]) == DAYS
    assert [len(one) for one in seen[1:]] == [2, 2, 2]
    assert {state for state, _ in ended(node)} == {"done"}
    assert node.engine.freshness("p").late_s(small.clock.now()) == 0


def test_continuous_mode_goes_by_age_and_rests_where_nothing_is_due(small: World) -> None:
    declare(small, schedule={"continuous": True})
    node = small.node()
    node.step()
    assert len(read(node.engine)) == DAYS
    for _ in range(10):  # a node that looks all the time
        small.clock.fake.sleep(HOUR / 12)
        node.step()
    assert len(node.engine.runs("p")) == 1
    small.clock.fake.sleep(HOUR / 12)
    node.step()
    assert read(node.engine) == {day(small, 1), day(small, 2)}
    small.clock.fake.sleep(10 * HOUR)
    fresh = node.engine.freshness("p")
    assert fresh.late_s(small.clock.now()) == 8 * HOUR, "an hourly day that nobody read for ten"


def test_an_objective_for_all_parts_and_periods_by_age_exclude_each_other(small: World) -> None:
    with pytest.raises(ValidationError, match="`fresh` and `verify` of `partition` exclude each other"):
        declare(small, fresh="6h")
