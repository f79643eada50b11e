"""When somebody is told of an alert: once, again while it lasts, once when it is over; and which rules hold."""

from __future__ import annotations

import inspect
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trueup.cli.commands import app
from trueup.core import alert_facts
from trueup.core.alert_facts import Facts, RunFact, audit_condition, conditions, database_condition
from trueup.core.alert_rules import Alerts, Rules
from trueup.core.alerts import Alert, Condition, Tell, messages, step
from trueup.core.freshness import Freshness

NOW = datetime(2026, 1, 10, tzinfo=UTC)
REPEAT_S = 4 * 3600.0


def told(active: list[bool], *, every_s: float = 30, after_s: float = 0) -> list[tuple[int, Tell]]:
    """(look, what is told) of a condition that is looked at again and again."""
    alert, found = Alert(rule="drift", subject="p"), []
    for look, is_ in enumerate(active):
        condition = Condition(rule="drift", subject="p", active=is_, after_s=after_s, repeat_s=REPEAT_S)
        alert, tell = step(alert, condition, NOW + timedelta(seconds=look * every_s))
        found += [] if tell is None else [(look, tell)]
    return found


def test_told_once_and_again_only_after_a_while_and_once_when_it_is_over() -> None:
    hours_9 = [True] * (9 * 120)
    assert told([*hours_9, *[False] * 20]) == [
        (0, Tell.FIRING),
        (480, Tell.STILL),
        (960, Tell.STILL),
        (1082, Tell.RESOLVED),
    ]
    naive = sum(hours_9)
    assert naive == 1080, "what is told at each look instead"


def test_it_has_to_be_so_for_a_while() -> None:
    assert told([True] * 9, after_s=300) == []
    assert told([True] * 9 + [False] + [True] * 9, after_s=300) == []
    assert told([True] * 11, after_s=300) == [(10, Tell.FIRING)]


def test_what_comes_and_goes_is_one_alert() -> None:
    quick = told([True, False] * 500)
    assert quick == [(0, Tell.FIRING), (480, Tell.STILL), (960, Tell.STILL)]
    slow = told(([True] * 10 + [False] * 10) * 48)  # five minutes each, for eight hours: longer than the first calm
    changes = [tell for _, tell in slow if tell is not Tell.STILL]
    assert len(changes) <= 7, "a naive one tells of 96 changes"
    assert changes[0] is Tell.FIRING


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 200)), max_size=40), st.sampled_from([0.0, 300.0]))
def test_told_in_order_and_never_too_often(spans: list[tuple[bool, int]], after_s: float) -> None:
    active = [is_ for is_, many in spans for _ in range(many)]
    found = told(active, after_s=after_s)
    firing, last_told = False, -(10**9)
    for look, tell in found:
        assert firing is (tell is not Tell.FIRING)
        if tell is Tell.STILL:
            assert (look - last_told) * 30 >= REPEAT_S
        firing, last_told = tell is not Tell.RESOLVED, look
    if len(active) > 600 and all(active[-500:]):
        assert firing, "what lasts is told"


def test_a_message_groups_what_is_to_be_told_of_a_projection_and_has_one_id_wherever_it_is_made() -> None:
    drift = Alert(rule="drift", subject="p", state="firing", since=NOW, what="7 rows", next="trueup drift p")
    stale = Alert(rule="stale", subject="p", state="quiet")
    other = Alert(rule="drift", subject="q", state="firing", since=NOW, what="8 rows", next="trueup drift q")
    news = [(drift, Tell.FIRING), (other, Tell.STILL), (stale, Tell.RESOLVED)]
    found = messages(news, NOW, since={"stale p": NOW - timedelta(hours=2)})
    assert [message.subject for message in found] == ["p", "q"]
    assert found[0].title == "Trueup: p: drift firing, stale resolved"
    assert found[0].body.splitlines()[:3] == [
        "drift: 7 rows (since 2026-01-10 00:00 UTC)",
        "  next: trueup drift p",
        "stale: it is over (since 2026-01-09 22:00 UTC)",
    ]
    assert found == messages(news, NOW, since={"stale p": NOW - timedelta(hours=2)})
    assert messages(news, NOW + timedelta(hours=4), since={})[0].id != found[0].id


# --- rules -----------------------------------------------------------------------------------------------------------

RUN = RunFact(id="r-1", writes=True, failed=False, collapsed=False, answered=True, left=0)
QUIET = Facts(name="p", runs=[RUN], drift=0, source_rows=1000, freshness=Freshness(), quarantined=0, plans=[])


def active(rules: Rules | None = None, memories: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    found = conditions(replace(QUIET, **changes), rules or Rules(), memories or {}, NOW, REPEAT_S)
    return {each.rule: each.what for each in found if each.active}


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("drift", {"drift": 101}),
        ("drift", {"drift": 11}),
        ("repair_failing", {"runs": [replace(RUN, left=3), replace(RUN, left=1)]}),
        ("repair_failing", {"runs": [replace(RUN, failed=True, answered=False)] * 2}),
        ("source_collapsed", {"runs": [replace(RUN, collapsed=True, answered=False), RUN]}),
        ("stale", {"freshness": Freshness(fresh=60.0, since=NOW - timedelta(seconds=61), parts=1)}),
        ("stale", {"freshness": Freshness(fresh=60.0)}),
        ("plan_waits", {"plans": ["p-1"]}),
    ],
)
def test_each_rule(rule: str, changes: dict[str, Any]) -> None:
    assert active() == {}
    assert list(active(**changes)) == [rule]
    assert active(Rules.model_validate({rule: False}), **changes) == {}


def test_below_the_thresholds() -> None:
    assert active(drift=9, source_rows=10) == {}, "a share of a handful means nothing"
    assert active(drift=10) == {}
    assert active(Rules.model_validate({"drift": {"rows": 0}}), drift=1)
    assert active(runs=[replace(RUN, left=3), RUN]) == {}
    assert active(freshness=Freshness(fresh=60.0, since=NOW - timedelta(seconds=59), parts=1)) == {}


def test_a_new_kind_of_drift_is_new_for_a_day() -> None:
    usual, new = frozenset({"missing rows"}), frozenset({"missing rows", "differences in total"})

    def look(kinds: frozenset[str], memory: Any, now: datetime, before: frozenset[str] = usual) -> Condition:
        runs = [replace(RUN, kinds=kinds), replace(RUN, kinds=before)]
        found = conditions(replace(QUIET, runs=runs), Rules(), {"new_drift": memory}, now, REPEAT_S)
        return next(each for each in found if each.rule == "new_drift")

    first = look(usual, {}, NOW)
    assert not first.active
    second = look(new, first.memory, NOW)
    assert second.active
    assert "differences in total" in second.what
    assert "missing" not in second.what
    assert look(new, second.memory, NOW + timedelta(hours=23)).active
    assert not look(new, second.memory, NOW + timedelta(hours=25)).active
    assert not look(usual, second.memory, NOW).active
    assert look(new, {}, NOW).active, "seen for the first time, what earlier runs showed is what is known"


def test_more_rows_in_quarantine() -> None:
    def look(count: int, memory: Any, hours: int = 0) -> Condition:
        facts = replace(QUIET, quarantined=count)
        found = conditions(facts, Rules(), {"quarantine_grew": memory}, NOW + timedelta(hours=hours), REPEAT_S)
        return next(each for each in found if each.rule == "quarantine_grew")

    first = look(3, {})
    assert not first.active
    more = look(5, first.memory)
    assert more.active
    assert "2 more" in more.what
    assert not look(2, more.memory).active
    assert look(5, more.memory, hours=23).active
    assert not look(5, more.memory, hours=25).active


def test_databases_and_the_audit_log() -> None:
    (found,) = database_condition("app", Rules(), REPEAT_S, starving="degraded, lag 3")
    assert (found.active, found.after_s, found.subject) == (True, 900, "database app")
    assert not database_condition("app", Rules(), REPEAT_S, starving="")[0].active
    (late,) = audit_condition(Rules(), REPEAT_S, lines=2, oldest_s=1801)
    assert (late.active, late.after_s) == (True, 0)
    assert not audit_condition(Rules(), REPEAT_S, lines=2, oldest_s=1799)[0].active


def test_a_projection_has_rules_of_its_own() -> None:
    every = Alerts.model_validate({"to": "json://x", "rules": {"drift": {"rows": 7}, "stale": {"after": "5m"}}})
    own = every.rules.with_own(Rules.model_validate({"drift": False}))
    assert (own.drift.on, own.stale.after, every.rules.drift.rows) == (False, 300, 7)
    assert "json" not in repr(every)


def test_what_is_to_be_typed_next_is_a_command() -> None:
    told = re.findall(r'next=f?"trueup ([a-z ]+)', inspect.getsource(alert_facts))
    assert len(told) > 8
    for first, *rest in map(str.split, told):
        command = app[first]
        assert not rest or command[rest[0]]
