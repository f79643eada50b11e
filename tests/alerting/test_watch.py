"""Alerts from the ledger to a receiver: told once, on one node, whatever dies, and never a value of a row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.alerting.receivers import Web, web
from tests.live.harness import PATIENCE_S, around, until
from tests.serving.worlds import World, sqlite_world
from trueup import views_alerts
from trueup.alerting import watch as watching
from trueup.alerting.facts import starving
from trueup.alerting.watch import NAME, Watch
from trueup.core.alert_rules import Alerts
from trueup.core.pace.settings import Override
from trueup.store import lock
from trueup.store.alerts import AGAIN, GIVEN_UP, AlertLedger
from trueup.store.paces import PaceRow

HOUR = 3600
#: What the library does to the interpreter is its own affair; as a rule it is in a process of its own.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = sqlite_world(tmp_path)
    yield made
    made.close()


@pytest.fixture
def got() -> Iterator[Web]:
    with web() as kept:
        yield kept


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sent from this process: a process of its own for each message is tried in `test_send`."""
    from trueup.alerting import deliver

    def send(message: Any, to: Any, *, allow_private: bool) -> str:
        url = to.url.get_secret_value()
        return deliver.deliver(url, message.title, message.body, allow_private=allow_private)

    monkeypatch.setattr(watching, "send", send)
    monkeypatch.setattr(views_alerts, "send", send)


@contextmanager
def watch(world: World, got: Web, **settings: Any) -> Iterator[Watch]:
    alerts = {"to": [f"json://127.0.0.1:{got.port}/T0KEN"], "allow_private": True, **settings}
    with world.engine(alerts=Alerts.model_validate(alerts)) as engine:
        yield Watch(engine)


def later(world: World, seconds: float) -> None:
    world.clock.fake.sleep(seconds)


def titles(got: Web) -> list[str]:
    return [each["title"].removeprefix("Trueup: ") for each in got.got]


def test_from_drift_to_a_message_and_back(world: World, got: Web) -> None:
    world.declare(sensitive=["n"], on_missing="report", alerts={"drift": {"rows": 2}, "repair_failing": False})
    world.drift(1, 2, 777001)
    with watch(world, got) as one, watch(world, got) as other:
        one.look()
        assert titles(got) == [], "nothing is known yet"
        one.engine.run("p")
        for _ in range(5):
            one.look()
            other.look()
            later(world, 15)
        assert titles(got) == ["p: drift firing"]
        (body,) = [each["message"] for each in got.got]
        assert "3 rows are known to be wrong" in body
        assert "next: trueup drift p" in body
        assert "777001" not in body
        told = views_alerts.alerts(one.engine)["alerts"]
        assert [(row["rule"], row["subject"], row["state"]) for row in told] == [("drift", "p", "firing")]
        later(world, 4 * HOUR)
        one.look()
        assert titles(got)[1:] == ["p: drift still firing"]
        world.db.sql("DELETE FROM s_p")
        one.engine.run("p")
        for _ in range(8):
            later(world, 15)
            other.look()
        assert titles(got)[2:] == ["p: drift resolved"]
        assert views_alerts.alerts(one.engine) == {"alerts": [], "undelivered": []}


def test_a_collapsed_source_a_missed_objective_and_a_projection_that_nobody_verified(world: World, got: Web) -> None:
    world.declare(fresh="1h", limits={})
    world.declare("q", fresh="1h")
    world.db.sql("INSERT INTO s_p VALUES (1, 1), (2, 2), (3, 3)", "INSERT INTO t_p VALUES (1, 1), (2, 2), (3, 3)")
    with watch(world, got) as one:
        one.engine.run("p")
        world.db.sql("DELETE FROM s_p")
        later(world, 60)
        assert one.engine.run("p").exit_code == 4
        one.look()
        assert titles(got) == ["p: source collapsed firing"]
        later(world, HOUR)
        one.look()
        assert titles(got)[1:] == ["p: stale firing", "q: stale firing"]
        assert "no run has verified all of it yet" in got.got[-1]["message"]


def test_one_node_sends_and_what_was_sent_but_not_noted_comes_again_with_the_same_id(world: World, got: Web) -> None:
    world.declare(on_missing="report", alerts={"drift": {"rows": 0}})
    world.drift(1)
    with watch(world, got) as one, watch(world, got) as other:
        one.engine.run("p")
        with lock.hold(other.engine.ledger.engine, NAME):
            import threading

            held = threading.Thread(target=one.look)  # a thread of its own: this one holds it already
            held.start()
            held.join()
        assert titles(got) == []
        with around(AlertLedger, "sent", before=_die), pytest.raises(RuntimeError):
            one.look()
        other.look()
        other.look()
    assert titles(got) == ["p: drift firing"] * 2
    ids = {each["message"].splitlines()[-1] for each in got.got}
    assert len(ids) == 1


def _die() -> None:
    raise RuntimeError("killed")


def test_what_is_not_accepted_is_seen_and_tried_again_for_a_day(
    world: World, got: Web, caplog: pytest.LogCaptureFixture
) -> None:
    world.declare(on_missing="report", alerts={"drift": {"rows": 0}})
    world.drift(1)
    got.answer = lambda _path: (503, "")
    with watch(world, got) as one:
        one.engine.run("p")
        one.look()
        (row,) = views_alerts.alerts(one.engine)["undelivered"]
        assert (row["attempts"], row["destination"], row["state"]) == (1, "json, number 1", "waiting")
        assert row["error"]
        assert "could not be sent to json, number 1" in caplog.text
        assert "T0KEN" not in caplog.text + str(row)
        one.look()
        assert views_alerts.alerts(one.engine)["undelivered"][0]["attempts"] == 1, "not at once"
        later(world, AGAIN.total_seconds())
        got.answer = lambda _path: (200, "")
        one.look()
        assert titles(got) == ["p: drift firing"]
        assert views_alerts.alerts(one.engine)["undelivered"] == []
        got.answer = lambda _path: (503, "")
        later(world, 4 * HOUR)
        one.look()
        later(world, GIVEN_UP.total_seconds() + 1)
        one.look()
        states = [row["state"] for row in views_alerts.alerts(one.engine)["undelivered"]]
        assert "given up" in states


def test_where_nothing_is_declared_it_is_still_known_what_fires(world: World, got: Web) -> None:
    world.declare(on_missing="report", alerts={"drift": {"rows": 0}})
    world.drift(1)
    with watch(world, got, to=[]) as one:
        one.engine.run("p")
        one.look()
        assert [row["rule"] for row in views_alerts.alerts(one.engine)["alerts"]] == ["drift"]
        assert AlertLedger(one.engine.ledger).due(one.engine.clock.now() + timedelta(days=1)) == []
        assert views_alerts.tried(one.engine) == []
    with watch(world, got) as two:
        assert views_alerts.tried(two.engine) == [{"destination": "json, number 1", "sent": True, "why": ""}]
    assert titles(got) == ["a test"]


def test_what_is_not_declared_any_more_is_over(world: World, got: Web) -> None:
    world.declare(on_missing="report", alerts={"drift": {"rows": 0}})
    world.drift(1)
    with watch(world, got) as one:
        one.engine.run("p")
        one.look()
    with watch(world, got) as same:
        for _ in range(8):
            same.look()
            later(world, 15)
        assert titles(got) == ["p: drift firing"]
    world.declared.clear()
    world.declare("q")
    with watch(world, got) as other:
        for _ in range(8):
            other.look()
            later(world, 15)
    assert titles(got) == ["p: drift firing", "p: drift resolved"]


def test_a_database_that_grants_too_little() -> None:
    row = PaceRow(
        database="app",
        u=0.05,
        statement_s=0.02,
        told={"mode": "degraded", "floor": 0.05, "reason": "lag 3"},
        override=Override(),
        override_by="",
        override_why="",
        override_left_s=None,
        age_s=1.0,
        nodes=1,
    )
    assert starving(row) == "degraded, lag 3"
    assert starving(replace(row, u=0.0, told={**row.told, "mode": "paused"}))
    for fine in (None, replace(row, u=0.2), replace(row, nodes=0), replace(row, age_s=60.0), replace(row, told={})):
        assert starving(fine) == ""


def test_a_node_looks_by_itself_and_never_waits_for_a_receiver(world: World, got: Web) -> None:
    """Runs go on while a message is on its way; `serve` ends without it."""
    import threading

    world.declare(on_missing="report", alerts={"drift": {"rows": 0}}, schedule={"startup": True})
    world.drift(1)
    on_its_way, answered = threading.Event(), threading.Event()

    def slow(_path: str) -> tuple[int, str]:
        on_its_way.set()
        answered.wait(PATIENCE_S)
        return 200, ""

    got.answer = slow
    alerts = Alerts.model_validate({"to": [f"json://127.0.0.1:{got.port}/"], "allow_private": True})
    node = world.node(alerts=alerts)
    world.opened.clear()  # `serve` closes it
    serving = threading.Thread(target=node.serve, args=(0.05,))
    serving.start()
    try:
        assert on_its_way.wait(PATIENCE_S)
        with world.engine() as asking:
            before = len(asking.runs())
            asking.request("p", reason="now")
            node.woken.set()
            until(lambda: len(asking.runs()) > before, "a run begins")
    finally:
        answered.set()
        node.stop()
        serving.join(PATIENCE_S)
    assert not serving.is_alive()
