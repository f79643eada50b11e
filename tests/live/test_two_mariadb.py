"""Documents elsewhere, a copy in MariaDB: no row has a version, so its lock is held while the source is read.

The application commits the source and delivers an absolute value to the copy. The naive repairs come first.
"""

from __future__ import annotations

import threading
from contextlib import closing
from pathlib import Path

import pytest

from tests.live.harness import Background, Docs, around, instead
from tests.live.mariadb import MariaDocs, blocked
from trueup.adapters import _way
from trueup.adapters._outcomes import HeldRow
from trueup.adapters._steps import UnitTransaction
from trueup.adapters.mysql import MysqlAdapter
from trueup.core.states import Outcome, Verdict
from trueup.errors import BrokenRead


@pytest.fixture(params=["postgresql", "mariadb"])
def docs(request: pytest.FixtureRequest) -> Docs:
    if request.param == "mariadb":
        return MariaDocs(*request.getfixturevalue("mariadb_pair"))
    return MariaDocs(request.getfixturevalue("postgres"), request.getfixturevalue("mariadb"))


@pytest.fixture
def wrong(docs: Docs) -> Docs:
    """5 in the source, 1 in the copy."""
    docs.put(docs.source, 1, 5)
    docs.put(docs.target, 1, 1)
    return docs


def run(docs: Docs, folder: Path, **declared: object) -> tuple[Verdict | None, dict[int, Outcome]]:
    with docs.engine(folder, settings={"lock_timeout": "60s"}, **declared) as engine:
        report = engine.run("doc")
        return report.verdict, {outcome.key[0]: outcome.outcome for outcome in engine.outcomes(report.run)}


# --- the naive repairs are wrong -------------------------------------------------------------------------------------


def test_control_a_value_read_before_the_lock_overwrites_a_newer_one(wrong: Docs, tmp_path: Path) -> None:
    """The same unit with its reading moved before its lock: what the application delivered in between is gone."""
    early = _way.read_source

    def read_early(steps: UnitTransaction, keys: list[tuple[int]]) -> dict[tuple[int], HeldRow]:
        early_rows.update(early(reader, steps.binding, keys))
        wrong.write(1, 7)
        return lock(steps, keys)

    early_rows: dict[tuple[int], tuple[int]] = {}
    lock = UnitTransaction.lock
    with wrong.engine(tmp_path) as engine:
        reader = engine._adapter("here")
        with (
            instead(UnitTransaction, "lock", read_early),
            instead(_way, "read_source", lambda *_: early_rows),
        ):
            engine.run("doc")
        outcome = engine.outcomes(engine.runs("doc")[0].id)[0]
    assert (outcome.before, outcome.after) == ((7,), (5,))


def test_control_values_alone_do_not_tell_that_a_row_was_written(docs: Docs) -> None:
    """7, 8, 7: compared by its content the row has not moved."""
    docs.put(docs.target, 1, 7)
    with closing(docs.target.connect()) as c:
        docs.write(1, 8)
        docs.write(1, 7)
        assert c.execute("UPDATE doc SET val = 5 WHERE id = 1 AND val = 7").rowcount == 1


def test_control_who_waits_is_seen_while_others_look_too(docs: Docs) -> None:
    """A repair that stands still for longer than ten seconds is cut off by the server, so this has to be quick."""
    docs.put(docs.target, 1, 5)
    ended = threading.Event()

    def look() -> None:
        with closing(docs.target.connect()) as c:
            while not ended.wait(0.05):
                c.execute("SELECT trx_state FROM information_schema.INNODB_TRX").fetchall()

    others = Background(look)
    with closing(docs.target.connect()) as c:
        c.execute("BEGIN")
        c.execute("SELECT val FROM doc WHERE id = 1 FOR UPDATE")
        delivery = Background(lambda: docs.put(docs.target, 1, 7))
        try:
            blocked(docs.target)
            assert not delivery.done
        finally:
            c.execute("ROLLBACK")
            ended.set()
    delivery.join()
    others.join()


# --- ours: the lock, then the source, then the write -----------------------------------------------------------------


def test_a_delivery_before_our_lock_is_no_older_than_what_we_write(wrong: Docs, tmp_path: Path) -> None:
    with around(UnitTransaction, "lock", before=lambda: wrong.write(1, 7)):
        verdict, outcomes = run(wrong, tmp_path)
    assert wrong.state() == (7, 7)
    assert (verdict, outcomes) == (Verdict.REPAIRED, {1: Outcome.SUPERSEDED})


@pytest.mark.parametrize("when", ["before the source is read", "after it"])
def test_a_delivery_under_our_lock_waits_and_then_wins(wrong: Docs, tmp_path: Path, when: str) -> None:
    deliveries: list[Background] = []

    def deliver() -> None:
        deliveries.append(Background(lambda: wrong.write(1, 7)))
        blocked(wrong.target)

    before = when == "before the source is read"
    step = around(_way, "read_source", **{"before" if before else "after": deliver})
    with step:
        _, outcomes = run(wrong, tmp_path)
    deliveries[0].join()
    assert wrong.state() == (7, 7)
    assert outcomes == {1: Outcome.APPLIED}


def test_a_source_commit_that_is_not_delivered_yet_is_in_what_we_write(wrong: Docs, tmp_path: Path) -> None:
    with around(UnitTransaction, "lock", before=lambda: wrong.put(wrong.source, 1, 9)):
        _, outcomes = run(wrong, tmp_path)
    assert wrong.state() == (9, 9)
    assert outcomes == {1: Outcome.APPLIED}


def test_a_missing_row_that_is_delivered_meanwhile_stays(docs: Docs, tmp_path: Path) -> None:
    docs.put(docs.source, 1, 5)
    with around(UnitTransaction, "insert_placeholders", before=lambda: docs.write(1, 7)):
        run(docs, tmp_path)
    assert docs.state() == (7, 7)


def test_a_missing_row_whose_source_goes_away_is_not_left_behind(docs: Docs, tmp_path: Path) -> None:
    docs.put(docs.source, 1, 5)
    docs.put(docs.source, 2, 5)
    docs.put(docs.target, 2, 5)
    with around(UnitTransaction, "lock", before=lambda: docs.put(docs.source, 1, None)):
        run(docs, tmp_path, on_extra="delete")
    assert docs.state() == (None, None)


def test_an_extra_row_that_gets_a_source_meanwhile_is_not_deleted(docs: Docs, tmp_path: Path) -> None:
    docs.put(docs.source, 2, 5)
    docs.put(docs.target, 2, 5)
    docs.put(docs.target, 1, 5)
    with around(UnitTransaction, "lock", before=lambda: docs.put(docs.source, 1, 6)):
        run(docs, tmp_path, on_extra="delete")
    assert docs.state() == (6, 6)


def test_a_source_that_breaks_under_the_lock_writes_nothing_and_lets_go(wrong: Docs, tmp_path: Path) -> None:
    def break_off(*_: object) -> object:
        raise BrokenRead("the source stopped before its end")

    with (
        wrong.engine(tmp_path) as engine,
        instead(_way, "read_source", break_off),
        pytest.raises(BrokenRead),
    ):
        engine.run("doc")
    assert wrong.state() == (5, 1)
    with closing(wrong.target.connect(timeout_s=1)) as c:
        assert c.execute("UPDATE doc SET val = 2 WHERE id = 1").rowcount == 1


def test_the_promise_says_so(wrong: Docs, tmp_path: Path) -> None:
    with wrong.engine(tmp_path) as engine:
        promise = engine.explain("doc").promise
    assert (str(promise.guarantee), str(promise.protocol)) == ("EXACT", "lock")
    assert "while the lock is held" in promise.reasons[0]
    assert not MysqlAdapter.capabilities.writing.row_version
