"""Who may begin a statement now: credit, concurrency, common rests, and turns among those who wait.

A statement that needs several databases begins when all of them admit it. Waiting is one wait on the engine's clock; it
ends when the moment has come, when something was given back or permitted anew, or when somebody interrupts.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from trueup.clock import Clock
from trueup.core.pace.credit import Bucket, charged, refilled, wait_s
from trueup.core.pace.sharing import CLAIMS, WAITED_S, Turn, joined, next_turn, served
from trueup.errors import Busy, Interrupted, StatementTimeout
from trueup.pace.open_here import OpenHere

#: Seconds between two looks at a worker's switches.
LOOK_S = 0.5
#: A wait of so many seconds, with nothing permitted at the end of them, is a pause. A share that was not renewed for a
#: moment is none.
PAUSE_S = 10.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Worker:
    """Who works: a projection's job."""

    name: str
    priority: str = "normal"
    weight: float = 1.0
    #: Looks at the switches: raises if the run must stop here, waits while it is paused.
    look: Callable[[], None] = lambda: None
    #: Is it paused by them?
    paused: Callable[[], bool] = lambda: False
    #: Age of its oldest unverified data, as a multiple of what is aimed at.
    age: Callable[[], float] = lambda: 0.0
    #: What it holds open between two statements, and lets go of at a pause.
    open_here: OpenHere = field(default_factory=OpenHere, compare=False)

    @property
    def claim(self) -> float:
        """Its weight beside what is worked on elsewhere: an engine of its own, another process."""
        return self.weight * CLAIMS[self.priority]


@dataclass(frozen=True, kw_only=True, slots=True)
class Caused:
    """What was asked of a database so far."""

    statements: int = 0
    seconds: float = 0.0
    #: How often its governor went into each state.
    changes: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Caused) -> Caused:
        return Caused(
            statements=self.statements + other.statements,
            seconds=self.seconds + other.seconds,
            changes=self.changes + other.changes,
        )


class Gate:
    """One database: what may be in flight, and what is. Changed only under the admission's lock."""

    def __init__(self, name: str, u: float, statement_s: float, now: float) -> None:
        self.name = name
        #: What this process may have in flight, and how long a statement should take.
        self.u = u
        self.statement_s = statement_s
        #: Until when `u` holds: who permits it may have got stuck, and another process has it then.
        self.until = math.inf
        self.bucket = Bucket(at=now)
        self.inflight = 0
        #: When the last statement began.
        self.entered_at = now
        #: Statements begun so far; tells who looks whether one began meanwhile.
        self.begun = 0
        #: Of those that ended well, how many were transactions by themselves.
        self.committed = 0
        #: What ended so far.
        self.caused = Caused()
        #: Statements that ran into a limit or a deadlock, since the governor last asked.
        self.errors = 0
        #: Set when a statement begins, for who wants to look while it is in flight.
        self.began = threading.Event()
        #: What all nodes may have in flight together, and their common clock minus ours, seconds.
        self.total = self.offset_s = 0.0
        #: When somebody last wanted to begin a statement.
        self.wanted_at = now
        #: Seconds in which at least one statement was in flight, up to `_busy_at`.
        self._busy_s = 0.0
        self._busy_at = now
        #: The same, each of those that were in flight at a time counted.
        self._flown_s = 0.0
        #: Core-seconds of those who work here, between two statements.
        self.between_s = 0.0

    def busy_s(self, now: float) -> float:
        """Seconds so far in which at least one statement was in flight."""
        self._advance(now)
        return self._busy_s

    def flown_s(self, now: float) -> float:
        """Seconds so far that statements were in flight, all of them together."""
        self._advance(now)
        return self._flown_s

    def _advance(self, now: float) -> None:
        passed_s, self._busy_at = now - self._busy_at, now
        self._busy_s += passed_s if self.inflight else 0.0
        self._flown_s += passed_s * self.inflight

    def permitted(self, now: float) -> float:
        """What may be in flight now."""
        return self.u if now < self.until else 0.0

    def refilled(self, now: float) -> Bucket:
        """With what was earned since, while `u` held."""
        bucket = self.bucket
        if bucket.at < self.until <= now:
            bucket = refilled(bucket, self.u, self.until)
        return refilled(bucket, self.permitted(now), max(now, bucket.at))

    def wait_s(self, now: float) -> float | None:
        """Seconds until a statement may begin; None: not known."""
        self.bucket = self.refilled(now)
        return wait_s(self.bucket, self.permitted(now), self.inflight, now + self.offset_s, self.total)

    def free_in_s(self, now: float) -> float:
        """The same; where a statement has to end before, as long as it has taken already, or takes as a rule."""
        wait_s = self.wait_s(now)
        return max(self.statement_s, now - self.entered_at) if wait_s is None else wait_s

    def enter(self, now: float) -> None:
        self._advance(now)
        self.entered_at = now
        self.inflight += 1
        self.begun += 1
        self.began.set()

    def leave(self, now: float, took_s: float) -> None:
        self._advance(now)
        self.inflight -= 1
        self.caused = Caused(statements=self.caused.statements + 1, seconds=self.caused.seconds + took_s)
        self.bucket = charged(self.refilled(now), self.permitted(now), now, took_s)


@dataclass(eq=False, slots=True)
class _Waiting:
    gates: Sequence[Gate]
    turn: Turn

    def ready(self, now: float) -> bool:
        return all(gate.wait_s(now) == 0.0 for gate in self.gates)

    def keeps(self, now: float) -> set[Gate]:
        """Of several gates, those that are kept for it until all of them are free: where what would begin meanwhile
        would hold it up, or it has waited too long. None while one of them permits nothing.
        """
        if len(self.gates) < 2 or any(gate.permitted(now) == 0.0 for gate in self.gates):
            return set()
        late = now - self.turn.since >= WAITED_S
        left_s = max(gate.free_in_s(now) for gate in self.gates)
        kept_s = {gate: WAITED_S if late else gate.statement_s / gate.permitted(now) for gate in self.gates}
        return {gate for gate in self.gates if left_s < kept_s[gate]}


class Admission:
    """All gates of an engine, and those who wait at them."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.lock = threading.Lock()
        self._waiting: list[_Waiting] = []
        self._turns: dict[str, Turn] = {}
        #: When each worker's switches were looked at last.
        self._looked: dict[str, float] = {}
        #: Of each thread: what it had used of a core when its last statement ended, seconds.
        self._mine = threading.local()

    def begins(self, worker: Worker) -> None:
        """A job begins, and looks at its switches by itself."""
        with self.lock:
            self._looked[worker.name] = self.clock.monotonic()

    @contextmanager
    def admitted(self, gates: Sequence[Gate], worker: Worker, *, commits: bool = True) -> Iterator[None]:
        """Around one statement: waits until all gates admit it, and charges its time to them. `commits`: it is a
        transaction by itself, and not a part of one that goes on.

        Raises Interrupted, or what `worker.look` raises, instead of waiting on.
        """
        self._enter(gates, worker)
        with self.charged(gates, worker, commits=commits):
            yield

    @contextmanager
    def at_once(self, gates: Sequence[Gate], worker: Worker) -> Iterator[None]:
        """Around a statement that frees what others wait for: it is charged, and never waits."""
        with self.lock:
            for gate in gates:
                gate.enter(self.clock.monotonic())
        with self.charged(gates, worker):
            yield

    @contextmanager
    def charged(self, gates: Sequence[Gate], worker: Worker, *, commits: bool = True) -> Iterator[None]:
        """Around a statement that has begun."""
        begun = self.clock.monotonic()
        failed = committed = 0
        try:
            yield
            committed = int(commits)
        except (Busy, StatementTimeout):
            failed = 1
            raise
        finally:
            now, self._mine.used_s = self.clock.monotonic(), time.thread_time()
            with self.lock:
                for gate in gates:
                    gate.leave(now, now - begun)
                    gate.errors += failed
                    gate.committed += committed
                if worker.name in self._turns:
                    self._turns[worker.name] = served(self._turns[worker.name], now - begun, now)
            self.clock.wake()

    def permit(self, gate: Gate, u: float, statement_s: float, *, until: float = math.inf, total: float = 0.0) -> None:
        """From now on so much may be in flight, of `total` for all nodes, and until a moment of this clock at most."""
        with self.lock:
            gate.bucket = gate.refilled(self.clock.monotonic())
            gate.u, gate.statement_s, gate.until, gate.total = u, statement_s, until, total
        self.clock.wake()

    def waits(self, gate: Gate) -> bool:
        """Does somebody wait at this gate?"""
        with self.lock:
            return any(gate in waiting.gates for waiting in self._waiting)

    def _enter(self, gates: Sequence[Gate], worker: Worker) -> None:
        now, between_s = self.clock.monotonic(), self._between_s()
        with self.lock:
            for gate in gates:
                gate.wanted_at = now
                gate.between_s += between_s
            me = _Waiting(gates, self._turn(worker, now))
            self._waiting.append(me)
        try:
            self._look(me, worker)
            while not self._entered(me):
                interrupted = self.clock.wait_for(lambda: self._may_enter(me), self._pause_s(me))
                self._look(me, worker, at_once=interrupted)
                if self._pauses(gates, now):
                    worker.open_here.let_go()
                if interrupted:
                    raise Interrupted(f"{worker.name}: interrupted while it waited for its turn; run again to go on")
        finally:
            with self.lock:
                if me in self._waiting:
                    self._waiting.remove(me)
            self.clock.wake()

    def _between_s(self) -> float:
        """Core-seconds of this thread since its last statement ended."""
        now = time.thread_time()
        return now - getattr(self._mine, "used_s", now)

    def _look(self, me: _Waiting, worker: Worker, *, at_once: bool = False) -> None:
        """Look at the switches now and then, also where no statement waits for long. Who is paused stands in nobody's
        way, and what it misses meanwhile is not made up for.
        """
        began = self.clock.monotonic()
        with self.lock:
            if not at_once and began - self._looked.setdefault(worker.name, began) < LOOK_S:
                return
            self._looked[worker.name] = began
            self._waiting.remove(me)
        if worker.open_here.here() and worker.paused():
            worker.open_here.let_go()
        worker.look()
        now = self.clock.monotonic()
        with self.lock:
            if now - began >= LOOK_S:
                me.turn = self._turn(worker, now)
            self._waiting.append(me)

    def _turn(self, worker: Worker, now: float) -> Turn:
        """The worker's place, among those who are waiting now."""
        others = [waiting.turn for waiting in self._waiting if waiting.turn.who != worker.name]
        known = self._turns.get(worker.name)
        if known is None or not any(waiting.turn.who == worker.name for waiting in self._waiting):
            turn = known or Turn(who=worker.name)
            turn = replace(turn, priority=worker.priority, weight=worker.weight)  # it may be declared anew
            known = joined(turn, others, now)
        self._turns[worker.name] = known
        return known

    def _pauses(self, gates: Sequence[Gate], since: float) -> bool:
        """Has one of these permitted nothing for long, as while a database is paused?"""
        now = self.clock.monotonic()
        with self.lock:
            return now - since >= PAUSE_S and any(gate.permitted(now) == 0.0 for gate in gates)

    def _may_enter(self, me: _Waiting) -> bool:
        with self.lock:
            return self._is_next(me)

    def _entered(self, me: _Waiting) -> bool:
        with self.lock:
            if not self._is_next(me):
                return False
            self._waiting.remove(me)
            for gate in me.gates:
                gate.enter(self.clock.monotonic())
            return True

    def _is_next(self, me: _Waiting) -> bool:
        """Next is the first in turn whose gates are all free, and kept for nobody before it. Several are seldom free at
        one moment by themselves, where others, or more statements of its own, wait at each.
        """
        now, left, kept = self.clock.monotonic(), list(self._waiting), set[Gate]()
        while left:
            who = next_turn([one.turn for one in left], now).who
            ready = list[_Waiting]()
            for one in sorted((one for one in left if one.turn.who == who), key=lambda one: -len(one.gates)):
                if kept.isdisjoint(one.gates) and one.ready(now):
                    ready.append(one)
                kept |= one.keeps(now)
            if ready:
                return me in ready
            left = [one for one in left if one.turn.who != who]
        return False

    def _pause_s(self, me: _Waiting) -> float:
        """How long to wait at most before asking again; never nothing, so that who is not next does not spin."""
        now = self.clock.monotonic()
        with self.lock:
            waits = [gate.wait_s(now) for gate in me.gates]
        known = [wait for wait in waits if wait]
        return min([*known, LOOK_S]) if known and None not in waits else LOOK_S
