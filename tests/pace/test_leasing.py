"""One budget for several processes: what is granted, by how much together, and by what one decides for all."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle

import pytest

from tests.pace.stepped import SteppedClock
from tests.pace.test_governor import ANN, Node
from trueup.core.pace.governor import Mode
from trueup.core.pace.settings import Override
from trueup.core.pace.sharing import Demand
from trueup.pace.admission import Worker
from trueup.pace.leasing import Lease
from trueup.store.paces import Doing, Paces, Report


@pytest.fixture
def nodes(clock: SteppedClock, paces: Paces) -> tuple[Node, Node]:
    """The first one looks."""
    one, two = Node("one", clock, paces), Node("two", clock, paces)
    look, own = one.seen.look, cycle((0.0, 1.0))  # at every other look a statement of the second one is in flight
    one.seen.look = lambda: replace(look(), own=next(own))  # type: ignore[method-assign]
    one.governor.begin()
    one.step(0.1)
    two.governor.begin()
    return one, two


def step(nodes: tuple[Node, Node], seconds: float) -> None:
    for _ in range(round(seconds / 0.04)):
        for node in nodes:
            node.step(0.02)


def test_together_they_have_no_more_than_the_budget_within_half_a_second_of_its_fall(
    nodes: tuple[Node, Node], clock: SteppedClock
) -> None:
    """It was told at the next renewal, and taken at the one after that: eleven times the budget for two seconds."""
    step(nodes, 40)
    assert min(node.governor.gate.u for node in nodes) > 0.2
    for node in nodes:
        node.seen.lag = 9.0
    one = nodes[0].governor
    while one.state.mode is not Mode.DEGRADED:
        step(nodes, 0.04)
    fell, over = clock.at_s, [clock.at_s]
    while clock.at_s < fell + 5:
        step(nodes, 0.04)
        if sum(node.governor.gate.permitted(clock.at_s) for node in nodes) > one.state.u * 1.001:
            over.append(clock.at_s)
    assert over[-1] - fell <= 0.6
    assert sum(node.governor.gate.u for node in nodes) == pytest.approx(one.state.u), "and no less"


def test_a_fall_just_after_a_rise_leaves_three_somewhat_too_much_until_one_asks_again(
    clock: SteppedClock, paces: Paces
) -> None:
    """One was granted all of it, and another one what was added: each uses as much less as it knows of."""
    leader, first, second = (Lease(paces, "app", name, clock) for name in ("leader", "first", "second"))

    def renew(lease: Lease, total: float) -> None:
        report = Report(u=total, statement_s=0.02, state={}, told={})
        lease.renew(0.0 if lease is leader else 1.0, 1.0, report, Doing())

    def held() -> float:
        return sum(lease.holds(clock.monotonic()) for lease in (leader, first, second))

    renew(leader, 1.0)
    renew(first, 1.0)
    renew(leader, 1.5)
    renew(second, 1.5)
    assert held() == pytest.approx(1.5)
    renew(leader, 0.3)
    first.total = second.total = 0.3
    assert held() == pytest.approx(0.3 * 4 / 3)
    renew(first, 0.3)
    assert held() <= 0.3


def test_who_looks_asks_the_ledger_as_seldom_as_the_others_while_nothing_changes(
    nodes: tuple[Node, Node], paces: Paces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It compared what all may use with its own share, and asked at each tick."""
    paces.set("app", Override(adaptive=False, fixed=0.8), by=ANN, why="", for_s=None)
    step(nodes, 10)
    asked, renew = [], paces.renew
    monkeypatch.setattr(
        paces, "renew", lambda of, demand, *some: (asked.append(demand.who), renew(of, demand, *some))[1]
    )
    step(nodes, 20)
    assert 9 <= asked.count("two") <= 11
    assert asked.count("one") <= 11


def test_who_looks_decides_by_what_all_of_them_do(nodes: tuple[Node, Node], paces: Paces) -> None:
    """It went by its own work: while it had none, the others stayed at the minimum."""
    one, two = nodes
    one.governor.workers.append(Worker(name="p"))
    two.governor.workers.append(Worker(name="q", age=lambda: 4.0))
    for _ in range(600):
        one.admission._waiting = []
        one.step(0.05, works=False)
        two.step(0.05)
    assert one.governor.lease.leads
    assert two.governor.gate.u > 1
    one.seen.lag = 9.0
    for _ in range(200):
        one.step(0.05, works=False)
        two.step(0.05)
    assert one.governor.state.mode is Mode.DEGRADED
    one.seen.lag = 2.5  # no emergency: in one, the age of data counts for nothing
    for _ in range(200):
        one.step(0.05, works=False)
        two.step(0.05)
    assert one.governor.state.u == pytest.approx(4 * 0.05)


def test_limits_that_another_node_ran_into_are_pressure(nodes: tuple[Node, Node], clock: SteppedClock) -> None:
    one, two = nodes
    step(nodes, 20)
    assert one.modes[-1] == Mode.NORMAL
    two.governor.gate.errors += 2
    one.modes.clear()
    while not one.modes:
        step(nodes, 0.1)
    assert (one.modes[-1], one.governor.state.reason) == (Mode.DEGRADED, "statements of ours ran into limits")
    step(nodes, 20)
    assert one.modes.count(Mode.DEGRADED) == 1, "they were counted once"
    assert two.governor.gate.errors == 0


def test_what_others_have_in_flight_counts_for_the_effect(nodes: tuple[Node, Node], paces: Paces) -> None:
    paces.set("app", Override(adaptive=False, fixed=0.8), by=ANN, why="", for_s=None)
    step(nodes, 20)
    (other,) = nodes[0].governor.lease.others
    assert other.flown == pytest.approx(0.4, rel=0.1)


def test_errors_are_told_once(clock: SteppedClock, paces: Paces) -> None:
    report = Report(u=1.0, statement_s=0.02, state={}, told={})

    def told() -> list[float]:
        return [other.errors for other in paces.renew("app", Demand(who="one", wants=1), report).others]

    told()
    clock.pass_(1)
    paces.renew("app", Demand(who="two", wants=1), report, Doing(errors=3))
    clock.pass_(0.1)
    assert told() == [3]
    clock.pass_(0.1)
    assert told() == [0]


def test_who_was_at_work_before_a_clock_was_set_back_is_not(clock: SteppedClock, paces: Paces) -> None:
    """For an hour a killed node was told of as at work, and a trial of its database begun."""
    paces.renew("app", Demand(who="killed", wants=1), Report(u=1.0, statement_s=0.02, state={}, told={}))

    def at_work() -> int:
        row = paces.find("app")
        assert row is not None
        return row.nodes

    assert at_work() == 1
    clock.pass_(-600)
    assert at_work() == 0


def test_all_nodes_rest_at_one_time(nodes: tuple[Node, Node], paces: Paces, clock: SteppedClock) -> None:
    """Only who looks knew the common clock; every other node rested by one of its own, and by its own share."""
    paces.set("app", Override(adaptive=False, fixed=0.8), by=ANN, why="", for_s=None)
    step(nodes, 10)
    gates = [node.governor.gate for node in nodes]
    assert [gate.u for gate in gates] == [pytest.approx(0.4)] * 2
    assert gates[0].offset_s == pytest.approx(gates[1].offset_s, abs=0.01)
    clock.pass_(10 - (clock.at_s + gates[0].offset_s) % 10 + 0.1)
    for node in nodes:
        node.governor.step()
    for gate in gates:
        assert gate.wait_s(clock.at_s) == pytest.approx(0.5, abs=0.02)
