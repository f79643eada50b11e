"""The queue in the ledger: each tick once, requests merged, storms bounded, and what ended forgotten in time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.serving.worlds import World
from trueup import Projection, Side, Writers
from trueup.core.queue import KEYS_MAX
from trueup.core.schedule import Due
from trueup.store.requests import KEPT, Requests, asked

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DECLARED = Projection(
    name="p",
    source=Side(database="app", table="s"),
    target=Side(database="app", table="t"),
    key=("id",),
    writers=Writers.SAME_TRANSACTION,
)


@pytest.fixture
def queue(world: World) -> Iterator[Requests]:
    with world.engine() as engine:
        yield engine.queue


def request(keys: Any = None, **changes: Any) -> Any:
    return replace(asked(DECLARED, NOW, keys=keys, reason="why", asked_by="api"), **changes)


def test_a_tick_is_settled_by_the_first_node(queue: Requests) -> None:
    assert queue.register("p", NOW) == NOW == queue.register("p", NOW + MINUTE)
    ticks = Due(run=(NOW + 2 * MINUTE,), skipped=(NOW + MINUTE,))
    begins = {NOW + 2 * MINUTE: NOW + 3 * MINUTE}
    assert queue.settle(request(), ticks, NOW, "skip", begins)
    assert not queue.settle(request(), ticks, NOW, "skip", begins), "another node was first"
    (one,) = queue.open()
    assert (one.tick, one.not_before) == (NOW + 2 * MINUTE, NOW + 3 * MINUTE)
    assert [(each.state, each.tick) for each in queue.newest("p")] == [("skipped", NOW + MINUTE)]
    assert queue.settled("p") == NOW + 2 * MINUTE


def test_requests_are_merged_into_the_one_that_waits(queue: Requests) -> None:
    first = queue.submit(request([{"id": 1}]), "skip")
    assert queue.submit(request([{"id": 2}, {"id": 1}], priority=0), "skip", merged=7) == first
    whole = queue.submit(request(), "skip")
    assert queue.submit(request(), "skip") == whole != first
    keys, all_ = queue.find(first), queue.find(whole)
    assert keys is not None
    assert all_ is not None
    assert (keys.keys, keys.merged, keys.priority) == ([{"id": 1}, {"id": 2}], 8, 0)
    assert (all_.keys, all_.merged) == (None, 2)


def test_what_has_begun_is_merged_into_no_more(queue: Requests) -> None:
    """Level-based: an event that comes while its key is looked at is looked at again."""
    first = queue.submit(request([{"id": 1}]), "skip")
    assert queue.begin(first, "n", NOW) is not None
    assert queue.begin(first, "m", NOW) is None
    assert queue.submit(request([{"id": 1}]), "skip") != first


def test_too_many_keys_become_one_run_over_all_and_say_so(queue: Requests) -> None:
    queue.submit(request([{"id": n} for n in range(KEYS_MAX)]), "skip")
    queue.submit(request([{"id": -1}], reason="the straw"), "skip")
    (only,) = queue.open()
    assert (only.over_all, only.merged) == (True, 2)
    assert "more than 5,000 keys were waiting, so all are looked at; the last: the straw" in only.reason


def test_only_its_node_ends_a_request(queue: Requests) -> None:
    mine = queue.begin(queue.submit(request(), "skip"), "n", NOW)
    assert mine is not None
    queue.orphaned("p", True, NOW)
    taken = queue.begin(mine.id, "m", NOW)
    assert taken is not None
    queue.end(mine, "done", NOW, run=None, answer="late")
    assert queue.find(mine.id).state == "running"  # type: ignore[union-attr]
    queue.end(taken, "done", NOW, run=None, answer="in_sync")
    assert queue.find(mine.id).answer == "in_sync"  # type: ignore[union-attr]
    assert queue.last_ended("p") == NOW


def test_what_ended_long_ago_is_forgotten_but_for_the_last(queue: Requests) -> None:
    for day in range(3):
        begun = queue.begin(queue.submit(request(), "skip"), "n", NOW)
        assert begun is not None
        queue.end(begun, "done", NOW + timedelta(days=day), run=None, answer="")
    queue.submit(request(), "skip")
    assert queue.prune(NOW + KEPT) == 0
    assert queue.prune(NOW + KEPT + timedelta(days=30)) == 2
    assert queue.last_ended("p") == NOW + timedelta(days=2)
    assert len(queue.open()) == 1


def test_a_projection_of_which_nothing_has_ended_keeps_nothing_of_the_others(queue: Requests) -> None:
    for day in range(2):
        begun = queue.begin(queue.submit(request(), "skip"), "n", NOW)
        assert begun is not None
        queue.end(begun, "done", NOW + timedelta(days=day), run=None, answer="")
    queue.submit(request(projection="paused"), "skip")
    assert queue.prune(NOW + KEPT + timedelta(days=30)) == 1


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel"])
def test_a_run_is_due_while_a_plan_that_somebody_asked_for_is_made(queue: Requests, overlap: str) -> None:
    """The plan is no run, so it does not do for the tick; and it is not taken from who asked for it."""
    plan = queue.begin(queue.submit(request(command="plan"), overlap), "n", NOW)
    assert plan is not None
    assert queue.register("p", NOW) == NOW
    tick = NOW + MINUTE
    assert queue.settle(request(asked_by="schedule"), Due(run=(tick,)), NOW, overlap, {tick: tick})
    assert {(each.command, each.state, each.cancelled) for each in queue.open()} == {
        ("plan", "running", False),
        ("run", "waiting", False),
    }


def test_however_many_wait_all_are_seen(queue: Requests) -> None:
    """Of what is not seen nothing would begin, however urgent it is."""
    for number in range(1001):
        queue.submit(request(about=f"pl-{number}", command="apply"), "skip")
    last = queue.submit(request(priority=0), "skip")
    assert len(queue.open()) == 1002
    assert last in {each.id for each in queue.open()}
