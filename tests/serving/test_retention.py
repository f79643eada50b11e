"""What ended long ago is forgotten, with its markers, and nothing that somebody still needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import sqlalchemy as sa

from tests.live.harness import around
from tests.serving.worlds import World
from trueup import Trueup
from trueup.core.declared import parse_keep
from trueup.core.projection import Limits
from trueup.core.states import Outcome, RunState, Verdict
from trueup.errors import ConnectionFailed, UsageError
from trueup.retention import Retention, kept_s
from trueup.store import schema as t
from trueup.store.audit import RUNS_KNOWN
from trueup.store.coverage import Coverage
from trueup.store.history import BATCH
from trueup.store.ledger import Ledger

DAY = 86400
#: Repairs are counted for no longer than they are kept.
BRIEF = {"times": 2, "within": "1h"}
HISTORY = (t.runs, t.segments, t.decisions, t.units, t.outcomes, t.plans, t.approvals, t.inputs, t.lots)


def rows(engine: Trueup, table: sa.Table) -> int:
    with engine.ledger.reading() as c:
        return int(c.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def markers(world: World) -> int:
    return int(world.db.sql("SELECT count(*) FROM trueup_applied")[0][0])


def retention(world: World, **changes: Any) -> Retention:
    """One look at a time, over an engine that keeps a day."""
    return Retention(world.engine(**{"keep_s": DAY, **changes}))


def later(world: World, days: float) -> None:
    world.clock.fake.sleep(days * DAY)


@pytest.fixture
def server_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger's clock is the test's."""
    monkeypatch.setattr("trueup.store.requests.Requests.now", lambda _, otherwise: otherwise)


pytestmark = pytest.mark.usefixtures("server_time")


def test_old_runs_go_with_all_that_is_theirs(world: World) -> None:
    world.declare(recurring=BRIEF)
    forgets = retention(world)
    engine = forgets.engine
    for id_ in range(3):
        world.clock.fake.sleep(60)
        world.drift(id_)
        engine.run("p")
        engine.run("p", keys=[{"id": id_}])
    assert markers(world) == 3
    assert forgets.look() == 0
    later(world, 2)
    world.drift(7)
    last = engine.run("p")
    assert forgets.look() == 6
    assert [run.id for run in engine.runs("p")] == [last.run]
    assert {table.name: rows(engine, table) for table in HISTORY if table in (t.runs, t.units, t.outcomes)} == {
        "trueup_runs": 1,
        "trueup_units": 1,
        "trueup_outcomes": 1,
    }
    assert markers(world) == 1
    assert world.right()
    engine.audit.seal()
    checked = engine.audit.verify()
    assert checked.problems == []
    assert checked.lines > 6
    (told,) = [line for line in engine.audit.lines(limit=0) if line["act"] == "history.pruned"]
    assert len(told["runs"]) == 6
    engine.close()


def test_a_record_that_is_gone_otherwise_is_still_found_out(small: World) -> None:
    """The control: only what the log says was pruned may be missing."""
    small.declare(recurring=BRIEF)
    forgets = retention(small)
    small.drift(1)
    forgets.engine.run("p")
    later(small, 2)
    kept = forgets.engine.run("p")
    forgets.look()
    forgets.engine.audit.seal()
    assert forgets.engine.audit.verify().problems == []
    with forgets.engine.ledger.begin() as c:
        c.execute(t.segments.delete().where(t.segments.c.run == kept.run))
        c.execute(t.runs.delete().where(t.runs.c.id == kept.run))
    assert any("has no record" in problem for problem in forgets.engine.audit.verify().problems)
    forgets.engine.close()


def test_what_is_needed_stays(world: World) -> None:
    world.declare("known", recurring=BRIEF)
    world.declare("planned", recurring=BRIEF, approval_expires="30d")
    world.declare("unsettled", recurring=BRIEF)
    forgets = retention(world)
    engine = forgets.engine
    for name in world.declared:
        world.drift(1, name=name)
    drifting = engine.check("known").run
    plan = engine.plan("planned")
    unsettled = engine.run("unsettled").run
    with engine.ledger.begin() as c:
        c.execute(t.units.update().where(t.units.c.run == unsettled).values(closed_at=None))
    later(world, 2)
    for name in ("planned", "unsettled"):
        engine.check(name, keys=[{"id": 1}])
    engine.check("known", keys=[{"id": 5}])
    forgets.look()
    assert engine.find_run(drifting)
    assert engine.find_run(plan.run)
    assert engine.find_run(unsettled)
    assert engine.apply(plan).verdict is Verdict.REPAIRED
    assert [row.outcome for row in engine.outcomes(unsettled)] == [Outcome.APPLIED]
    engine.close()


def test_a_run_that_can_be_rolled_back_still_can(world: World) -> None:
    world.declare(recurring=BRIEF)
    forgets = retention(world)
    world.drift(1)
    forgets.engine.run("p")
    later(world, 0.9)
    world.drift(2)
    young = forgets.engine.run("p").run
    later(world, 0.2)
    forgets.engine.check("p")
    forgets.look()
    assert forgets.engine.rollback(young).verdict is Verdict.REPAIRED
    assert world.db.sql("SELECT id FROM t_p") == [(1,)]
    later(world, 2)
    forgets.look()
    assert forgets.engine.find_run(young)  # by the newest run, which undid it
    forgets.engine.run("p")
    forgets.look()
    with pytest.raises(UsageError, match="no run"):
        forgets.engine.find_run(young)
    forgets.engine.close()


def test_what_was_given_back_is_not_given_back_again(small: World) -> None:
    """A run stays, for later ones go on from it: so does the rollback of it, or a difference would be added twice."""
    small.declare(recurring=BRIEF, on_different="delta", settle="0s")
    small.db.sql(*(f"INSERT INTO {side}_p VALUES (1, {n})" for side, n in (("s", 5), ("t", 7))))
    forgets = retention(small)
    engine = forgets.engine
    run = engine.run("p").run
    undid = engine.rollback(run).run
    assert small.db.sql("SELECT n FROM t_p") == [(7,)]
    later(small, 2)
    for _ in range(2):
        engine.check("p", keys=[{"id": 1}])
        later(small, 2)
    forgets.look()
    assert engine.find_run(run)
    assert engine.find_run(undid)
    engine.rollback(run)
    assert small.db.sql("SELECT n FROM t_p") == [(7,)]
    engine.close()


def test_a_rollback_that_begins_meanwhile_keeps_its_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.declare(recurring=BRIEF)
    forgets, other = retention(world), world.engine()
    world.drift(1)
    run, unneeded = other.run("p").run, other.check("p", keys=[{"id": 1}]).run
    later(world, 2)
    other.check("p")
    adapter = forgets.engine._adapter("app")
    forget, begun = adapter.forget, list[str]()

    def meanwhile(units: Sequence[str]) -> None:
        forget(units)
        begun.extend([] if begun else [other.rollback(run).run])

    monkeypatch.setattr(adapter, "forget", meanwhile)
    assert forgets.look() == 1
    assert world.db.sql("SELECT id FROM t_p") == []
    assert [o.outcome for o in other.outcomes(run)] == [Outcome.APPLIED]
    with pytest.raises(UsageError, match="no run"):
        other.find_run(unneeded)
    assert other.rollback(begun[0]).verdict is Verdict.REPAIRED
    assert world.right()
    for engine in (forgets.engine, other):
        engine.close()


def test_a_run_that_was_forgotten_meanwhile_is_not_undone(world: World) -> None:
    world.declare(recurring=BRIEF)
    forgets, other = retention(world), world.engine()
    world.drift(1)
    run = other.run("p").run
    later(world, 2)
    other.check("p")
    with around(Ledger, "start_run", before=forgets.look), pytest.raises(UsageError, match="no run"):
        other.rollback(run)
    assert world.right()
    for engine in (forgets.engine, other):
        engine.close()


def test_what_later_runs_go_on_from_stays(small: World) -> None:
    """The last complete run, though years old, and the turns that say when each part was verified."""
    columns = "(id integer PRIMARY KEY, part integer, n integer)"
    small.declare(recurring=BRIEF, partition={"by": "column", "column": "part"}, fresh="1h")
    small.db.sql(*(f"DROP TABLE {side}_p" for side in "st"), *(f"CREATE TABLE {side}_p {columns}" for side in "st"))
    small.db.sql(*(f"INSERT INTO {side}_p VALUES (1, 1, 1), (2, 2, 1), (3, 3, 1)" for side in "st"))
    forgets = retention(small)
    engine = forgets.engine
    whole = engine.run("p").run
    for _ in range(6):
        later(small, 0.5)
        engine.in_turn("run", "p")
    before = engine.freshness("p"), Coverage(engine.ledger).verified(whole)
    later(small, 30)
    assert forgets.look() > 0
    assert engine.find_run(whole)
    assert (engine.freshness("p"), Coverage(engine.ledger).verified(whole)) == before
    engine.close()


def test_a_target_that_is_away_keeps_its_runs(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A marker without a record would be nobody's."""
    small.declare(recurring=BRIEF)
    forgets = retention(small)
    small.drift(1)
    forgets.engine.run("p")
    later(small, 2)
    forgets.engine.check("p")
    adapter = forgets.engine._adapter("app")

    def away(_units: object) -> None:
        raise ConnectionFailed("databases.app: connection refused")

    with monkeypatch.context() as patched:
        patched.setattr(adapter, "forget", away)
        assert forgets.look() == 0
    assert (len(forgets.engine.runs("p")), markers(small)) == (2, 1)
    assert forgets.look() == 1
    assert (len(forgets.engine.runs("p")), markers(small)) == (1, 0)
    forgets.engine.close()


def test_for_ever_and_as_long_as_repairs_are_counted(small: World) -> None:
    projection = small.declare()
    forgets = retention(small, keep_s=None)
    forgets.engine.check("p")
    later(small, 10_000)
    forgets.engine.check("p")
    assert forgets.look() == 0
    assert kept_s(projection, DAY) == 7 * DAY
    brief = projection.model_copy(update={"recurring": projection.recurring.model_copy(update={"within": 60.0})})
    assert kept_s(brief, 120) == 120
    daily = brief.model_copy(update={"limits": Limits(daily=10)})
    assert kept_s(daily, 120) == DAY
    assert parse_keep("forever") is None
    assert parse_keep("30d") == 30 * DAY
    with pytest.raises(ValueError, match="too short"):
        parse_keep("1s")
    forgets.engine.close()


def test_more_than_one_batch_and_one_node_at_a_time(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.store.history.BATCH", 2)
    monkeypatch.setattr("trueup.retention.PAUSE_S", 0.0)
    assert BATCH <= 100
    small.declare(recurring=BRIEF)
    forgets, other = retention(small), retention(small)
    for _ in range(6):
        small.clock.fake.sleep(60)
        forgets.engine.check("p")
    later(small, 2)
    assert (forgets.look(), other.look()) == (5, 0)
    forgets.engine.close()
    other.engine.close()


def test_a_plan_in_lots_goes_before_the_run_that_carried_it_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trueup.store.history.BATCH", 1)
    world.declare(recurring=BRIEF)
    forgets = retention(world)
    engine = forgets.engine
    world.drift(1)
    plan = engine.plan("p")
    world.clock.fake.sleep(60)
    applied = engine.apply(plan).run
    with engine.ledger.begin() as c:
        segment, unit = (
            c.execute(sa.select(of.c.id).where(of.c.run == run).limit(1)).scalar_one()
            for of, run in ((t.segments, plan.run), (t.units, applied))
        )
        lot = {"run": plan.run, "segment": segment, "kind": "missing", "action": "insert", "size": 1, "content": "{}"}
        (id_,) = c.execute(t.lots.insert().values(**lot)).inserted_primary_key or ()
        done = {"unit": unit, "run": applied, "lot": id_, "outcome": "not_applied", "size": 0, "left_out": "[]"}
        c.execute(t.lot_outcomes.insert().values(**done, witness="unit", at=world.clock.now()))
    later(world, 8)
    kept = engine.run("p").run
    assert forgets.look() == 2
    assert [run.id for run in engine.runs("p")] == [kept]
    engine.close()


def test_what_nodes_and_messages_leave_goes_too(small: World) -> None:
    small.declare(recurring=BRIEF)
    node = small.node(keep_s=DAY)
    node.begin()
    node.ask("p", reason="to be forgotten", asked_by="command")
    node.step()
    node.step()
    later(small, 1.1)
    node.ask("p", reason="to be kept", asked_by="command")
    node.step()
    node.retention.look()
    assert [request.reason for request in node.engine.queue.newest("p")] == ["to be kept"]
    other = small.node(keep_s=DAY)
    other.begin()
    later(small, 1.1)
    other.nodes.seen(other.id, other.now())
    other.retention.look()
    with other.engine.ledger.reading() as c:
        assert [row.id for row in c.execute(sa.text("SELECT id FROM trueup_nodes"))] == [other.id]


def test_a_node_remembers_no_run_for_ever(small: World) -> None:
    """It used to: a line of the audit log asks for its run, and each was kept."""
    small.declare()
    engine = small.engine()
    assert engine.check("p")
    about = next(iter(engine.ledger.audit._runs.values()))
    for n in range(2 * RUNS_KNOWN):
        engine.ledger.audit._know(f"r-{n}", about.projection, about.definition, None)
    assert len(engine.ledger.audit._runs) == RUNS_KNOWN
    engine.close()


def test_a_run_that_nobody_goes_on_with_ends_and_goes(small: World) -> None:
    """It failed over some keys, and nobody asked for just these again."""
    small.declare(recurring=BRIEF)
    forgets = retention(small)
    engine = forgets.engine
    engine.run("p")
    failed = engine.run("p", keys=[{"id": 5}]).run
    with engine.ledger.begin() as c:
        c.execute(t.runs.update().where(t.runs.c.id == failed).values(state="failed"))
    later(small, 0.5)
    forgets.look()
    assert engine.find_run(failed).state is RunState.FAILED
    later(small, 2)
    forgets.look()
    assert engine.find_run(failed).state is RunState.ABANDONED
    engine.run("p")
    later(small, 2)
    engine.run("p")
    forgets.look()
    with pytest.raises(UsageError, match="no run"):
        engine.find_run(failed)
    engine.close()


def test_rows_that_left_quarantine_do_not_keep_their_runs(small: World) -> None:
    small.declare(recurring=BRIEF)
    forgets = retention(small)
    engine = forgets.engine
    small.db.sql("DROP TABLE t_p", "CREATE TABLE t_p (id integer PRIMARY KEY, n integer CHECK (n < 10))")
    small.db.sql("INSERT INTO s_p VALUES (1, 50)")
    held = engine.run("p").run
    assert [row.key for row in engine.quarantine("p")] == [(1,)]
    later(small, 2)
    forgets.look()
    assert engine.find_run(held)
    small.db.sql("UPDATE s_p SET n = 5")
    engine.run("p")
    assert engine.quarantine("p") == []
    later(small, 2)
    engine.run("p")
    forgets.look()
    assert rows(engine, t.quarantine) == 0
    with pytest.raises(UsageError, match="no run"):
        engine.find_run(held)
    engine.close()
