"""Governors at work, step by step: who looks, what is shared, what survives, what somebody has set."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from tests.pace.stepped import SteppedClock
from trueup.adapters import Looked
from trueup.core.pace.gauges import Gauge
from trueup.core.pace.governor import Mode, State
from trueup.core.pace.pressure import BLIND_AFTER_S, Mark
from trueup.core.pace.settings import Override, Pace
from trueup.core.pace.sharing import GRANT_S, USED
from trueup.errors import LedgerFailed, Transient
from trueup.pace import governor as module
from trueup.pace.admission import Admission, Worker
from trueup.pace.governor import Governor
from trueup.store import paces as store
from trueup.store import schema_pacing
from trueup.store.paces import Paces
from trueup.who import Actor

ANN = Actor(name="ann", by="os", host="here")


class Probe:
    """A database whose readings are what a test says."""

    marks: ClassVar = {"lag": Mark(idle=1, soft=2, hard=4)}
    here = False

    def __init__(self, clock: SteppedClock, governor: Callable[[], Governor]) -> None:
        self.clock, self.governor = clock, governor
        self.slower_s = 0.0
        self.lag = 0.0
        self.broken = self.hidden = False
        self.on_core: float | None = None
        self.idle: bool | None = None
        self.commits = 0.0

    def connect(self, *, writes: bool = False) -> bool:
        return False

    def canary(self) -> None:
        if self.broken:
            raise Transient("no connection")
        self.clock.pass_((0.001 + (self.slower_s if self.governor().gate.inflight else 0.0)) / Pace().trips)

    def look(self) -> Looked:
        if self.broken or self.hidden:
            raise Transient("no connection" if self.broken else "not granted")
        looked = Looked(values={"lag": self.lag, "else": None}, lacking={"else": "not granted"})
        if self.idle is not None:  # what is committed is ours, or of others too
            self.commits += 0 if self.idle else 50
            committed = self.commits + self.governor().gate.committed
            looked = replace(looked, active=0.0 if self.idle else 0.1, transactions=committed)
        return replace(looked, on_core=self.on_core)

    def number(self, statement: str) -> object:
        return len(statement)

    def write(self, statement: str) -> None: ...

    def give_up(self) -> None: ...

    def close(self) -> None: ...


class Node:
    """One process that works on the database, with its own engine."""

    def __init__(self, name: str, clock: SteppedClock, paces: Paces, **pace: Any) -> None:
        self.clock = clock
        self.modes: list[str] = []
        self.seen = Probe(clock, lambda: self.governor)
        self.admission = Admission(clock)
        self.governor = Governor(
            "app",
            pace=Pace(**{"most": 4.0, **pace}),
            protect=0.1,
            adapter=self,  # type: ignore[arg-type]  # asked for nothing but a probe
            admission=self.admission,
            paces=paces,
            node=name,
            now=clock.now,
            tells=self.tells,
        )
        for each in (self.governor, self.governor.looking):  # they are stepped here
            each._run = lambda *_: None  # type: ignore[method-assign]

    def probe(self, _canary: str) -> Probe:
        return self.seen

    def tells(self, _name: str, state: State) -> None:
        self.modes.append(state.mode)

    def step(self, seconds: float, *, works: bool = True) -> None:
        """Let time pass, with statements of 20 ms whenever they are permitted."""
        gate, end = self.governor.gate, self.clock.at_s + seconds
        until_s = 0.0
        charged = None
        while self.clock.at_s < end:
            if charged is not None and self.clock.at_s >= until_s:
                charged.__exit__(None, None, None)
                charged = None
            if works:
                gate.wanted_at = self.clock.at_s
                if charged is None and gate.wait_s(self.clock.at_s) == 0.0:
                    charged = self.admission.at_once([gate], Worker(name="w"))
                    charged.__enter__()
                    until_s = self.clock.at_s + 0.02
                self.admission._waiting = [type("W", (), {"gates": [gate]})()]
            if self.governor.lease.leads:
                self.governor.looking._stepped(self.governor.looking.asker)
            self.governor.step()
            self.clock.pass_(0.005)
        if charged is not None:
            charged.__exit__(None, None, None)


def test_it_looks_and_permits_more_as_it_sees_that_it_may(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    assert 0 < node.governor.gate.u <= 0.05
    node.step(40)
    assert node.governor.gate.u > 1
    assert node.modes == [Mode.NORMAL]
    row = paces.find("app")
    assert row is not None
    assert row.told["lacking"] == {"else": "not granted"}  # not available: neither 0 nor a reason to stop
    assert row.told["signals"]["lag"]["soft"] == 2


def test_it_holds_back_where_it_hurts_and_says_by_how_much(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.seen.slower_s = 0.004  # five times as long
    node.governor.begin()
    node.step(40)
    assert node.governor.gate.u <= 0.2
    assert node.governor.impact.slowed is not None
    row = paces.find("app")
    assert row is not None
    assert row.told["reason"]


def test_pressure_is_told_and_kept_in_the_ledger(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    node.seen.lag = 3.0
    node.step(8)
    assert node.modes[-1] == Mode.DEGRADED
    row = paces.find("app")
    assert row is not None
    assert (row.told["mode"], row.told["signal"]) == ("degraded", "lag")
    assert row.told["next_s"] >= 0


def test_the_guaranteed_minimum_grows_with_the_age_of_what_is_worked_on(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.workers += [Worker(name="p"), Worker(name="q", age=lambda: 3.0)]
    node.governor.begin()
    node.step(20)
    node.seen.lag = 3.0
    node.step(30)
    assert node.modes[-1] == Mode.DEGRADED
    assert node.governor.state.u == pytest.approx(3 * 0.05)
    node.governor.workers.clear()
    node.step(10)
    assert node.governor.state.u < 0.06


def test_a_declared_gauge_slows_down_like_any_signal(clock: SteppedClock, paces: Paces) -> None:
    load = Gauge(name="load", python="tests.pace.test_governor:never", idle=1, soft=2, hard=4)
    node = Node("one", clock, paces, gauges=(load,))
    node.governor.looking.gauges.begin = lambda: None  # type: ignore[method-assign]  # it is asked here
    node.governor.begin()
    node.step(20)
    assert node.modes == [Mode.NORMAL]
    for _ in range(8):
        node.governor.looking.gauges.ask(load, lambda: 3.0)
        node.step(1)
    assert node.modes[-1] == Mode.DEGRADED
    row = paces.find("app")
    assert row is not None
    assert (row.told["signal"], row.told["signals"]["load"]["value"]) == ("load", 3.0)


def test_one_number_of_a_gauge_is_no_emergency(clock: SteppedClock, paces: Paces) -> None:
    """It was handed on at each look, twice a second, and each time it was taken for another sample."""
    load = Gauge(name="load", python="tests.pace.test_governor:never", every=10)
    node = Node("one", clock, paces, gauges=(load,))
    looking, began = node.governor.looking, clock.at_s
    looking.gauges.begin = lambda: None  # type: ignore[method-assign]  # it is asked here
    node.governor.begin()
    looking.gauges.ask(load, lambda: 2.0)
    while clock.at_s < began + 10:
        node.step(0.5)
        assert not looking.health(clock.at_s).hard
    assert looking.signals["load"].raw == 2.0, "the control: it is looked at"
    looking.gauges.ask(load, lambda: 2.0)
    node.step(1)
    assert looking.health(clock.at_s).hard


def test_a_database_that_cannot_be_seen_gets_the_minimum(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    node.seen.broken = True
    node.step(BLIND_AFTER_S + 5)
    assert (node.governor.state.mode, node.governor.gate.u) == (Mode.PAUSED, 0.05)
    assert "no signal" in node.governor.state.reason
    node.seen.broken = False
    node.step(3)
    assert node.governor.state.mode is Mode.RECOVERY


def test_a_database_that_says_nothing_of_its_health_is_still_seen_by_its_canary(
    clock: SteppedClock, paces: Paces
) -> None:
    """A look that was refused kept the canary from being read, and the minimum was all there was."""
    node = Node("one", clock, paces)
    node.seen.hidden = True
    node.governor.begin()
    node.step(60)
    assert node.governor.gate.u > 0.5
    assert node.governor.told(clock.at_s)["lacking"] == {"health": "not granted"}
    node.seen.broken = True
    node.step(BLIND_AFTER_S + 5)
    assert node.governor.state.mode is Mode.PAUSED  # the control


def test_a_database_that_cannot_be_looked_at_gets_more_very_slowly(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.probe = lambda _canary: None  # type: ignore[method-assign, assignment, return-value]
    node.governor.begin()
    node.step(100)
    assert 1.3 * 0.05 < node.governor.state.u < 2 * 0.05


def test_a_governor_that_gets_stuck_holds_nothing(clock: SteppedClock, paces: Paces) -> None:
    """Another process looks by then, and grants the same."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    clock.pass_(GRANT_S * USED)
    assert node.governor.gate.u > 0
    assert node.governor.gate.wait_s(clock.at_s) is None


def test_a_fault_of_ours_is_told_and_it_looks_again(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The thread ended without a word, and what was permitted last held for ever."""
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    governor, faults = Node("one", clock, paces).governor, [ValueError("no number")]

    def step() -> float:
        if faults:
            raise faults.pop()
        ended.set()
        raise ValueError("another one")

    monkeypatch.setattr(governor, "step", step)
    Governor._run(governor, ended := threading.Event())
    assert ended.is_set()
    assert governor.told(clock.at_s)["lacking"] == {"governor": "ValueError: another one"}
    assert "pacing failed" in caplog.text


def test_who_wants_nothing_asks_the_ledger_seldom(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, asked = Node("one", clock, paces), []
    renew = paces.renew
    monkeypatch.setattr(paces, "renew", lambda *some: (asked.append(1), renew(*some))[1])
    node.governor.begin()
    node.step(6, works=False)
    asked.clear()
    node.step(20, works=False)
    assert len(asked) <= 11
    assert node.governor.gate.u == 0


def test_what_is_critical_comes_first_beside_another_process_and_bulk_is_not_starved(
    clock: SteppedClock, paces: Paces
) -> None:
    """Classes were only told apart within one engine, and `trueup serve` has one for each run."""
    one, two = Node("one", clock, paces), Node("two", clock, paces)
    one.governor.workers.append(Worker(name="p", priority="critical"))
    two.governor.workers.append(Worker(name="q", priority="bulk", weight=2.0))
    paces.set("app", Override(adaptive=False, fixed=1.02), by=ANN, why="", for_s=None)
    for node in (one, two):
        node.governor.begin()
    for _ in range(80):
        one.step(0.1)
        two.step(0.1)
    assert (one.governor.gate.u, two.governor.gate.u) == (pytest.approx(1.0), pytest.approx(0.02))
    one.admission._waiting = []
    for _ in range(120):
        one.step(0.1, works=False)
        two.step(0.1)
    assert two.governor.gate.u == pytest.approx(1.02)  # all of it, where nobody else wants any


def test_a_restart_resumes_in_recovery_with_what_was_learnt(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(45)
    before = node.governor.state
    assert before.mode is Mode.NORMAL
    again = Node("two", clock, paces)  # the first was killed: it has given nothing back
    clock.pass_(7)
    again.governor.begin()
    state = again.governor.state
    assert (state.mode, state.u, state.good) == (Mode.RECOVERY, 0.05, pytest.approx(before.good))
    again.step(12)
    assert again.governor.gate.u >= 0.5 * before.good  # and it is back soon


def test_two_nodes_share_one_looks_and_the_other_takes_over(clock: SteppedClock, paces: Paces) -> None:
    one, two = Node("one", clock, paces), Node("two", clock, paces)
    one.governor.begin()
    one.step(30)
    two.governor.begin()
    most = 0.0
    for _ in range(80):
        one.step(0.1)
        two.step(0.1)
        most = max(most, one.governor.gate.u + two.governor.gate.u - one.governor.state.u)
    assert most <= 1e-6
    assert one.governor.gate.u == pytest.approx(two.governor.gate.u, rel=0.35)
    assert (one.governor.lease.leads, two.governor.lease.leads) == (True, False)
    one.governor.end()
    two.step(3)
    assert two.governor.lease.leads
    assert two.governor.state.mode is Mode.RECOVERY


def test_what_somebody_sets_holds_within_seconds_for_as_long_as_they_said(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(20)
    paces.set("app", Override(most=0.1), by=ANN, why="release", for_s=30)
    node.step(3)
    assert node.governor.gate.u <= 0.1
    row = paces.find("app")
    assert row is not None
    assert (row.override_by, row.override_why, row.override.most) == ("ann", "release", 0.1)
    node.step(30)
    assert node.governor.settings.limits.most == 4.0
    paces.set("app", Override(adaptive=False, fixed=0.3), by=ANN, why="", for_s=None)
    node.step(3)
    assert node.governor.gate.u == pytest.approx(0.3)


def test_what_a_newer_version_has_set_is_the_minimum_until_it_ends(clock: SteppedClock, paces: Paces) -> None:
    """It could not be read, so that nothing was renewed: the node stood still."""
    one, two = nodes = Node("one", clock, paces), Node("two", clock, paces)

    def step(seconds: int) -> float:
        for _ in range(10 * seconds):
            one.step(0.1)
            two.step(0.1)
        return one.governor.gate.u + two.governor.gate.u

    def lacking() -> Any:
        row = paces.find("app")
        assert row is not None
        return row.override.most, row.unknown, row.told["lacking"].get("settings")

    for node in nodes:
        node.governor.begin()
    assert step(40) > 0.5
    with paces.ledger.begin() as c:
        c.execute(schema_pacing.paces.update().values(override='{"most": 3.0, "burst": {"of": 2}}'))
    assert step(8) == pytest.approx(0.05)
    assert min(node.governor.gate.u for node in nodes) > 0
    most, unknown, why = lacking()
    assert (most, unknown, "burst" in why) == (3.0, ("burst",), True)
    paces.set("app", Override(), by=ANN, why="", for_s=None)
    assert step(40) > 0.5
    assert lacking() == (None, (), None)


def test_a_profile_that_is_not_declared_on_a_node_is_the_minimum_there(clock: SteppedClock, paces: Paces) -> None:
    """Who looks did not know it, and everybody went on with all that is permitted."""
    one = Node("one", clock, paces)
    two = Node("two", clock, paces, profiles={"release": {"most": 0.2}})
    for node in (one, two):
        node.governor.begin()
    for _ in range(400):
        one.step(0.1)
        two.step(0.1)
    assert one.governor.gate.u + two.governor.gate.u > 0.5
    paces.set("app", Override(profile="release"), by=ANN, why="", for_s=None)
    for _ in range(80):
        one.step(0.1)
        two.step(0.1)
    assert one.governor.gate.u + two.governor.gate.u == pytest.approx(0.05)
    assert two.governor.settings.limits.most == 0.2, "positive control"
    row = paces.find("app")
    assert row is not None
    assert "profile=release" in row.told["lacking"]["settings"]
    assert (row.among({"release"}).unknown, row.among(()).unknown) == ((), ("profile=release",))


def test_a_pause_is_followed_within_a_second_on_each_node(clock: SteppedClock, paces: Paces) -> None:
    """It was seen at the next renewal, and by who does not look one renewal of the other later: four seconds."""
    one, two = nodes = Node("one", clock, paces), Node("two", clock, paces)
    for node in nodes:
        node.governor.begin()
    for _ in range(40):
        one.step(0.1)
        two.step(0.1)
    assert one.governor.gate.u > 0
    assert two.governor.gate.u > 0  # and it does not look
    assert not two.governor.lease.leads
    paces.set("app", Override(pause=True), by=ANN, why="", for_s=None)
    for _ in range(4):
        one.step(0.1)
        two.step(0.1)
    assert (one.governor.gate.u, two.governor.gate.u) == (0.0, 0.0)
    paces.set("app", Override(), by=ANN, why="", for_s=None)
    for _ in range(30):
        one.step(0.1)
        two.step(0.1)
    assert one.governor.gate.u > 0
    assert two.governor.gate.u > 0
    assert one.governor.state.mode is Mode.RECOVERY


def test_in_any_minute_the_minimum_is_granted_but_for_a_pause(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(5)
    node.seen.lag = 5.0  # an emergency that does not end
    granted = []
    for _ in range(80):
        node.step(1)
        granted.append(node.governor.told(clock.at_s)["granted_s"])
    assert node.modes[-1] == Mode.DEGRADED
    assert min(after - before for before, after in zip(granted, granted[60:], strict=False)) >= 0.999 * 0.05 * 60
    paces.set("app", Override(pause=True), by=ANN, why="", for_s=None)
    node.step(2)
    before = node.governor.told(clock.at_s)["granted_s"]
    node.step(5)
    assert node.governor.told(clock.at_s)["granted_s"] == before


def test_a_process_that_works_on_more_gets_more(clock: SteppedClock, paces: Paces) -> None:
    one, two = Node("one", clock, paces), Node("two", clock, paces)
    one.governor.workers += [Worker(name="p", weight=2.0), Worker(name="q")]
    two.governor.workers.append(Worker(name="p"))
    paces.set("app", Override(adaptive=False, fixed=0.8), by=ANN, why="", for_s=None)
    for node in (one, two):
        node.governor.begin()
    for _ in range(80):
        one.step(0.1)
        two.step(0.1)
    assert one.governor.gate.u == pytest.approx(3 * two.governor.gate.u)
    assert one.governor.gate.u + two.governor.gate.u == pytest.approx(0.8)


def test_cores_that_others_take_bound_the_load_of_a_server_elsewhere(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces, cores=4)
    node.seen.on_core = 0.2
    node.governor.begin()
    node.step(40)
    assert node.governor.gate.u > 1
    node.seen.on_core = 3.6
    node.step(20)
    assert node.governor.gate.u < 0.3
    assert node.governor.impact.slowed is not None
    row = paces.find("app")
    assert row is not None
    assert row.told["reason"] == "others take the cores"
    node.seen.on_core = 0.2
    node.step(40)
    assert node.governor.gate.u > 0.75


def test_where_nobody_else_is_at_work_nobody_is_slowed(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces, most=0.9)
    node.seen.slower_s = 0.004
    node.seen.idle = True
    node.governor.begin()
    node.step(60)
    assert node.governor.gate.u == pytest.approx(0.9)
    node.seen.idle = False
    node.step(60)
    assert node.governor.gate.u <= 0.2


def test_without_the_ledger_what_was_granted_is_used_to_its_end(
    clock: SteppedClock, paces: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(10)

    def fails(*_: object) -> None:
        raise LedgerFailed("disk full")

    monkeypatch.setattr(paces, "renew", fails)
    node.step(2)
    assert node.governor.gate.u > 0
    node.step(6)
    assert node.governor.gate.u == 0
    monkeypatch.undo()
    monkeypatch.setattr(store.time, "time", clock.monotonic)
    node.step(3)
    assert node.governor.gate.u > 0


def test_after_a_long_rest_it_begins_anew(clock: SteppedClock, paces: Paces) -> None:
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(40)
    before = node.governor.gate.u
    node.governor.end()
    clock.pass_(1)
    node.governor.begin()
    assert node.governor.state.mode is Mode.NORMAL  # the next run of the same minute goes on
    assert node.governor.gate.u == before > 1  # at once: a moment at the minimum was a turn of the load each time
    node.governor.end()
    clock.pass_(module.GAP_S + 1)
    node.governor.begin()
    assert (node.governor.state.mode, node.governor.state.u) == (Mode.RECOVERY, 0.05)
    node.governor.end()


def test_who_has_waited_for_long_still_wants(clock: SteppedClock, paces: Paces) -> None:
    """Behind a statement that cost more than is earned in some seconds it was forgotten, and waited for ever."""
    node = Node("one", clock, paces)
    node.governor.begin()
    node.step(3, works=False)
    gate = node.governor.gate
    with node.admission.at_once([gate], Worker(name="w")):
        clock.pass_(2.0)
    gate.wanted_at = clock.at_s
    node.admission._waiting = [type("W", (), {"gates": [gate]})()]  # type: ignore[list-item]  # begins to wait
    node.step(60, works=False)
    assert gate.wait_s(clock.at_s) == 0.0
    node.admission._waiting = []
    node.step(10, works=False)
    assert gate.u == 0.0  # the control: who wants nothing is granted nothing
