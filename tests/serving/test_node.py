"""A node, look by look: ticks become runs, once; what overlaps, what was lost, what is stopped."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from tests.live.harness import around
from tests.serving.worlds import World, ended, waiting
from trueup import serve
from trueup.core.queue import ATTEMPTS_MAX, Request
from trueup.core.states import RunState
from trueup.errors import Busy, ConfigError, ConnectionFailed, LedgerFailed, UsageError
from trueup.serve import Node
from trueup.store import lock
from trueup.store.ledger import Ledger
from trueup.store.requests import Requests
from trueup.who import Actor

MINUTE = 60


def later(world: World, seconds: float) -> None:
    world.clock.fake.sleep(seconds)


@pytest.fixture
def ours(world: World) -> World:
    """The control database's clock is the test's as well."""
    patch = pytest.MonkeyPatch()
    patch.setattr(Requests, "now", lambda _self, otherwise: otherwise)
    yield world  # type: ignore[misc]
    patch.undo()


def test_a_tick_is_a_run_once_whatever_the_number_of_nodes(ours: World) -> None:
    ours.declare(schedule={"every": "1m"})
    ours.drift(1, 2)
    nodes = [ours.node() for _ in range(3)]
    for node in nodes:
        node.step()
    assert ended(nodes[0]) == [], "from now on, not from the beginning of time"
    for _ in range(3):
        later(ours, MINUTE)
        for node in nodes:
            node.step()
    assert ended(nodes[0]) == [("done", "repaired"), ("done", "in_sync"), ("done", "in_sync")]
    assert ours.right()
    moments = [request.tick for request in nodes[0].engine.queue.newest("p")]
    assert len(set(moments)) == 3


@pytest.mark.parametrize("schedule", [{"every": "1m"}, {"cron": "* * * * *"}, {"delay": "1m"}])
def test_a_clock_that_is_set_back_stops_no_schedule(
    ours: World, schedule: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was settled while it was a year ahead was so for that year, and nothing ran."""
    ahead = [timedelta(0)]
    monkeypatch.setattr(Requests, "now", lambda _self, otherwise: otherwise + ahead[0])
    ours.declare(schedule=schedule)
    node, other = ours.node(), ours.node(at_once=False)
    node.step()
    ahead[0] = timedelta(days=365)
    node.step()
    later(ours, 2 * MINUTE)
    other.step()  # one of that time waits
    assert waiting(node) == ["p"]
    ahead[0] = timedelta(0)
    ran = len(node.engine.runs("p", limit=0))
    for _ in range(6):
        node.step()
        later(ours, MINUTE)
    assert len(node.engine.runs("p", limit=0)) >= ran + 3


def test_nobody_was_there_for_a_while(small: World) -> None:
    small.declare(schedule={"every": "1m"})
    small.node().step()
    later(small, 10 * MINUTE)
    node = small.node()
    node.step()
    assert [state for state, _ in ended(node)].count("done") == 1
    assert [answer for state, answer in ended(node) if state == "skipped"] == ["missed: no node was there in time"] * 9


def test_missed_ticks_are_caught_up_on_one_after_the_other(small: World) -> None:
    small.declare(schedule={"every": "1m", "misfire": "catch_up"})
    small.node().step()
    later(small, 3 * MINUTE)
    node = small.node()
    node.step()
    node.step()
    assert ended(node) == [("done", "in_sync")] * 3


def test_startup_and_delay(small: World) -> None:
    small.declare(schedule={"delay": "5m", "startup": True})
    node = small.node()
    node.begin()
    node.step()
    assert ended(node) == [("done", "in_sync")]
    later(small, 5 * MINUTE - 1)
    node.step()
    assert len(ended(node)) == 1
    later(small, 1)
    node.step()
    assert len(ended(node)) == 2


# --- what overlaps ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("overlap", "left"), [("skip", 0), ("queue", 1)])
def test_a_tick_while_a_run_goes_on(small: World, overlap: str, left: int) -> None:
    small.declare(schedule={"every": "1m"}, overlap=overlap)
    busy = small.node(at_once=False)
    busy.step()
    later(small, MINUTE)
    busy.step()

    def more() -> None:
        for _ in range(2):
            later(small, MINUTE)
            busy.step()

    with around(Ledger, "start_run", after=more):  # it is in the middle of a run when the next ticks come
        busy.executor.work()  # type: ignore[attr-defined]
    assert len(waiting(busy)) == left
    skipped = [answer for state, answer in ended(busy) if state == "skipped"]
    assert skipped == ["another is going on"] * (2 - 2 * left) + ["another is waiting"] * left
    busy.step()
    busy.executor.work()  # type: ignore[attr-defined]
    assert waiting(busy) == []


def test_a_run_is_cancelled_for_the_next_one(small: World) -> None:
    small.declare(schedule={"every": "1m"}, overlap="cancel")
    small.drift(1)
    node = small.node(at_once=False)
    node.step()
    later(small, MINUTE)
    node.step()

    def more() -> None:
        later(small, MINUTE)
        node.step()
        node.step()

    with around(Ledger, "start_run", after=more):
        node.executor.work()  # type: ignore[attr-defined]
    assert ended(node) == [("failed", "another run was due")]
    assert [run.state for run in node.engine.runs("p")] == [RunState.ABANDONED]
    node.step()
    node.executor.work()  # type: ignore[attr-defined]
    assert ended(node)[-1] == ("done", "repaired")
    assert len(node.engine.runs("p")) == 2, "the second began anew"


def test_keys_run_beside_a_run_over_all_keys(world: World) -> None:
    """Each under its own fence: neither shuts the other out, and both repair."""
    world.declare()
    world.drift(1, 2, 3)
    node = world.node(at_once=False)
    node.ask("p", reason="all", asked_by="api")
    node.step()

    def beside() -> None:
        node.ask("p", keys=[{"id": 2}], reason="a key", asked_by="api")
        node.step()
        node.executor.work()  # type: ignore[attr-defined]
        assert world.db.sql("SELECT id FROM t_p") == [(2,)]

    with around(Ledger, "set_stage", after=beside):
        node.executor.work()  # type: ignore[attr-defined]
    assert ended(node) == [("done", "repaired"), ("done", "repaired")]
    assert world.right()
    fences = dict(world.db.sql("SELECT fence, token FROM trueup_fence"))
    assert set(fences) == {"p", "p#keys"}
    assert node.engine.drift("p") == []


def test_stop_ends_both_lanes(small: World) -> None:
    small.declare()
    node = small.node()
    node.engine.stop("p")
    assert set(small.db.sql("SELECT fence, stop FROM trueup_fence")) == {("p", 1), ("p#keys", 1)}
    small.drift(1)
    node.ask("p", keys=[{"id": 1}], reason="asked", asked_by="api")
    node.step()
    assert waiting(node) == ["p"], "it is not begun only to be refused"
    node.engine.resume("p")
    node.step()
    assert ended(node) == [("done", "repaired")]


def test_projections_on_one_target_take_turns(small: World) -> None:
    a = small.declare("a")
    small.declare("b", target=a.target)
    node = small.node(at_once=False)
    for name in "ab":
        node.ask(name, reason="asked", asked_by="api")
    node.step()
    assert len(node.busy) == 1
    other = small.node()
    small.clock.fake.sleep(1)
    other.step()
    assert ended(other, "b") == [("done", "in_sync")], "the first was not begun yet, only handed over"
    node.executor.work()  # type: ignore[attr-defined]
    assert ended(node, "a") == [("done", "in_sync")]


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_what_a_lost_node_ran_is_run_by_another(small: World) -> None:
    small.declare()
    small.drift(1)
    lost, node = small.node(at_once=False), small.node()
    request = lost.ask("p", reason="asked", asked_by="api")
    assert lost.engine.queue.begin(request, lost.id, lost.now()) is not None  # and then it died
    node.step()
    assert node.woken.is_set()
    node.step()
    assert ended(node) == [("done", "repaired")]
    assert node.engine.queue.find(request).attempts == 2  # type: ignore[union-attr]


def test_a_request_that_ends_every_node_is_given_up(small: World) -> None:
    small.declare()
    node = small.node(workers=1)
    request = node.ask("p", reason="asked", asked_by="api")
    for _ in range(ATTEMPTS_MAX):
        node.engine.queue.begin(request, "n-dead", node.now())
        node.engine.queue.orphaned("p", True, node.now())
    assert ended(node) == [("failed", "given up after 5 tries: its node was lost")]


def test_what_a_run_by_hand_holds_is_tried_again(small: World) -> None:
    small.declare()
    node = small.node(at_once=False)
    node.ask("p", reason="asked", asked_by="api")
    node.step()
    with lock.hold(node.engine.ledger.engine, "p"), ThreadPoolExecutor(1) as another:
        another.submit(node.executor.work).result()  # type: ignore[attr-defined]
    assert waiting(node) == ["p"]
    node.step()
    assert not node.busy, "not at once"
    later(small, 1)
    node.step()
    node.executor.work()  # type: ignore[attr-defined]
    assert ended(node) == [("done", "in_sync")]


def test_keys_whose_database_is_away_are_tried_after_the_pause(small: World) -> None:
    small.declare()
    small.drift(1)
    node = small.node(retry={"tries": 1})
    away = pytest.MonkeyPatch()

    def busy(*_: Any, **__: Any) -> None:
        raise Busy("the database is away")

    away.setattr(Node, "_allowed", lambda *_: True)
    for engine in node.idle:
        away.setattr(engine, "binding", busy)
    node.ask("p", keys=[{"id": 1}], reason="asked", asked_by="api")
    node.step()
    away.undo()
    assert waiting(node) == ["p"]
    until = node.engine.standing.control("p").until
    assert until is not None
    later(small, (until - node.now()) / timedelta(seconds=1))
    for engine in node.idle:
        engine.__dict__.pop("binding", None)
    node.step()
    assert ended(node) == [("done", "repaired")]


def test_what_comes_after_one_that_another_holds_waits_too(small: World) -> None:
    small.declare("first")
    small.declare("second", after=["first"])
    node = small.node(at_once=False)
    for name in ("first", "second"):
        node.ask(name, reason="asked", asked_by="api")
    with lock.hold(node.engine.ledger.engine, "first"), ThreadPoolExecutor(1) as another:
        for _ in range(2):  # at the first look it is tried, at the second it is put off
            node.step()
            another.submit(node.executor.work).result()  # type: ignore[attr-defined]
        assert ended(node, "second") == []
    later(small, 1)
    for name in ("first", "second"):
        assert ended(node, name) == []
        node.step()
        node.executor.work()  # type: ignore[attr-defined]
        assert ended(node, name) == [("done", "in_sync")]


def test_what_comes_after_one_that_somebody_paused_waits_too(small: World) -> None:
    small.declare("first")
    small.declare("second", after=["first"])
    small.declare("third", schedule={"continuous": True})
    node = small.node()
    node.engine.pause("first", reason="a release")
    for name in ("first", "second"):
        node.ask(name, reason="asked", asked_by="api")
    for _ in range(2):
        node.step()
    assert sorted(waiting(node)) == ["first", "second"]
    assert ended(node, "third") != [], "what is held up keeps nothing else from its turn"
    node.engine.resume("first")
    for _ in range(2):
        node.step()
    assert waiting(node) == []
    first, second = (node.engine.queue.newest(name)[0] for name in ("first", "second"))
    assert first.ended_at <= second.begun_at


def test_what_comes_after_one_that_another_has_begun_waits_at_the_first_look_too(small: World) -> None:
    small.declare("first")
    small.declare("second", after=["first"])
    node = small.node()
    for name in ("first", "second"):
        node.ask(name, reason="asked", asked_by="api")
    with lock.hold(node.engine.ledger.engine, "first"), ThreadPoolExecutor(1) as another:
        node.executor.at_once = False  # type: ignore[attr-defined]
        given = node.executor.submit

        def refused_at_once(fn: Any, /, *args: Any) -> Any:
            future = given(fn, *args)
            another.submit(node.executor.work).result()  # type: ignore[attr-defined]
            return future

        node.executor.submit = refused_at_once  # type: ignore[method-assign]
        node.step()
        assert sorted(waiting(node)) == ["first", "second"]


def test_what_another_held_once_is_handed_over_once_a_look(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small.declare()
    node = small.node()
    node.ask("p", reason="asked", asked_by="api")
    (request,) = node.engine.queue.open()
    node._later[request.id] = node.engine.clock.monotonic() - 100
    handed: list[str] = []

    def ends_at_once(_engine: Any, one: Request, *_others: Any) -> bool:
        handed.append(one.id)
        assert len(handed) < 5
        return True

    monkeypatch.setattr(serve, "carry_out", ends_at_once)
    node.step()
    assert handed == [request.id]


def test_a_key_that_is_none_does_not_cost_the_others(small: World) -> None:
    small.declare()
    small.drift(1, 2)
    node = small.node()
    node.ask("p", keys=[{"id": "1"}, {"id": "many"}, {"id": 2}], reason="three events", asked_by="listen")
    node.step()
    assert ended(node) == [("done", "repaired")]
    assert small.right()
    later(small, 1)
    node.ask("p", keys=[{"id": "many"}], reason="an event", asked_by="listen")
    node.step()
    assert ended(node)[-1][0] == "failed"


def test_what_somebody_asks_for_is_checked_and_they_are_named(small: World) -> None:
    small.declare()
    node = small.node(at_once=False)
    for wrong in ({"keys": [{"id": "many"}]}, {"keys": [{"no": 1}]}, {"keys": [{}]}, {"keys": []}, {"reason": " "}):
        with pytest.raises(UsageError):
            node.engine.request("p", **{"reason": "why", **wrong})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="there is no projection"):
        node.engine.request("q", reason="why")
    asked = node.engine.request("p", keys=[{"id": "1"}], reason="why", by=Actor(name="ann", by="api"), asked_by="api")
    assert node.engine.request("p", keys=[{"id": "1"}], reason="why", merged=9) == asked
    (waits,) = node.engine.queue.open()
    assert (waits.actor, waits.asked_by, waits.merged) == ("ann", "api", 10)
    away = pytest.MonkeyPatch()
    away.setattr(node.engine, "binding", lambda *_, **__: (_ for _ in ()).throw(ConnectionFailed("away")))
    assert node.engine.request("p", keys=[{"id": "many"}], reason="why") == asked, "carried as given"
    away.undo()


def test_shutting_down_leaves_the_request_to_others(small: World) -> None:
    small.declare()
    small.drift(1)
    node = small.node(at_once=False)
    node.ask("p", reason="asked", asked_by="api")
    node.step()
    with around(Ledger, "start_run", after=node.stop):
        node.executor.work()  # type: ignore[attr-defined]
    assert waiting(node) == ["p"]
    small.clock.interrupted = False
    other = small.node()
    other.step()
    assert ended(other) == [("done", "repaired")]
    (run,) = other.engine.runs("p")
    assert run.report is not None
    assert run.report["resumed"]


def test_a_ledger_on_a_network_file_system_is_refused(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    small.declare()
    monkeypatch.setattr("trueup.serve.file_system", lambda _: "nfs4")
    with pytest.raises(ConfigError, match="lies on a nfs4 file system"):
        small.node()


def test_a_worker_asks_for_nothing_and_works_off_the_queue(small: World) -> None:
    small.declare(schedule={"every": "1m", "startup": True})
    small.drift(1)
    worker, node = small.node(asks=False), small.node(at_once=False)
    worker.begin()
    later(small, 2 * MINUTE)
    worker.step()
    assert worker.engine.queue.newest("p", 9) == worker.engine.queue.open() == []
    node.begin()
    worker.step()
    assert ended(worker) == [("done", "repaired")]


def test_a_request_that_another_holds_is_put_off_though_the_ledger_is_away(
    small: World, caplog: pytest.LogCaptureFixture
) -> None:
    """Its end is told by a thread of the executor, where nobody would see an error."""
    small.declare()
    node = small.node(at_once=False)
    node.ask("p", reason="now", asked_by="command")

    def away() -> None:
        raise LedgerFailed("it is away")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("trueup.serve.carry_out", lambda *_: False)
        node.step()
        patched.setattr(node, "now", away)
        node.executor.work()  # type: ignore[attr-defined]
    assert "exception calling callback" not in caplog.text
    node.step()
    assert waiting(node) == ["p"]
    assert node.busy == {}
    later(small, 1.5)
    node.step()
    node.executor.work()  # type: ignore[attr-defined]
    assert ended(node) == [("done", "in_sync")]


def test_a_signal_while_a_request_is_handed_over(small: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is answered by the thread that hands over, between any two steps: what it does not find busy is not begun."""
    small.declare()
    node = small.node(at_once=False)
    node.ask("p", reason="asked", asked_by="api")
    before = len(node.idle)
    real = serve.fresh_stop

    def interrupted(engine: Any) -> None:
        real(engine)
        node.stop()

    monkeypatch.setattr(serve, "fresh_stop", interrupted)
    node.step()
    assert (node.busy, len(node.idle), node.executor.given) == ({}, before, [])  # type: ignore[attr-defined]
    assert len(waiting(node)) == 1
