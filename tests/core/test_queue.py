"""What waits: merging, overlap, and which request goes next; and which projections never run at the same time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.core.lanes import holds, lane, lanes, partners
from trueup.core.projection import Projection, Side
from trueup.core.queue import KEYS_MAX, Arrival, Request, able, arriving, begins_at, choose, merged_keys
from trueup.store.requests import asked

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def projection(name: str, **declared: Any) -> Projection:
    side = {"source": Side(database="app", table=f"s_{name}"), "target": Side(database="app", table=f"t_{name}")}
    return Projection(name=name, key=["id"], **side | declared)


def request(name: str, *, keys: Any = None, priority: int = 1, after_s: float = 0, **changes: Any) -> Request:
    made = asked(projection(name), NOW, keys=keys, reason="", asked_by="api")
    moment = NOW + timedelta(seconds=after_s)
    return replace(made, id=f"{name}-{after_s:03g}-{keys}", priority=priority, requested_at=moment, **changes)


# --- overlap ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel"])
@pytest.mark.parametrize("asked_", [True, False])
def test_one_waits_for_all(overlap: str, asked_: bool) -> None:
    for running in (True, False):
        assert arriving(overlap, waiting=True, running=running, asked=asked_) is Arrival.MERGE
    assert arriving(overlap, waiting=False, running=False, asked=asked_) is Arrival.ADD


@pytest.mark.parametrize(
    ("overlap", "asked_", "expected"),
    [
        ("skip", False, Arrival.SKIP),
        ("queue", False, Arrival.ADD),
        ("cancel", False, Arrival.CANCEL),
        # Who asks wants to know how it is from now on: a run that has begun may have passed it.
        ("skip", True, Arrival.ADD),
        ("queue", True, Arrival.ADD),
        ("cancel", True, Arrival.CANCEL),
    ],
)
def test_while_one_goes_on(overlap: str, asked_: bool, expected: Arrival) -> None:
    assert arriving(overlap, waiting=False, running=True, asked=asked_) is expected


@given(st.lists(st.lists(st.integers(0, 20)), max_size=6))
def test_keys_are_merged_each_once_in_order(batches: list[list[int]]) -> None:
    keys: list[Any] = []
    for batch in batches:
        keys = list(merged_keys(keys, [{"id": n} for n in batch]) or ())
    assert [key["id"] for key in keys] == list(dict.fromkeys(n for batch in batches for n in batch))


def test_too_many_keys_are_all_keys() -> None:
    full = [{"id": n} for n in range(KEYS_MAX)]
    assert merged_keys(full, full[:10]) == full
    assert merged_keys(full, [{"id": -1}]) is None


# --- what goes next --------------------------------------------------------------------------------------------------


def chosen(waiting: list[Request], running: list[Request] = (), apart: Any = None, **declared: Any) -> list[str]:  # type: ignore[assignment]
    known = {name: projection(name, **declared.get(name, {})) for name in "abc"}
    return [r.id for r in choose(waiting, running, known, lambda name: (apart or {}).get(name, ()), NOW)]


def test_urgent_ones_first_then_keys_then_the_oldest() -> None:
    bulk, old, new = request("a", priority=2), request("b", after_s=1), request("c", after_s=2)
    keys = request("b", keys=[{"id": 1}], after_s=9)
    critical = request("a", keys=[{"id": 2}], priority=0, after_s=9)
    assert chosen([new, bulk, keys, old, critical]) == [r.id for r in (critical, keys, old, new, bulk)]


def test_keys_run_beside_all_keys_and_not_beside_keys() -> None:
    keys, whole = request("a", keys=[{"id": 1}]), request("a")
    assert chosen([keys], [whole]) == [keys.id]
    assert chosen([whole], [keys]) == [whole.id]
    assert chosen([keys], [request("a", keys=[{"id": 2}])]) == []
    assert chosen([whole], [request("a", after_s=1)]) == []
    delta = {"on_different": "delta", "writers": "same_transaction"}
    assert chosen([keys], [whole], a=delta) == [], "differences are measured while nothing else writes"


def test_what_conflicts_waits() -> None:
    assert chosen([request("a"), request("c")], [request("b")], {"a": {"b"}}) == [request("c").id]


def test_what_comes_after_waits_for_waiting_and_running_ones() -> None:
    a, b = request("a"), request("b")
    assert chosen([a, b], b={"after": ["a"]}) == [a.id]
    assert chosen([b], [a], b={"after": ["a"]}) == []
    assert chosen([b], b={"after": ["a"]}) == [b.id]
    later = replace(a, not_before=NOW + timedelta(seconds=5))
    assert chosen([later, b], b={"after": ["a"]}) == [b.id], "what is not due yet is not waited for"
    spread = replace(later, tick=NOW)
    assert chosen([spread, b], b={"after": ["a"]}) == [], "a tick is due, its beginning is only spread over `jitter`"


def test_what_comes_after_one_that_is_held_up_waits_as_long() -> None:
    a, b, c = request("a"), request("b"), request("c")
    known = {"a": projection("a"), "b": projection("b", after=["a"]), "c": projection("c", after=["b"])}

    def left(waiting: list[Request], held: str) -> list[str]:
        return [each.id for each in able(waiting, known, lambda request: request.projection != held, NOW)]

    assert left([a, b, c, request("elsewhere")], "a") == []
    assert left([a, b, c], "b") == [a.id]
    assert left([b, c], "a") == [b.id, c.id], "only what waits is waited for"
    assert left([replace(a, not_before=NOW + timedelta(seconds=5)), b], "a") == [b.id]


def test_a_pause_after_a_failure_is_cut_short_by_people_only() -> None:
    pause, soon = NOW + timedelta(hours=1), NOW + timedelta(seconds=1)
    failed = request("a", not_before=pause, answer="databases.app: it refused us")
    event, person = request("a", not_before=soon), request("a", not_before=soon)
    event = replace(event, asked_by="outbox")
    assert begins_at(failed, event) == pause
    assert begins_at(failed, person) == soon
    assert begins_at(replace(failed, answer=""), event) == soon, "a window that is over"


def test_what_an_event_was_merged_into_is_asked_for_by_nobody_again() -> None:
    assert not request("a").once
    assert request("a", merged=2).once
    assert request("a", keys=[{"id": 1}]).once


def test_what_is_not_due_or_not_declared_here_is_left() -> None:
    assert chosen([request("a", not_before=NOW + timedelta(seconds=1)), request("elsewhere")]) == []


# --- what is held ----------------------------------------------------------------------------------------------------


def apart(one: Projection, other: Projection) -> str:
    known = {"a": one, "b": other}
    found = partners(one, known, {"app": "postgres"}).get("b", "")
    assert partners(other, known, {"app": "postgres"}).get("a", "") == found, "it is mutual"
    return found


def test_who_is_kept_apart() -> None:
    a, b = projection("a"), projection("b")
    assert apart(a, b) == ""
    assert apart(a, projection("b", conflicts=["a"])) == "declared"
    assert "same target" in apart(a, projection("b", target=Side(database="app", table="public.T_A")))
    assert apart(a, projection("b", target=Side(database="other", table="t_a"))) == ""
    query = Side(database="app", query="WITH x AS (SELECT id FROM t_a) SELECT id, count(*) AS n FROM x GROUP BY id")
    assert "reads what" in apart(a, projection("b", source=query))


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("theirs", [True, False])
def test_projections_that_are_apart_hold_one_name_in_common_whatever_their_lanes(mine: bool, theirs: bool) -> None:
    a, b, c = projection("a"), projection("b"), projection("c")
    ours = holds(a, keys=mine, apart={"b": b}, heavy=False)
    assert set(ours) & set(holds(b, keys=theirs, apart={"a": a}, heavy=False))
    assert not set(ours) & set(holds(c, keys=theirs, apart={}, heavy=False))
    assert ours[0] == lane(a, keys=mine)


def test_the_lanes_of_one_projection_hold_nothing_in_common() -> None:
    a, b = projection("a"), projection("b")
    both = [set(holds(a, keys=keys, apart={"b": b}, heavy=True)) for keys in (True, False)]
    assert not both[0] & both[1]
    assert lanes(a) == ("a", "a#keys")


def test_heavy_ones_hold_their_databases() -> None:
    a, b = (projection(name) for name in "ab")
    both = [set(holds(p, keys=False, apart={}, heavy=True)) for p in (a, b)]
    assert both[0] & both[1] == {"heavy:app"}
    assert "heavy:app" not in holds(a, keys=True, apart={}, heavy=True)
