"""The live race: the product's repair holds at every gap, the naive one does not; each guard taken out is seen."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.doctor.worlds import World
from tests.live.harness import instead
from trueup.adapters import _by_difference, _by_issued_version, _by_lock, _by_row_version, _race, _race_gaps, connect
from trueup.adapters._steps import UnitTransaction
from trueup.adapters._way import Way
from trueup.core.findings import Race
from trueup.core.guarantee import Proof, Protocol
from trueup.core.projection import Database
from trueup.errors import DesignProblem

NOW = datetime(2026, 11, 28, tzinfo=UTC)


def protocol_of(url: str, *, one_database: bool) -> Protocol:
    if url.startswith(("sqlite", "duckdb")):
        return Protocol.EXCLUSIVE
    return Protocol.COMPARE_AND_SET if url.startswith("postgresql") and not one_database else Protocol.LOCK


def race(world: World, *, one_database: bool, now: datetime = NOW, **settings: Any) -> Race:
    adapter = connect("app", Database.model_validate({"url": world.url} | settings))
    try:
        protocol = protocol_of(world.url, one_database=one_database)
        return adapter.examiner.race(protocol, one_database=one_database, now=now)
    finally:
        adapter.close()


def tables(world: World) -> set[str]:
    adapter = connect("app", Database.model_validate({"url": world.url}))
    try:
        return {table.name for table in adapter.tables()}
    finally:
        adapter.close()


topologies = pytest.mark.parametrize("one_database", [True, False], ids=["one", "two"])


@topologies
def test_the_repair_holds_and_the_naive_one_does_not(world: World, one_database: bool) -> None:
    seen = race(world, one_database=one_database)
    assert seen.proof is Proof.HELD, seen.told
    assert seen.wrong == 0
    assert seen.trials >= 5
    assert 1 <= seen.naive_wrong <= seen.naive_trials
    assert tables(world) == {"edges", "counter"}


def issued(world: World) -> Race:
    adapter = connect("app", Database.model_validate({"url": world.url}))
    try:
        return adapter.examiner.race(Protocol.ISSUED_VERSION, one_database=True, now=NOW)
    finally:
        adapter.close()


def test_versions_that_the_source_issues(world: World) -> None:
    seen = issued(world)
    assert seen.proof is Proof.HELD, seen.told
    assert seen.trials >= 4
    assert tables(world) == {"edges", "counter"}


@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)
def test_a_version_that_is_not_compared_is_seen(world: World) -> None:
    with (
        instead(_by_issued_version, "ahead", lambda *_: ""),
        instead(_by_issued_version, "newer", lambda *_: True),
        instead(UnitTransaction, "_is_no_newer", lambda *_: []),
    ):
        assert issued(world).proof is Proof.BROKEN


def test_a_difference_that_sets_the_value_is_seen(world: World) -> None:
    """What the row is to be by the measurement, and not less what it is off by."""
    with instead(_by_difference, "corrected", lambda _held, _off: (_race_gaps.TRUE,)):
        assert race(world, one_database=True).proof is Proof.BROKEN


@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)
def test_it_holds_with_marker_tables_and_leaves_nothing_in_them(world: World) -> None:
    with world.engine() as engine:
        engine.run("counter")
    before = world.sql("SELECT count(*) FROM trueup_applied")
    assert race(world, one_database=True).proof is Proof.HELD
    assert world.sql("SELECT count(*) FROM trueup_applied") == before
    assert world.sql("SELECT fence FROM trueup_fence") == [("counter",)]


# --- guards taken out ------------------------------------------------------------------------------------------------


class CountsFirst(_by_lock.ByLock):
    """Reads the source, and takes the lock after that."""

    def prepare(self) -> None:
        with self.adapter.reading() as connection:
            steps = UnitTransaction(self.adapter, connection, self.binding, self.unit)
            self.expected = Way.read_the_source(self, steps)

    def read(self, steps: UnitTransaction) -> None: ...


@pytest.mark.parametrize("url", ["postgresql", "mariadb", "sqlite"], indirect=True)
@topologies
def test_counting_before_the_lock_is_seen(world: World, one_database: bool) -> None:
    from trueup.adapters import _units

    if protocol_of(world.url, one_database=one_database) is Protocol.COMPARE_AND_SET:
        pytest.skip("it reads before it locks, and demands the row's version: the next test")
    with instead(_units, "ByLock", CountsFirst):
        seen = race(world, one_database=one_database)
    assert seen.proof is Proof.BROKEN, seen.told
    assert "WRONG" in seen.told[0]
    assert tables(world) == {"edges", "counter"}


def test_a_version_that_nobody_demands_is_seen(pg: World) -> None:
    with instead(_by_row_version, "token", lambda row: None):

        class Careless(_by_row_version.ByRowVersion):
            def outcome(self, suspect: Any, now: Any, *, made: bool) -> Any:
                return self.still(suspect, now, made=made)

        from trueup.adapters import _units

        with instead(_units, "ByRowVersion", Careless):
            seen = race(pg, one_database=False)
    assert seen.proof is Proof.BROKEN, seen.told


def test_a_lock_that_is_not_taken_is_seen(pg: World, maria: World) -> None:
    for world in (pg, maria):
        kind = type(connect("app", Database.model_validate({"url": world.url})))
        with instead(kind, "locking", lambda _self, statement, *, wait: statement):
            assert race(world, one_database=True).proof is Proof.BROKEN


def test_a_view_older_than_the_lock_is_seen(maria: World) -> None:
    """B2: REPEATABLE READ, and a first look before the lock."""
    kind = type(connect("app", Database.model_validate({"url": maria.url})))
    snapshot = {"trueup_begin": "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ WRITE"}
    with instead(kind, "writing_options", snapshot):
        assert race(maria, one_database=True).proof is Proof.BROKEN


# --- the positive control of the probe itself ------------------------------------------------------------------------


def test_where_the_naive_repair_holds_nothing_is_proven(pg: World) -> None:
    with instead(_race.Field, "naive", _race.Field.repair):
        seen = race(pg, one_database=True)
    assert seen.proof is Proof.INCONCLUSIVE
    assert seen.wrong == 0


# --- what it leaves behind -------------------------------------------------------------------------------------------


def dying() -> AbstractContextManager[None]:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    return instead(_race, "_every_gap", die)


def test_scratch_tables_go_whatever_happens(world: World) -> None:
    with dying(), pytest.raises(KeyboardInterrupt):
        race(world, one_database=True)
    assert tables(world) == {"edges", "counter"}


@pytest.mark.parametrize("url", ["postgresql", "sqlite"], indirect=True)
def test_those_of_a_probe_that_was_killed_go_with_the_next(world: World) -> None:
    with dying(), instead(_race.Field, "_remove", lambda _self: None), pytest.raises(KeyboardInterrupt):
        race(world, one_database=True)
    assert len(tables(world)) == 4
    for seconds, left in ((30, 4), (90, 2)):  # at first it may still be going on
        with dying(), pytest.raises(KeyboardInterrupt):
            race(world, one_database=True, now=NOW + timedelta(seconds=seconds))
        assert len(tables(world)) == left
    assert tables(world) == {"edges", "counter"}


def test_without_the_right_to_make_tables_there_is_no_race(pg: World, tmp_path: Path) -> None:
    role = f"trueup_doctor_{tmp_path.name.replace('-', '_')[-20:]}"
    (database,) = pg.sql("SELECT current_database()")[0]
    pg.sql(
        f'CREATE ROLE "{role}" LOGIN',
        "REVOKE CREATE ON SCHEMA public FROM public",
        f'GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO "{role}"',
    )
    url = sa.make_url(pg.url).set(username=role).render_as_string(hide_password=False)
    try:
        with pytest.raises(DesignProblem, match=r"no schema has been selected|permission denied"):
            race(World(url=url, folder=tmp_path), one_database=True)
    finally:
        pg.sql(f'DROP OWNED BY "{role}"', f'DROP ROLE "{role}"', f"SELECT '{database}'")
