"""Documents in one database, their copy in another, and the application writing between any two steps of a repair.

The rule that is put to the test: the copy's version first, the source second, and the write only onto that version.
Where the copy's database has one writer at a time, its write lock takes the version's place.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.harness import Background, Docs, QuickClock, around, blocked
from tests.servers import Pair
from trueup.adapters import _way
from trueup.adapters._steps import UnitTransaction
from trueup.core.states import Outcome, Verdict
from trueup.store.ledger import Ledger


def build(kind: str, request: pytest.FixtureRequest) -> Docs:
    """`source>target`, each `pg` or `lite`."""
    source, _, target = kind.partition(">")
    if kind == "pg>pg":
        return Docs(*request.getfixturevalue("postgres_pair"))
    lite: Pair = request.getfixturevalue("sqlite_pair")
    if kind == "lite>lite":
        return Docs(*lite)
    postgres: str = request.getfixturevalue("postgres")
    return Docs(postgres if source == "pg" else lite.source, postgres if target == "pg" else lite.target)


@pytest.fixture(params=["pg>pg", "lite>pg"])
def by_version(request: pytest.FixtureRequest) -> Docs:
    """The copy is in PostgreSQL: rows have versions."""
    return build(request.param, request)


@pytest.fixture(params=["lite>lite", "pg>lite"])
def by_lock(request: pytest.FixtureRequest) -> Docs:
    """The copy is in SQLite: one writer at a time."""
    return build(request.param, request)


@pytest.fixture(params=["pg>pg", "lite>pg", "lite>lite", "pg>lite"])
def docs(request: pytest.FixtureRequest) -> Docs:
    return build(request.param, request)


def run(docs: Docs, folder: Path, **declared: object) -> tuple[Verdict, dict[int, Outcome]]:
    with docs.engine(folder, **declared) as engine:
        report = engine.run("doc")
        return report.verdict, {o.key[0]: o.outcome for o in engine.outcomes(report.run)}


# --- the naive repairs are wrong -------------------------------------------------------------------------------------


def test_control_no_guard_overwrites_newer_state(docs: Docs) -> None:
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    expected, _ = docs.state()
    docs.write(1, 7)
    docs.target.sql(f"UPDATE doc SET val = {expected} WHERE id = 1")
    assert docs.state() == (7, 5)


def test_control_comparing_content_is_fooled_when_it_returns(docs: Docs) -> None:
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    expected, observed = docs.state()
    docs.write(1, 7)
    docs.write(1, 1)
    docs.target.sql(f"UPDATE doc SET val = {expected} WHERE id = 1 AND val = {observed}")
    assert docs.state() == (1, 5)


def test_control_the_source_first_overwrites_whatever_the_version(postgres_pair: Pair) -> None:
    docs = Docs(*postgres_pair)
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    expected, _ = docs.state()
    docs.write(1, 7)
    version = docs.target.one("SELECT xmin::text FROM doc WHERE id = 1")
    docs.target.sql(f"UPDATE doc SET val = {expected} WHERE id = 1 AND xmin = '{version}'::xid")
    assert docs.state() == (7, 5)


def test_control_a_late_insert_brings_a_deleted_row_back(docs: Docs) -> None:
    docs.put(docs.source, 1, 5)
    expected, _ = docs.state()
    docs.write(1, None)
    docs.target.sql(f"INSERT INTO doc VALUES (1, {expected}) ON CONFLICT DO NOTHING")
    assert docs.state() == (None, 5)


# --- ours: a version, then the source, then the write ----------------------------------------------------------------


@pytest.fixture(params=["after the version", "after the source"])
def between(request: pytest.FixtureRequest) -> object:
    """Where the application writes: both times the version that was read is no longer that of the row."""
    if request.param == "after the version":
        return lambda act: around(UnitTransaction, "read_target", after=act)
    return lambda act: around(_way, "read_source", after=act)


def test_a_write_in_between_wins(by_version: Docs, tmp_path: Path, between) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    with between(lambda: docs.write(1, 7)):
        verdict, outcomes = run(docs, tmp_path)
    assert docs.state() == (7, 7)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.CAS_LOST})


def test_content_that_returns_to_what_it_was_is_no_disguise(by_version: Docs, tmp_path: Path, between) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)

    def away_and_back() -> None:
        docs.write(1, 7)
        docs.write(1, 1)

    with between(away_and_back):
        verdict, outcomes = run(docs, tmp_path)
    assert docs.state() == (1, 1)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.CAS_LOST})


def test_a_source_write_after_the_version_is_in_what_we_write(by_version: Docs, tmp_path: Path) -> None:
    """Committed, not delivered yet: our reading of the source is newer than all that the row reflects."""
    docs = by_version
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    with around(UnitTransaction, "read_target", after=lambda: docs.put(docs.source, 1, 7)):
        assert run(docs, tmp_path) == (Verdict.REPAIRED, {1: Outcome.APPLIED})
    assert docs.state() == (7, 7)


def test_a_delivery_that_waits_for_our_lock_wins(by_version: Docs, tmp_path: Path) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    waiting: list[Background] = []

    def write() -> None:
        docs.put(docs.source, 1, 7)
        waiting.append(Background(lambda: docs.put(docs.target, 1, 7)))
        blocked(docs.target)

    with around(UnitTransaction, "lock", after=write):
        run(docs, tmp_path)
    waiting[0].join()
    assert docs.state() == (7, 7)


def test_a_row_that_was_delivered_before_our_insert_is_left_alone(by_version: Docs, tmp_path: Path, between) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)
    with between(lambda: docs.write(1, 7)):
        verdict, _ = run(docs, tmp_path)
    assert verdict is Verdict.REPAIRED
    assert docs.state() == (7, 7)


def test_an_insert_whose_source_row_went_away_is_withdrawn(by_version: Docs, tmp_path: Path) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)
    docs.put(docs.source, 2, 5)
    with around(_way, "read_source", after=lambda: docs.write(1, None)), docs.engine(tmp_path) as engine:
        report = engine.run("doc")
        actions = [(o.key[0], str(o.action), str(o.outcome)) for o in engine.outcomes(report.run)]
    assert docs.state(1) == (None, None)
    assert docs.state(2) == (5, 5)
    assert report.verdict is Verdict.REPAIRED
    assert actions == [(1, "insert", "applied"), (2, "insert", "applied"), (1, "delete", "applied")]


def test_an_insert_of_ours_that_somebody_wrote_on_is_not_withdrawn(by_version: Docs, tmp_path: Path) -> None:
    docs = by_version
    docs.put(docs.source, 1, 5)

    with (
        around(_way, "read_source", after=lambda: docs.write(1, None)),
        around(UnitTransaction, "hold_fence", before=lambda: docs.put(docs.target, 1, 9), nth=2),
    ):
        verdict, _ = run(docs, tmp_path)
    assert docs.state() == (None, 9)  # theirs: reported, not deleted
    assert verdict is Verdict.DRIFT


def test_an_extra_row_whose_source_appears_is_not_deleted(by_version: Docs, tmp_path: Path, between) -> None:
    docs = by_version
    docs.put(docs.target, 1, 9)
    docs.put(docs.target, 2, 9)
    with between(lambda: docs.write(1, 9)):  # the very content that was extra: only the version tells
        verdict, outcomes = run(docs, tmp_path, on_extra="delete")
    assert docs.state(1) == (9, 9)
    assert docs.state(2) == (None, None)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.CAS_LOST, 2: Outcome.APPLIED})


def test_a_delivery_that_waits_for_our_delete_lands_after_it(by_version: Docs, tmp_path: Path) -> None:
    docs = by_version
    docs.put(docs.target, 1, 9)
    waiting: list[Background] = []

    def write() -> None:
        docs.put(docs.source, 1, 7)
        waiting.append(Background(lambda: docs.put(docs.target, 1, 7)))
        blocked(docs.target)

    with around(UnitTransaction, "lock", after=write):
        run(docs, tmp_path, on_extra="delete")
    waiting[0].join()
    assert docs.state() == (7, 7)


# --- ours: the target's write lock, then the source ------------------------------------------------------------------


@pytest.fixture(params=["after the lock", "before the source", "after the source"])
def under_lock(request: pytest.FixtureRequest) -> object:
    """Where the application commits its source; the delivery to the copy then has to wait for us."""
    if request.param == "after the lock":
        return lambda act: around(UnitTransaction, "lock", after=act)
    if request.param == "before the source":
        return lambda act: around(_way, "read_source", before=act)
    return lambda act: around(_way, "read_source", after=act)


@pytest.fixture
def late(by_lock: Docs) -> Iterator[list[Background]]:
    waiting: list[Background] = []
    yield waiting
    for delivery in waiting:
        delivery.join()


@pytest.mark.parametrize("target", [1, None], ids=["different", "missing"])
def test_a_delivery_waits_for_the_unit_and_wins(
    by_lock: Docs, tmp_path: Path, under_lock, late: list[Background], target: int | None
) -> None:
    docs = by_lock
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, target)

    def write() -> None:
        docs.put(docs.source, 1, 7)
        late.append(Background(lambda: docs.put(docs.target, 1, 7)))

    def delivered() -> None:
        late[0].join()

    # It is there before the row is verified: how long it waits for a lock that is free is not what is asked here.
    with under_lock(write), around(Ledger, "close_unit", before=delivered):
        verdict, _ = run(docs, tmp_path)
    assert docs.state() == (7, 7)
    assert verdict is Verdict.REPAIRED


def test_what_was_delivered_before_the_lock_is_seen_under_it(by_lock: Docs, tmp_path: Path) -> None:
    docs = by_lock
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    docs.put(docs.target, 2, 9)
    docs.put(docs.source, 3, 5)

    def write() -> None:
        docs.write(1, 7)  # different, then right
        docs.write(2, 7)  # extra, then right
        docs.write(3, None)  # missing, then nowhere

    with docs.engine(tmp_path, on_extra="delete") as engine, around(type(engine.ledger), "open_unit", after=write):
        assert engine.run("doc").verdict is Verdict.REPAIRED
    assert [docs.state(key) for key in (1, 2, 3)] == [(7, 7), (7, 7), (None, None)]


# --- lag is not drift ------------------------------------------------------------------------------------------------


def test_a_delivery_on_its_way_is_waited_for_not_repaired(docs: Docs, tmp_path: Path) -> None:
    docs.write(1, 1)
    docs.write(2, 1)
    docs.put(docs.source, 1, 7)  # its delivery comes while we wait
    docs.put(docs.target, 2, 3)  # and this is drift
    clock = QuickClock(lambda: docs.put(docs.target, 1, 7))
    with docs.engine(tmp_path, clock=clock, settle="5s") as engine:
        report = engine.run("doc")
        assert {o.key[0] for o in engine.outcomes(report.run)} == {2}
    assert (report.resolved, report.repaired) == (1, 1)
    assert docs.state(1) == (7, 7)
    assert docs.state(2) == (1, 1)
