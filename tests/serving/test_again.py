"""What a request comes back from: a node that ends, a database that is away, a projection that somebody stopped."""

from __future__ import annotations

from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest

from tests.conformance.worlds import EngineClock
from tests.faults.proxy import proxied
from tests.live.harness import around
from tests.servers import Pair
from tests.serving.worlds import World, ended, waiting
from trueup import Trueup, worker
from trueup.core.queue import ATTEMPTS_MAX
from trueup.errors import ConnectionFailed
from trueup.serve import Node
from trueup.store.ledger import Ledger
from trueup.store.requests import Requests


@pytest.mark.parametrize("warm", [False, True], ids=["never reached", "reached before"])
def test_keys_are_not_given_up_while_their_database_is_away(
    postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch, *, warm: bool
) -> None:
    """Nobody asks for them again: an event was settled when they were in the queue."""
    monkeypatch.setattr(Requests, "now", lambda _self, otherwise: otherwise)  # the test's clock is the ledger's as well
    with proxied(postgres_pair.source) as (proxy, url):
        world = World(postgres_pair.source, postgres_pair.target)
        world.declare()
        world.url = url
        node = world.node(workers=1, retry={"tries": 1})
        if warm:
            node.ask("p", reason="asked", asked_by="command")
            node.step()
        world.drift(1)
        proxy.down = True
        proxy.drop()
        node.ask("p", keys=[{"id": 1}], reason="an event", asked_by="outbox")
        waits: list[float] = []
        for _ in range(ATTEMPTS_MAX + 1):
            node.step()
            assert waiting(node) == ["p"]
            node.ask("p", keys=[{"id": 1}], reason="another event", asked_by="outbox")
            node.step()
            (request,) = node.engine.queue.open()
            until = node.engine.standing.control("p").until or request.not_before
            waits.append((until - node.now()) / timedelta(seconds=1))
            world.clock.fake.sleep(waits[-1])
        assert waits == [60, 120, 240, 480, 960, 1920], "it was tried, and less and less often"
        proxy.down = False
        node.step()
        assert ended(node)[-1] == ("done", "repaired")
        world.close()


def test_how_long_the_work_took_before_it_failed_is_no_part_of_the_pause(
    small: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Requests, "now", lambda _self, otherwise: otherwise)
    small.declare()
    node = small.node(workers=1)

    def lost(*_: Any) -> None:
        small.clock.fake.sleep(2400)
        raise ConnectionFailed("the server went away")

    monkeypatch.setattr(worker, "_run", lost)
    node.ask("p", keys=[{"id": 1}], reason="an event", asked_by="outbox")
    waits: list[float] = []
    for _ in range(3):
        node.step()
        (request,) = node.engine.queue.open()
        waits.append((request.not_before - node.now()) / timedelta(seconds=1))
        small.clock.fake.sleep(waits[-1])
    assert waits == [60, 120, 240]


@pytest.mark.parametrize(
    ("asked_by", "once"), [("startup", True), ("outbox", True), ("schedule", False), ("api", False)]
)
def test_all_keys_are_asked_for_again_by_who_sees_to_it_alone(
    postgres_pair: Pair, monkeypatch: pytest.MonkeyPatch, asked_by: str, *, once: bool
) -> None:
    monkeypatch.setattr(Requests, "now", lambda _self, otherwise: otherwise)
    with proxied(postgres_pair.source) as (proxy, url):
        world = World(postgres_pair.source, postgres_pair.target)
        world.declare()
        world.drift(1)
        world.url = url
        node = world.node(workers=1)
        proxy.down = True
        node.ask("p", reason="why", asked_by=asked_by)
        node.step()
        assert [state for state, _ in ended(node)] == ([] if once else ["failed"])
        proxy.down = False
        world.clock.fake.sleep(60)
        node.step()
        assert world.right() == once
        world.close()


def test_keys_wait_while_somebody_has_stopped_their_projection(small: World) -> None:
    small.declare()
    small.drift(1)
    node = small.node(at_once=False)
    node.ask("p", keys=[{"id": 1}], reason="an event", asked_by="outbox")
    node.step()
    with around(Ledger, "start_run", after=lambda: node.engine.stop("p")):
        node.executor.work()  # type: ignore[attr-defined]
    assert waiting(node) == ["p"]
    node.step()
    assert node.busy == {}, "it is not begun while that lasts"
    node.engine.resume("p")
    node.step()
    node.executor.work()  # type: ignore[attr-defined]
    assert ended(node) == [("done", "repaired")]


def test_what_is_chosen_as_the_node_is_told_to_end_is_not_begun(small: World) -> None:
    """It would not have been told, and went on to its end, however long that takes."""
    small.declare()
    node = small.node(at_once=False)
    node.ask("p", reason="asked", asked_by="api")
    with around(Node, "_allowed", nth=2, after=node.stop):  # the queue is read, and it may be run
        node.step()
    node.executor.work()  # type: ignore[attr-defined]
    assert (waiting(node), node.busy) == (["p"], {})
    assert node.engine.runs("p") == []


def test_however_often_nodes_are_told_to_end_a_request_is_not_given_up(small: World) -> None:
    small.declare()
    small.drift(1)
    small.node().ask("p", reason="asked", asked_by="api")
    for _ in range(ATTEMPTS_MAX + 1):
        node = small.node(at_once=False)
        node.step()
        with around(Trueup, "definition", after=node.stop):
            node.executor.work()  # type: ignore[attr-defined]
        assert waiting(node) == ["p"]
        small.clock.interrupted = False
    other = small.node()
    other.step()
    assert ended(other) == [("done", "repaired")]


def test_who_is_told_to_end_while_a_database_is_away_pauses_nothing(postgres_pair: Pair) -> None:
    """That it did not try once more says nothing of the database: another node does."""
    with proxied(postgres_pair.source) as (proxy, url):
        world = World(postgres_pair.source, postgres_pair.target)
        world.declare()
        world.url = url
        node = world.node(workers=1, at_once=False)
        for _ in range(2):  # the first opens the database
            node.ask("p", reason="asked", asked_by="command")
            node.step()
            with around(EngineClock, "wait", before=node.stop) if proxy.down else nullcontext():
                node.executor.work()  # type: ignore[attr-defined]
            proxy.down = True
            proxy.drop()
        assert waiting(node) == ["p"]
        assert node.engine.standing.control("p").state == "running"
        proxy.down = world.clock.interrupted = False
        other = world.node()
        other.step()
        assert ended(other) == [("done", "in_sync")] * 2
        world.close()
