"""Units of several databases beside those of one: they get their part, and take no more than that."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import pytest

from tests.pace.stepped import SteppedClock
from trueup.core.pace.sharing import WAITED_S
from trueup.pace.admission import Admission, Gate, Worker, _Waiting

#: A statement of these as a rule, and between two looks at who may begin.
TOOK_S, STEP_S = 0.02, 0.005


@dataclass(eq=False)
class Job:
    """One that always has a statement to begin."""

    name: str
    gates: list[Gate]
    priority: str = "normal"
    took_s: float = TOOK_S
    waits: _Waiting | None = None
    charged: AbstractContextManager[None] | None = None
    until_s: float = 0.0
    since_s: float = 0.0
    units: int = 0
    longest_s: float = 0.0


def gate_of(clock: SteppedClock, name: str, u: float) -> Gate:
    return Gate(name, u, TOOK_S, clock.at_s)


def work(admission: Admission, jobs: list[Job], seconds: float) -> None:
    """Let them work side by side, each asked in turn whether it may begin."""
    clock = admission.clock
    assert isinstance(clock, SteppedClock)
    end_s = clock.at_s + seconds
    while clock.at_s < end_s:
        for job in jobs:
            if job.charged is not None and clock.at_s >= job.until_s - 1e-9:
                job.charged.__exit__(None, None, None)
                job.charged = None
        for job in jobs:
            if job.charged is None and job.waits is None:
                turn = admission._turn(Worker(name=job.name, priority=job.priority), clock.at_s)
                job.waits, job.since_s = _Waiting(job.gates, turn), clock.at_s
                admission._waiting.append(job.waits)
        while any(_begins(admission, job) for job in jobs):
            pass
        clock.pass_(STEP_S)
    for job in jobs:
        job.longest_s = max(job.longest_s, clock.at_s - job.since_s if job.waits else 0.0)


def _begins(admission: Admission, job: Job) -> bool:
    if job.waits is None or not admission._entered(job.waits):
        return False
    now = admission.clock.monotonic()
    job.waits, job.until_s = None, now + job.took_s
    job.units, job.longest_s = job.units + 1, max(job.longest_s, now - job.since_s)
    job.charged = admission.charged(job.gates, Worker(name=job.name, priority=job.priority))
    job.charged.__enter__()
    return True


def beside(u: tuple[float, float], priority: str = "normal", seconds: float = 300) -> dict[str, Job]:
    """A job of each of two databases, and one of both."""
    clock = SteppedClock()
    a, b = gate_of(clock, "a", u[0]), gate_of(clock, "b", u[1])
    b.bucket = b.bucket.__class__(at=clock.at_s - 0.13)  # they are not free at one moment
    jobs = [Job("a", [a]), Job("b", [b]), Job("both", [a, b], priority)]
    work(Admission(clock), jobs, seconds)
    return {job.name: job for job in jobs}


def test_who_needs_two_databases_gets_its_part_beside_those_who_need_one() -> None:
    """It was never its turn: whenever one was free the other one was not, and was taken by then."""
    jobs = beside((0.05, 0.065))
    assert jobs["both"].units == pytest.approx(jobs["a"].units, rel=0.05)
    assert jobs["both"].longest_s < 3
    assert jobs["b"].units > jobs["a"].units  # what is left of the other one is not lost


def test_what_is_critical_comes_first_of_two_databases_too() -> None:
    jobs = beside((0.05, 0.065), "critical")
    assert jobs["both"].units == pytest.approx(300 * 0.05 / TOOK_S, rel=0.05)
    assert jobs["both"].longest_s < 3


def test_who_has_waited_for_a_minute_for_two_databases_is_next() -> None:
    jobs = beside((0.05, 0.065), "bulk")
    assert WAITED_S < jobs["both"].longest_s < WAITED_S + 3
    assert jobs["both"].units >= 4


def test_who_has_waited_for_a_minute_is_next_where_statements_take_seconds() -> None:
    """Each comes to be free while the other one is far from it, again and again."""
    clock = SteppedClock()
    a, b = gate_of(clock, "a", 0.05), gate_of(clock, "b", 0.05)
    b.bucket = b.bucket.__class__(credit=-0.2, at=clock.at_s)  # four seconds behind, of eight
    jobs = [Job("a", [a], took_s=3.0), Job("b", [b], took_s=3.0), Job("both", [a, b])]
    work(Admission(clock), jobs, 180)
    assert jobs[2].units >= 2
    assert WAITED_S < jobs[2].longest_s < WAITED_S + 10


@pytest.mark.parametrize("u", [(2.0, 0.05), (0.5, 0.05)])
def test_a_database_is_kept_free_no_longer_than_it_would_be_waited_for(u: tuple[float, float]) -> None:
    """While the slower one was waited for, the faster one stood still: a seventieth was left of what had it alone."""
    clock = SteppedClock()
    alone = Job("a", [gate_of(clock, "a", u[0])])
    work(Admission(clock), [alone], 120)
    jobs = beside(u, seconds=120)
    assert jobs["both"].units == pytest.approx(120 * u[1] / TOOK_S / 2, rel=0.05)
    assert jobs["a"].units > 0.9 * alone.units


def test_a_database_does_not_stand_idle_beside_a_long_statement_of_another() -> None:
    """Nobody knows when that ends, which is not at once."""
    clock = SteppedClock()
    a, b = gate_of(clock, "a", 0.5), gate_of(clock, "b", 0.5)
    jobs = [Job("a", [a]), Job("b", [b], took_s=20.0), Job("both", [a, b])]
    work(Admission(clock), jobs, 60)
    alone = Job("a", [gate_of(clock, "a", 0.5)])
    work(Admission(clock), [alone], 60)
    assert jobs[0].longest_s < 2
    assert jobs[0].units + jobs[2].units > 0.95 * alone.units


def test_nothing_is_kept_free_for_who_cannot_begin() -> None:
    """One of its databases is paused: until that ends it stands in nobody's way, however long it has waited."""
    clock = SteppedClock()
    a, b = gate_of(clock, "a", 0.05), gate_of(clock, "b", 0.0)
    jobs = [Job("a", [a]), Job("both", [a, b], "critical")]
    admission = Admission(clock)
    work(admission, jobs, 2 * WAITED_S)
    assert jobs[0].units == pytest.approx(2 * WAITED_S * 0.05 / TOOK_S, rel=0.02)
    assert jobs[1].units == 0
    b.u = 0.05
    work(admission, jobs, 10)
    assert jobs[1].units > 10


def test_who_needs_two_databases_is_not_passed_by_by_its_own_statements() -> None:
    clock = SteppedClock()
    a, b = gate_of(clock, "a", 0.05), gate_of(clock, "b", 0.065)
    b.bucket = b.bucket.__class__(at=clock.at_s - 0.13)
    jobs = [Job("p", [a]), Job("p", [b]), Job("p", [a, b])]
    work(Admission(clock), jobs, 120)
    assert jobs[2].units > 50
