"""Who may begin when: credit, concurrency, turns, several databases at once, and waits that end at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.live.harness import PATIENCE_S, Background, until
from tests.pace.stepped import SteppedClock
from trueup.clock import SystemClock
from trueup.core.pace.sharing import BEHIND_S, WAITED_S, Turn
from trueup.errors import Busy, Interrupted, Refused
from trueup.pace import admission as module
from trueup.pace.admission import LOOK_S, Admission, Gate, Worker, _Waiting

ANN = Worker(name="ann")


def gate_of(clock: SteppedClock | SystemClock, u: float = 0.1, name: str = "app") -> Gate:
    gate = Gate(name, u, 0.02, clock.monotonic())
    gate.bucket = gate.bucket.__class__(credit=0.02, at=clock.monotonic())
    return gate


def test_rests_follow_from_what_statements_took() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.1)
    begun = clock.at_s
    for _ in range(100):
        with admission.admitted([gate], ANN):
            clock.pass_(0.02)
    assert clock.at_s - begun == pytest.approx(20, rel=0.03)  # two busy seconds at a tenth
    assert gate.bucket.spent_s == pytest.approx(2.0)
    assert gate.busy_s(clock.at_s) == pytest.approx(2.0)
    assert len(clock.waits) <= 101  # one wait a statement: no polling


def test_what_a_thread_takes_of_a_core_between_its_statements_is_counted() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=1.0)

    def works(*, within_s: float = 0.0, between_s: float = 0.0) -> float:
        """What is counted of this thread's work within a statement, and after it."""
        before = gate.between_s
        with admission.admitted([gate], ANN):
            _takes(within_s)
        _takes(between_s)
        with admission.admitted([gate], ANN):
            pass
        return gate.between_s - before

    assert works(between_s=0.2) == pytest.approx(0.2, abs=0.05)
    assert works(within_s=0.2) < 0.05  # that is in flight
    other = Background(lambda: _takes(0.2))
    other.join()
    assert works() < 0.05


def _takes(seconds: float) -> None:
    """Use a core for so long."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def test_a_load_of_nothing_admits_nothing_until_more_is_permitted() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)
    clock.meanwhile = [lambda: None, lambda: None, lambda: admission.permit(gate, 1.0, 0.02)]
    with admission.admitted([gate], ANN):
        assert clock.waits[:3] == [LOOK_S] * 3


def test_what_is_permitted_ends_by_itself_where_nobody_permits_it_anew() -> None:
    """A governor that got stuck held what was granted to it, and another process was granted the same."""
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)
    admission.permit(gate, 1.0, 0.02, until=clock.monotonic() + 5)
    assert gate.wait_s(clock.monotonic()) == 0.0
    clock.pass_(5)
    assert gate.wait_s(clock.monotonic()) is None
    admission.permit(gate, 1.0, 0.02, until=clock.monotonic() + 5)
    clock.pass_(1)
    assert gate.wait_s(clock.monotonic()) == 0.0


def test_a_unit_needs_all_its_databases_and_is_charged_to_each() -> None:
    clock = SteppedClock()
    admission, one, other = Admission(clock), gate_of(clock, 1.0, "a"), gate_of(clock, 0.1, "b")
    other.bucket = other.bucket.__class__(credit=-0.1, at=clock.at_s)
    begun = clock.at_s
    with admission.admitted([one, other], ANN):
        assert clock.at_s - begun == pytest.approx(1.0, rel=1e-3)
        assert (one.inflight, other.inflight) == (1, 1)
        clock.pass_(0.5)
    assert (one.inflight, other.inflight) == (0, 0)
    assert one.bucket.spent_s == other.bucket.spent_s == pytest.approx(0.5)


def test_what_frees_others_is_charged_and_does_not_wait() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)
    with admission.at_once([gate], ANN):
        clock.pass_(0.3)
    assert clock.waits == []
    assert gate.bucket.spent_s == pytest.approx(0.3)


def test_statements_that_run_into_limits_are_counted() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=1.0)
    with pytest.raises(Busy), admission.admitted([gate], ANN):
        raise Busy("locked")
    assert (gate.errors, gate.inflight, gate.committed) == (1, 0, 0)


def test_what_somebody_declares_anew_holds_for_the_next_statement() -> None:
    """It went on with the class and the weight with which it had first come."""
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=1.0)
    for worker in (Worker(name="ann", priority="bulk"), Worker(name="ann", priority="critical", weight=2.0)):
        with admission.admitted([gate], worker):
            clock.pass_(0.02)
        turn = admission._turns["ann"]
        assert (turn.priority, turn.weight) == (worker.priority, worker.weight)
    assert turn.had == pytest.approx(0.02 + 0.02 / 2)  # and what it had before is not forgotten


def test_an_interrupt_ends_a_wait_and_a_switch_is_seen_in_it() -> None:
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)
    clock.meanwhile = [clock.interrupt]
    with pytest.raises(Interrupted, match="ann"), admission.admitted([gate], ANN):
        pass
    assert len(clock.waits) == 1
    clock.interrupted = False

    def stopped() -> None:
        raise Refused("stopped by bob")

    with pytest.raises(Refused, match="bob"), admission.admitted([gate], Worker(name="ann", look=stopped)):
        pass
    assert len(clock.waits) <= 3
    assert not admission.waits(gate)


def test_a_switch_is_seen_where_no_wait_is_long() -> None:
    """Each statement waited for less than the time between two looks, so a run only saw it at its next border."""
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.1)
    looks: list[float] = []
    worker = Worker(name="ann", look=lambda: looks.append(clock.at_s))
    for _ in range(40):
        with admission.admitted([gate], worker):
            clock.pass_(0.02)
    assert max(clock.waits) < LOOK_S
    assert looks
    assert max(later - sooner for sooner, later in pairwise(looks)) < 2 * LOOK_S
    looks.clear()
    for _ in range(40):  # nor does it wait at all
        with admission.admitted([], worker):
            clock.pass_(0.02)
    assert looks


def test_who_is_paused_stands_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had waited for longest, so it was next for as long as the pause lasted, and nobody else began anything."""
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.1)
    monkeypatch.setattr(gate, "wait_s", lambda _now: 0.0 if begun else None)
    begun: list[str] = []

    def paused() -> None:
        clock.pass_(WAITED_S + 1)
        begun.append("bob")
        with admission.admitted([gate], Worker(name="bob")):
            begun.append("bob is in")
        clock.pass_(LOOK_S)

    with admission.admitted([gate], Worker(name="ann", look=paused)):
        assert begun == ["bob", "bob is in"]


def test_what_is_missed_in_a_pause_is_not_made_up_for() -> None:
    """All that others had done meanwhile would be its turn."""
    clock = SteppedClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)

    def paused() -> None:
        clock.pass_(2 * WAITED_S)
        had = Turn(who="bob", had=50.0, since=clock.at_s)
        admission._waiting = [_Waiting([gate], had)]
        clock.meanwhile = [clock.interrupt]

    with pytest.raises(Interrupted), admission.admitted([gate], Worker(name="ann", look=paused)):
        pass
    turn = admission._turns["ann"]
    assert (turn.had, turn.since) == (pytest.approx(50.0 - BEHIND_S), clock.at_s)


# --- threads ---------------------------------------------------------------------------------------------------------


def test_no_more_at_a_time_than_permitted_and_the_more_important_first() -> None:
    clock = SystemClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.999)
    gate.offset_s = 5.0 - clock.monotonic() % 10  # no common rest soon
    order: list[str] = []
    most = [0]
    held = threading.Event()

    def work(worker: Worker) -> None:
        with admission.admitted([gate], worker):
            most[0] = max(most[0], gate.inflight)
            order.append(worker.name)
            if worker.name == "first":
                assert held.wait(PATIENCE_S)

    first = Background(lambda: work(Worker(name="first")))
    until(lambda: order == ["first"], "the first to be in flight")
    rest = []
    for at, (name, priority) in enumerate([("b", "bulk"), ("n", "normal"), ("c", "critical")], 1):
        rest.append(Background(lambda name=name, priority=priority: work(Worker(name=name, priority=priority))))
        until(lambda at=at: len(admission._waiting) == at, "the others to wait")
    held.set()
    for one in [first, *rest]:
        one.join()
    assert order == ["first", "c", "n", "b"]
    assert most == [1]


class CountingClock(SystemClock):
    """The machine's clock, which counts how often somebody asked whether they may go on, and for how long they wait."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0
        self.waits: list[float] = []

    def wait_for(self, ready: Callable[[], bool], seconds: float) -> bool:
        self.waits.append(seconds)

        def counted() -> bool:
            self.asked += 1
            return ready()

        return super().wait_for(counted, seconds)


def test_who_waits_is_woken_at_once_and_does_nothing_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_S", 10 * PATIENCE_S)  # who is not woken waits longer than this test
    clock = CountingClock()
    admission, gate = Admission(clock), gate_of(clock, u=0.0)
    waiting = Background(lambda: admission.admitted([gate], ANN).__enter__())
    until(lambda: clock.asked > 0, "somebody to wait")
    clock.interrupt()
    with pytest.raises(Interrupted):
        waiting.join()
    assert clock.asked <= 2, "once as it begins, once as it is woken"
    assert clock.waits == [10 * PATIENCE_S], "one wait to its end: no polling"
