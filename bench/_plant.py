"""A database server that does not exist: cores, a foreground that queues in front of it, statements of ours, a canary.

Deterministic: one seed, one course of events. What matters for pacing is how cores are shared, and here they
are shared as a kernel does it, with its faults:

* A process that wakes up gets a core that is free, but not always: now and then one that is busy, and it stays there.
* Who has run for long makes room for it at once, but not always: now and then it waits for the end of a slice.
* What runs for long stays on its core, and gets there what the others leave, and a slice now and then in any case.

The foreground has so many connections. Who finds none free waits in front, where nothing in the database sees it.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

#: Longest time that a core is given to one process while others wait, and after which one has run for long, seconds.
SLICE_S = 0.003
#: How often a free core is found, and how often who has run for long makes room at once.
PLACED, PREEMPTED = 0.3, 0.92
#: Who has waited so long gets a slice, whoever else waits, seconds.
FAIR_S = 0.012
#: A commit waits so long for the disk, on average, and holds no core meanwhile.
COMMIT_S = 0.00025
#: Connections of the foreground.
CLIENTS = 8


@dataclass(slots=True)
class Work:
    """Work for a core."""

    need_s: float
    kind: str
    since: float
    done: Callable[[float], None]
    #: What it has had, and since when it waits.
    had_s: float = 0.0
    waits_at: float = 0.0


@dataclass(slots=True)
class Core:
    runs: Work | None = None
    #: When it got the core; changed by whatever takes it away.
    given_at: float = 0.0
    turn: int = 0
    short: deque[Work] = field(default_factory=deque)
    long: deque[Work] = field(default_factory=deque)


@dataclass(slots=True)
class Plant:
    """Events in the order of time."""

    cores: int
    seed: int = 1
    now: float = 0.0
    #: All work takes so many times as long: a convoy of locks, a checkpoint.
    slow: float = 1.0
    #: What is on a core or waits for one, and core-seconds so far, by kind.
    running: dict[str, int] = field(default_factory=lambda: {"fg": 0, "bg": 0, "canary": 0})
    used_s: dict[str, float] = field(default_factory=lambda: {"fg": 0.0, "bg": 0.0, "canary": 0.0})
    _events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _number: itertools.count[int] = field(default_factory=itertools.count)
    _cores: list[Core] = field(default_factory=list)
    _chance: random.Random = field(default_factory=random.Random)

    def __post_init__(self) -> None:
        self._cores = [Core() for _ in range(self.cores)]
        self._chance.seed(self.seed * 104729)

    def at(self, moment: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._number), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.now + seconds, event)

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, event = heapq.heappop(self._events)
            event()
        self.now = until

    def submit(self, need_s: float, kind: str, done: Callable[[float], None]) -> None:
        """`done` is called with the seconds that it took, waiting included."""
        self.running[kind] += 1
        work, core = Work(need_s * self.slow, kind, self.now, done, waits_at=self.now), self._placed()
        if core.runs is None:
            self._give(core, work)
        elif core.runs.had_s + self.now - core.given_at > SLICE_S and self._chance.random() < PREEMPTED:
            core.long.appendleft(self._take(core))
            self._give(core, work)
        else:
            core.short.append(work)

    def _placed(self) -> Core:
        free = [core for core in self._cores if core.runs is None]
        if free and self._chance.random() < PLACED:
            return free[0]
        return self._cores[int(self._chance.random() * self.cores)]

    def _give(self, core: Core, work: Work) -> None:
        core.runs, core.given_at, core.turn = work, self.now, core.turn + 1
        turn = core.turn
        self.after(min(work.need_s, SLICE_S), lambda: self._sliced(core, turn))

    def _take(self, core: Core) -> Work:
        work = core.runs
        assert work is not None
        had_s = self.now - core.given_at
        work.had_s, work.need_s, work.waits_at = work.had_s + had_s, work.need_s - had_s, self.now
        self.used_s[work.kind] += had_s
        core.runs = None
        return work

    def _sliced(self, core: Core, turn: int) -> None:
        if core.turn != turn or core.runs is None:
            return
        work = self._take(core)
        if work.need_s > 1e-9:
            core.long.append(work)
        self._next(core)
        if work.need_s <= 1e-9:
            self.running[work.kind] -= 1
            work.done(self.now - work.since)

    def _next(self, core: Core) -> None:
        if core.long and (not core.short or self.now - core.long[0].waits_at > FAIR_S):
            self._give(core, core.long.popleft())
        elif core.short:
            self._give(core, core.short.popleft())


class Foreground:
    """Those who are to be protected: transactions that are due by chance. A fifth writes, in several round trips, and
    waits for its commit. How long one took counts from when it was due.

    One process of a single thread sends all of them, as `pgbench -j 1` does, and all wait when it does.
    """

    def __init__(self, plant: Plant, per_s: Callable[[float], float], mean_s: float) -> None:
        """`per_s`: transactions a second at a moment; `mean_s`: what one asks of a core, on average."""
        self.plant, self.per_s, self.mean_s = plant, per_s, mean_s
        self.chance = random.Random(plant.seed * 7919)
        #: When each was due, and how long it took, seconds.
        self.taken: list[tuple[float, float]] = []
        self.active = 0
        self._waiting: deque[tuple[float, bool]] = deque()
        self._to_send: list[Callable[[], None]] = []
        self._sending = False
        self._due()

    def _due(self) -> None:
        self.plant.after(self.chance.expovariate(max(self.per_s(self.plant.now), 1e-3)), self._arrive)

    def _arrive(self) -> None:
        self._waiting.append((self.plant.now, self.chance.random() < 0.8))
        self._begin()
        self._due()

    def _begin(self) -> None:
        if self._waiting and self.active < CLIENTS:
            self.active += 1
            due, reads = self._waiting.popleft()
            self._trip(due, 1 if reads else TRIPS, self.mean_s * (READ if reads else WRITE), writes=not reads)

    def _trip(self, due: float, left: int, mean_s: float, *, writes: bool) -> None:
        def done(_: float) -> None:
            if left > 1:
                self._trip(due, left - 1, mean_s, writes=writes)
            elif writes:
                self.plant.after(self.chance.expovariate(1 / COMMIT_S) * self.plant.slow, end)
            else:
                end()

        def end() -> None:
            self.taken.append((due, self.plant.now - due))
            self.active -= 1
            self._begin()

        need_s = self.chance.gammavariate(4, mean_s * (1 - SENDS) / 4)
        self._to_send.append(lambda: self.plant.submit(need_s, "fg", done))
        self._send(mean_s)

    def _send(self, mean_s: float) -> None:
        """All that is to be sent, as soon as the process that sends has a core."""
        if self._sending or not self._to_send:
            return
        self._sending, batch, self._to_send = True, self._to_send, []

        def sent(_: float) -> None:
            self._sending = False
            for submit in batch:
                submit()
            self._send(mean_s)

        self.plant.submit(mean_s * SENDS * len(batch), "fg", sent)


@dataclass(slots=True)
class Replica:
    """What copies our writes, so many rows a second, and is behind by those that are left."""

    plant: Plant
    rows_per_s: float
    behind_rows: float = 0.0
    #: How far it is behind, at each moment that somebody looked: the moment, seconds.
    looked: list[tuple[float, float]] = field(default_factory=list)
    _at: float = 0.0

    def wrote(self, rows: int) -> None:
        self._copied()
        self.behind_rows += rows

    def lag_s(self) -> float:
        """Seconds, as the server tells it."""
        self._copied()
        self.looked.append((self.plant.now, self.behind_rows / self.rows_per_s))
        return self.looked[-1][1]

    def _copied(self) -> None:
        self.behind_rows = max(self.behind_rows - self.rows_per_s * (self.plant.now - self._at), 0.0)
        self._at = self.plant.now


#: Round trips of a transaction that writes; of the mean, what each trip of either kind asks of a core; and the part of
#: that which the client takes.
TRIPS = 5
READ, WRITE = 0.6, 2.6 / TRIPS
SENDS = 0.25
